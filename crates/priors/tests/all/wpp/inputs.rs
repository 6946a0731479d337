//! What cannot be used is refused in one line; what is unusual is right.

use super::{draw, line, prior, tight};
use smalti_base::{Error, Seed};
use smalti_priors::Regularizer;
use smalti_priors::wpp::{Blur, DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use tch::{Kind, Tensor};

fn refused(size: &[i64], references: &[&Tensor], settings: &WppSettings) -> String {
    line(&WassersteinPatchPrior::new(size, references, settings, Seed::new(1)).err().unwrap())
}

#[test]
fn settings_out_of_range_are_refused() {
    let (size, reference) = ([1, 1, 12, 12], draw("reference", &[1, 1, 12, 12]));
    let with = |settings: WppSettings| refused(&size, &[&reference], &settings);
    assert!(with(tight(0)).starts_with("patch size: expected at least 1"));
    assert!(with(tight(3).with_stride(0)).starts_with("patch stride"));
    assert!(with(tight(3).with_downscaling(0)).starts_with("downscaling"));
    assert!(with(tight(3).with_scales(0)).starts_with("number of scales"));
    for weights in [vec![], vec![1.0, 1.0], vec![0.0], vec![-1.0], vec![f64::NAN]] {
        assert!(with(tight(3).with_scale_weights(Some(weights))).starts_with("weights of the"));
    }
    let references = |count| tight(3).with_references(ReferencePatches::Random(count));
    assert!(with(references(0)).contains("reference patches"));
    let many = with(references(101));
    assert!(many.contains("at most the 100 there are") && many.ends_with("got 101"), "{many}");
    assert!(with(tight(3).with_dual(DualMethod::Converge { gap: 0.0, evaluations: 1 })).contains("gap"));
    assert!(with(tight(3).with_dual(DualMethod::AveragedSgd { steps: 0, step: 1.0 })).contains("steps"));
    let blurred = |blur| with(tight(3).with_scales(2).with_blur(blur));
    assert!(blurred(Blur::Gaussian { size: 4, sigma: 0.0 }).contains("sigma"));
    assert!(blurred(Blur::Kernel(Tensor::ones([2, 2, 2], tch::kind::DOUBLE_CPU))).contains("blur kernel"));
    assert!(blurred(Blur::Kernel(Tensor::from_slice(&[f64::NAN]).reshape([1, 1]))).contains("finite"));
}

#[test]
fn images_and_references_that_do_not_fit_are_refused() {
    let reference = draw("reference", &[1, 1, 12, 12]);
    for size in [vec![], vec![12, 12], vec![1, 12, 12], vec![1, 0, 12, 12], vec![1, 1, 1, 12, 12, 12]] {
        assert!(refused(&size, &[&reference], &tight(3)).starts_with("size of images"));
    }
    let size = [1, 1, 12, 12];
    assert!(refused(&size, &[], &tight(3)).contains("at least one, got none"));
    for wrong in [vec![12, 12], vec![1, 2, 12, 12], vec![1, 1, 12, 12, 12], vec![0, 1, 12, 12]] {
        assert!(
            refused(&size, &[&draw("wrong", &wrong)], &tight(3)).starts_with("reference image"),
            "{wrong:?}"
        );
    }
    let small = refused(&size, &[&draw("small", &[1, 1, 12, 4])], &tight(5));
    assert!(small.starts_with("reference image: expected at least 5 pixels"), "{small}");
    let coarse = refused(&[1, 1, 30, 30], &[&draw("coarse", &[1, 1, 30, 12])], &tight(6).with_scales(2));
    assert!(coarse.starts_with("reference image on scale 1"), "{coarse}");
    let coarse = refused(&size, &[&draw("large", &[1, 1, 40, 40])], &tight(6).with_scales(2));
    assert!(coarse.starts_with("image on scale 1"), "{coarse}");
    let blurred = refused(&[1, 1, 12, 5], &[&reference], &tight(1).with_scales(3));
    assert!(blurred.contains("take fewer scales"), "{blurred}");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
        let broken = reference.copy();
        let _ = broken.narrow(2, 5, 1).narrow(3, 7, 1).fill_(bad);
        let line = refused(&size, &[&broken], &tight(3));
        assert!(line.contains("reference image on scale 0") && line.contains("finite"), "{line}");
    }

    let prior = prior(&size, &[&reference], &tight(3));
    for wrong in [vec![12, 12], vec![1, 1, 12, 11], vec![2, 1, 12, 12], vec![1, 1, 1, 12, 12]] {
        let x = draw("x", &wrong);
        assert!(matches!(prior.value(&x), Err(Error::Shape { .. })), "{wrong:?}");
        assert!(matches!(prior.value_and_grad(&x), Err(Error::Shape { .. })), "{wrong:?}");
    }
}

#[test]
fn a_nan_in_the_image_is_refused_and_forgotten() {
    let size = [1, 1, 14, 12];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    for scales in [1, 2] {
        let prior = prior(&size, &[&reference], &tight(3).with_scales(scales));
        for bad in [f64::NAN, f64::INFINITY] {
            let broken = x.copy();
            let _ = broken.narrow(2, 13, 1).narrow(3, 2, 1).fill_(bad);
            let message = line(&prior.value(&broken).unwrap_err());
            assert!(message.starts_with("image on scale 0") && message.contains("finite"), "{message}");
            assert!(prior.value_and_grad(&broken).is_err());
        }
        let value = prior.value(&x).unwrap();
        let _ = prior.value(&(&x * f64::NAN)).unwrap_err();
        assert_eq!(prior.value(&x).unwrap(), value);
        assert_eq!(prior.reports().len() as i64, scales);
    }
}

#[test]
fn constant_images_and_identical_patches_are_right() {
    let size = [1, 1, 14, 12];
    let flat = |c: f64| Tensor::full(size, c, tch::kind::DOUBLE_CPU);
    for dual in [DualMethod::default(), DualMethod::AveragedSgd { steps: 10, step: 1.0 }] {
        let with = |reference: &Tensor, x: &Tensor, centred| {
            let settings = tight(3).with_scales(2).with_centred(centred).with_dual(dual);
            prior(&size, &[reference], &settings).value_and_grad(x).unwrap()
        };
        // All patches are equal: |p - q|^2 = 9 (3/4 - 1/4)^2.
        let (value, gradient) = with(&flat(0.25), &flat(0.75), false);
        let converges = matches!(dual, DualMethod::Converge { .. });
        assert!(value <= 2.25 * (1.0 + 1e-9) && (!converges || value >= 2.25 * (1.0 - 1e-3)), "{value}");
        assert!(gradient.isfinite().all().int64_value(&[]) == 1);
        let value = with(&flat(0.25), &flat(0.75), true).0;
        assert!(value <= 1e-12 && (!converges || value >= -1e-12), "{value}");
        // From a constant the distance to the reference is the mean square around it, whichever way.
        let reference = draw("reference", &size);
        let (value, _) = with(&reference, &flat(0.5), false);
        let (back, gradient) = with(&flat(0.5), &reference, false);
        assert!(gradient.isfinite().all().int64_value(&[]) == 1);
        assert!(!converges || (value / back - 1.0).abs() < 2e-3, "{value} {back}");
    }
    // A few grey values, hence many ties.
    let steps = |name| (draw(name, &size) * 2.0).floor();
    let (x, reference) = (steps("x"), steps("reference"));
    let settings = tight(2).with_patch_size(2).with_scales(1);
    let value = prior(&size, &[&reference], &settings).value(&x).unwrap();
    let expected =
        super::exact::uniform(&super::patches(&x, 2, 1, false), &super::patches(&reference, 2, 1, false));
    assert!((value / expected - 1.0).abs() < 2.0 * super::GAP, "{value} {expected}");
}

#[test]
fn weights_and_potentials_that_do_not_fit_are_refused() {
    let size = [1, 1, 12, 10];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let new = || prior(&size, &[&reference], &tight(3));
    let weights = |values: &Tensor| line(&new().with_pixel_weights(values).err().unwrap());
    let ones = Tensor::ones([12, 10], (Kind::Float, tch::Device::Cpu));
    assert!(weights(&ones.reshape([10, 12])).starts_with("weights of the pixels: expected [12, 10]"));
    assert!(weights(&ones.unsqueeze(0)).contains("weights of the pixels"));
    assert!(weights(&(&ones * 0.0)).contains("some patch with weight"));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let broken = ones.copy();
        let _ = broken.narrow(0, 3, 1).narrow(1, 3, 1).fill_(bad);
        assert!(weights(&broken).contains("finite numbers >= 0"));
    }
    let equal = new().with_pixel_weights(&(&ones * 7.0)).unwrap().value(&x).unwrap();
    assert!((equal / new().value(&x).unwrap() - 1.0).abs() < 3.0 * super::GAP);

    let mut prior = new();
    for wrong in [vec![], vec![vec![0.0; 79]], vec![vec![f64::NAN; 80]], vec![vec![0.0; 80]; 2]] {
        line(&prior.set_potentials(&wrong).unwrap_err());
    }
    prior.set_potentials(&[vec![0.5; 80]]).unwrap();
}
