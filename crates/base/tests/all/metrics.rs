//! Metrics against scikit-image, and their edge cases.

use smalti_base::metrics::{Summary, blur_effect, crop, psnr, ssim, ssim_gaussian};
use smalti_base::{Error, Seed};
use std::{collections::BTreeMap, path::Path};
use tch::{Device, Kind, Tensor};

#[test]
fn psnr_and_ssim_equal_scikit_image() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.safetensors");
    let tensors: BTreeMap<String, Tensor> = Tensor::read_safetensors(file).unwrap().into_iter().collect();
    let mut cases = 0;
    for (name, expected) in tensors.iter().filter(|(name, _)| name.ends_with(".metrics")) {
        let case = name.trim_end_matches(".metrics");
        let (x, truth) = (&tensors[&format!("{case}.x")], &tensors[&format!("{case}.truth")]);
        let expected = Vec::<f64>::try_from(expected).unwrap();
        let range = expected[0];
        let close = |what: &str, ours: f64, theirs: f64, tolerance: f64| {
            assert!((ours - theirs).abs() <= tolerance, "{case}: {what} {ours} instead of {theirs}");
        };
        close("PSNR", psnr(x, truth, range).unwrap(), expected[1], 1e-9);
        close("SSIM", ssim(x, truth, range).unwrap(), expected[2], 1e-12);
        match expected[3].is_nan() {
            true => assert!(matches!(ssim_gaussian(x, truth, range), Err(Error::Shape { .. })), "{case}"),
            false => close("Gaussian", ssim_gaussian(x, truth, range).unwrap(), expected[3], 1e-12),
        }
        // float32 images are compared in float64 too: only the rounding of the images is left.
        let single = |t: &Tensor| t.to_kind(Kind::Float);
        close("SSIM of float32", ssim(&single(x), &single(truth), range).unwrap(), expected[2], 1e-6);
        cases += 1;
    }
    assert_eq!(cases, 7);
}

#[test]
fn the_blur_effect_equals_scikit_image() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blur_effect.safetensors");
    let tensors: BTreeMap<String, Tensor> = Tensor::read_safetensors(file).unwrap().into_iter().collect();
    let mut cases = BTreeMap::new();
    for (name, expected) in tensors.iter().filter(|(name, _)| name.ends_with(".blur")) {
        let case = name.trim_end_matches(".blur");
        let x = &tensors[&format!("{case}.x")];
        let (ours, theirs) = (blur_effect(x).unwrap(), expected.double_value(&[]));
        assert!((ours - theirs).abs() <= 1e-10, "{case}: {ours} instead of {theirs}");
        // It is the larger one of both axes; the range of the values does not matter.
        let turned = x.transpose(2, 3);
        assert!((blur_effect(&(turned * 100.0)).unwrap() - theirs).abs() <= 1e-10, "{case}, turned");
        let single = blur_effect(&x.to_kind(Kind::Float)).unwrap();
        assert!((single - theirs).abs() <= 1e-5, "{case} in float32: {single} instead of {theirs}");
        cases.insert(case.to_owned(), ours);
    }
    assert_eq!(cases.len(), 6);
    assert!(cases["sharp"] < cases["blurred"] && cases["blurred"] < cases["blurred_more"], "{cases:?}");
    assert_eq!(cases["constant"], 1.0);
}

#[test]
fn the_blur_of_what_is_no_grey_image_is_refused() {
    let x = Seed::new(2).at("image", 0).uniform(&[1, 1, 4, 4]);
    assert!(blur_effect(&x).is_ok());
    let line = |x: &Tensor| blur_effect(x).unwrap_err().to_string();
    assert!(line(&x.narrow(3, 0, 3)).contains("at least 4 rows and columns"));
    assert!(line(&x.repeat([1, 3, 1, 1])).contains("expected [1, 1, H, W], got [1, 3, 4, 4]"));
    assert!(line(&x.get(0)).contains("expected [1, 1, H, W]"));
    assert!(line(&(x / 0.0)).contains("16 that are NaN or infinite"));
}

#[test]
fn identical_images_have_infinite_psnr_and_ssim_1() {
    let x = Seed::new(2).at("image", 0).uniform(&[1, 2, 12, 15]);
    assert_eq!(psnr(&x, &x, 1.0).unwrap(), f64::INFINITY);
    assert!((ssim(&x, &x, 1.0).unwrap() - 1.0).abs() < 1e-12);
    assert!((ssim_gaussian(&x, &x, 1.0).unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let x = Seed::new(2).at("image", 0).uniform(&[1, 1, 8, 9]);
    let line = |result: Result<f64, Error>| result.unwrap_err().to_string();
    assert_eq!(
        line(psnr(&x.narrow(3, 0, 8), &x, 1.0)),
        "reconstruction: expected [1, 1, 8, 9], got [1, 1, 8, 8]"
    );
    let batch = x.repeat([2, 1, 1, 1]);
    assert_eq!(line(ssim(&batch, &batch, 1.0)), "true image: expected [1, C, H, W], got [2, 1, 8, 9]");
    let small = x.narrow(2, 0, 6);
    assert!(line(ssim(&small, &small, 1.0)).contains("at least 7 rows and columns, got [1, 1, 6, 9]"));
    assert!(line(ssim_gaussian(&x, &x, 1.0)).contains("at least 11 rows and columns"));
    for range in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(psnr(&x, &x, range)).starts_with("range of the values: expected a positive number"));
    }
    let bad = x.copy();
    let _ = bad.narrow(2, 3, 1).narrow(3, 1, 2).fill_(f64::NAN);
    let message = "reconstruction: expected finite values, got 2 that are NaN or infinite";
    assert_eq!(line(psnr(&bad, &x, 1.0)), message);
    assert_eq!(line(ssim(&bad, &x, 1.0)), message);
}

#[test]
fn crop_cuts_every_side() {
    let x = Tensor::arange(2 * 5 * 8, (Kind::Float, Device::Cpu)).view([1, 2, 5, 8]);
    let cut = crop(&x, 2).unwrap();
    assert_eq!(cut.size(), [1, 2, 1, 4]);
    assert_eq!(Vec::<f32>::try_from(cut.select(1, 1).reshape([-1])).unwrap(), [58.0, 59.0, 60.0, 61.0]);
    assert_eq!(crop(&x, 0).unwrap().size(), x.size());
    assert_eq!(
        crop(&x, 3).unwrap_err().to_string(),
        "image to crop: expected more than 6 rows and columns to crop 3 px on every side, got [1, 2, 5, 8]"
    );
    assert!(matches!(crop(&x, i64::MAX), Err(Error::Shape { .. })));
    assert!(matches!(crop(&x, -1), Err(Error::Value { .. })));
    assert!(matches!(crop(&x.view([-1]), 1), Err(Error::Shape { .. })));
}

#[test]
fn a_summary_has_the_population_standard_deviation() {
    let summary = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
    assert_eq!(summary, Summary { mean: 5.0, std: 2.0, count: 8 });
    assert_eq!(Summary::of(&[3.5]), Summary { mean: 3.5, std: 0.0, count: 1 });
    let none = Summary::of(&[]);
    assert!(none.mean.is_nan() && none.std.is_nan() && none.count == 0);
    let infinite = Summary::of(&[30.0, f64::INFINITY]);
    assert!(infinite.mean == f64::INFINITY && infinite.std.is_nan());
}
