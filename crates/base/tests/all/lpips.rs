//! LPIPS with the published weights.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::lpips::LpipsAlex;
use smalti_base::{Error, image_file::load_gray};
use smalti_testkit::data::measured;
use std::path::Path;
use tch::{Kind, Tensor};

const LINEAR: &str = "weights/lpips_lin_alex_v0.1.pth";

fn net(data: &Path) -> LpipsAlex {
    LpipsAlex::load(&data.join("weights/lpips_alex"), &data.join(LINEAR)).unwrap()
}

/// The colours of a PNG file from -1 to 1, `[1, 3, H, W]`.
fn colours(path: &Path) -> Tensor {
    let image = image::open(path).unwrap().to_rgb8();
    let size = [1, i64::from(image.height()), i64::from(image.width()), 3];
    let values = Tensor::from_slice(image.as_raw()).to_kind(Kind::Float).view(size);
    values.permute([0, 3, 1, 2]) / 127.5 - 1.0
}

#[test]
fn the_pair_of_the_authors_of_lpips() {
    let Some(data) = measured(&["weights/lpips_alex", LINEAR, "lpips/ex_ref.png"]) else { return };
    let net = net(&data);
    let image = |name: &str| colours(&data.join("lpips").join(name));
    let (reference, far, near) = (image("ex_ref.png"), image("ex_p0.png"), image("ex_p1.png"));
    for (other, expected) in [(&far, 0.722), (&near, 0.138)] {
        let found = net.distance(&reference, other).unwrap();
        assert!((found - expected).abs() < 1e-3, "{found}, expected {expected}");
        assert!((net.distance(other, &reference).unwrap() - found).abs() < 1e-6, "symmetric");
    }
    assert_eq!(net.distance(&near, &near).unwrap(), 0.0);
}

#[test]
fn values_in_another_range_are_refused() {
    let Some(data) = measured(&["weights/lpips_alex", LINEAR, "sic/test.png"]) else { return };
    let net = net(&data);
    let image = load_gray(&data.join("sic/test.png")).unwrap();
    for wrong in [&image * 255.0, &image * 2.0, &image * f64::NAN] {
        let error = net.distance(&(&image * 2.0 - 1.0), &wrong).unwrap_err();
        assert!(error.to_string().contains("values from -1 (black) to 1 (white)"), "{error}");
    }
    let small = image.narrow(2, 0, 20);
    assert!(matches!(net.distance(&small, &small).unwrap_err(), Error::Shape { .. }));
    assert!(matches!(net.distance(&image, &small).unwrap_err(), Error::Shape { .. }));
}

#[test]
fn files_that_are_not_the_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = LpipsAlex::load(folder.path(), &folder.path().join("x.pth")).unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing}");
    std::fs::write(folder.path().join("slice_1_base.keras"), b"no archive").unwrap();
    let no_keras = LpipsAlex::load(folder.path(), &folder.path().join("x.pth")).unwrap_err();
    assert!(no_keras.to_string().contains("is no Keras file"), "{no_keras}");
    let Some(data) = measured(&["weights/lpips_alex", LINEAR]) else { return };
    // A layer in the place of another.
    for k in 1..=5 {
        let name = |k: i32| format!("slice_{k}_base.keras");
        let from = data.join("weights/lpips_alex").join(name(if k == 2 { 3 } else { k }));
        std::fs::copy(from, folder.path().join(name(k))).unwrap();
    }
    let swapped = LpipsAlex::load(folder.path(), &data.join(LINEAR)).unwrap_err();
    assert!(swapped.to_string().contains("expected weights of the shape [5, 5, 64, 192]"), "{swapped}");
    let other =
        LpipsAlex::load(&data.join("weights/lpips_alex"), &data.join("weights/ALR_ct_p6.pth")).unwrap_err();
    assert!(other.to_string().contains("has no tensor lin0.model.1.weight"), "{other}");
}
