//! The authors' operator for a real pair of scans, from their file.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Space, hdf5_file::load_crops};
use smalti_operators::{Biased, FourierDownsampling, Operator};
use smalti_testkit::measured;
use std::path::Path;
use tch::Kind;

/// Without data: the tests of `registered.rs`.
#[test]
fn the_published_operator_explains_the_registered_scans() {
    let Some(data) = measured(&["wppnets/estimated_operator.pt"]) else { return };
    let folder = data.join("wppnets");
    let pairs = folder.join("training_img/val_FS_registered.h5");
    let (high, low) = (load_crops(&pairs, Some("gt")).unwrap(), load_crops(&pairs, Some("obs")).unwrap());
    let space = Space::of("scan", &high).unwrap();
    let a = Biased::load(&folder.join("estimated_operator.pt"), space, 2).unwrap();
    let misfit = |y: &tch::Tensor| (y - &low).square().mean(Kind::Double).double_value(&[]).sqrt();
    let seen = a.apply(&high).unwrap();
    println!("misfit {:.4}, of the mirrored scan {:.4}", misfit(&seen), misfit(&seen.flip([3])));
    assert!(misfit(&seen) < 0.025 && misfit(&seen.flip([3])) > 0.1);
    // An estimate from one pair explains another one no worse.
    let own = |k: i64| (high.narrow(0, k, 1), low.narrow(0, k, 1));
    let ((x, y), (other, seen)) = (own(0), own(1));
    let ours = Biased::<FourierDownsampling>::estimated(&x, &y, 15, space).unwrap();
    let rms = |a: &dyn Operator| {
        (a.apply(&other).unwrap() - &seen).square().mean(Kind::Double).double_value(&[]).sqrt()
    };
    println!("another scan: estimated from the first {:.4}, published {:.4}", rms(&ours), rms(&a));
    assert!(rms(&ours) < 1.3 * rms(&a));
}

#[test]
fn files_without_an_operator_are_refused_in_one_line() {
    let flow = Path::new(env!("CARGO_MANIFEST_DIR")).join("../flows/tests/golden/freia_alpha_atan.pth");
    let space = Space::image(1, 40, 40);
    for (path, part) in [(flow.as_path(), "has no tensor kernel"), (Path::new("lost.pt"), "check the path")] {
        let line = Biased::load(path, space, 2).err().unwrap().to_string();
        assert!(line.contains(part) && line.lines().count() == 1, "{line}");
    }
}
