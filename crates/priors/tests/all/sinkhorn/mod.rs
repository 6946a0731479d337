//! The Sinkhorn patch priors: values and gradients, what refreshes do, and what is refused.

#![allow(clippy::unwrap_used)]

mod golden;

use smalti_base::{Error, Seed};
use smalti_priors::Regularizer;
use smalti_priors::sinkhorn::settings::from_half_cost;
use smalti_priors::sinkhorn::{SinkhornMethod, SinkhornPatchPrior, SinkhornSettings};
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use tch::{Kind, Tensor};

/// All reference patches of side `p`, one scale.
fn settings(p: i64, eps: f64) -> SinkhornSettings {
    SinkhornSettings::new(
        WppSettings::default().with_patch_size(p).with_references(ReferencePatches::All).with_scales(1),
        SinkhornMethod { tolerance: 1e-6, iterations: 5000, ..SinkhornMethod::new(eps) },
    )
}

fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(5).at(name, 0).uniform(size).to_kind(Kind::Double)
}

fn prior(size: &[i64], reference: &Tensor, settings: &SinkhornSettings) -> SinkhornPatchPrior {
    SinkhornPatchPrior::new(size, &[reference], settings, Seed::new(6)).unwrap()
}

fn line(error: &Error) -> String {
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn small_smoothing_comes_near_the_wasserstein_distance() {
    for size in [vec![1, 1, 14, 12], vec![1, 2, 9, 10], vec![1, 1, 6, 7, 8]] {
        let (x, reference) = (draw("x", &size), draw("reference", &size));
        let patches =
            settings(3, 1.0).patches.with_dual(DualMethod::Converge { gap: 1e-4, evaluations: 5000 });
        let exact = WassersteinPatchPrior::new(&size, &[&reference], &patches, Seed::new(6));
        let exact = exact.unwrap().value(&x).unwrap();
        let at = |eps| {
            let prior = prior(&size, &reference, &settings(3, eps));
            let value = prior.value(&x).unwrap();
            assert!(prior.reports()[0].marginal_error < 1e-3, "{:?}", prior.reports());
            value
        };
        let (far, near) = (at(0.5), at(0.02));
        assert!(near > exact * 0.999 && near < far, "{exact} {near} {far}");
        // No more than eps times the largest entropy of a plan against the product.
        assert!(
            near - exact < 0.02 * 120_f64.ln() && near - exact < 0.3 * (far - exact),
            "{exact} {near} {far}"
        );
    }
}

#[test]
fn between_refreshes_the_value_depends_on_the_image_alone() {
    let size = [1, 1, 14, 12];
    let (x, other, reference) = (draw("x", &size), draw("other", &size) * 0.7, draw("reference", &size));
    for image_patches in [None, Some(40)] {
        let method = SinkhornMethod { iterations: 10, tolerance: 0.0, ..SinkhornMethod::new(0.05) };
        let mut prior = prior(
            &size,
            &reference,
            &settings(3, 0.05).with_image_patches(image_patches).with_method(method),
        );
        let mut values = Vec::new();
        for step in 0..3 {
            prior.refresh(step).unwrap();
            let (first, gradient) = prior.value_and_grad(&x).unwrap();
            assert_eq!(prior.value(&x).unwrap(), first);
            assert_ne!(prior.value(&other).unwrap(), first);
            let (again, same) = prior.value_and_grad(&x).unwrap();
            assert!(again == first && same == gradient);
            values.push(first);
        }
        assert!(values[0] != values[1] && values[1] != values[2]);
    }
    // A sample of all patches is all patches.
    let value = |image_patches| {
        let prior = prior(&size, &reference, &settings(3, 0.05).with_image_patches(image_patches));
        prior.value(&x).unwrap()
    };
    assert_eq!(value(None), value(Some(1000)));
    assert_ne!(value(None), value(Some(50)));
}

#[test]
fn images_of_another_dtype_are_other_images() {
    let size = [1, 1, 14, 12];
    let reference = draw("reference", &size);
    // Values that both dtypes have.
    let x = draw("x", &size).to_kind(Kind::Float).to_kind(Kind::Double);
    let prior = prior(&size, &reference, &settings(3, 0.05));
    let (double, of_double) = prior.value_and_grad(&x).unwrap();
    let (single, of_single) = prior.value_and_grad(&x.to_kind(Kind::Float)).unwrap();
    assert_eq!((of_double.kind(), of_single.kind()), (Kind::Double, Kind::Float));
    assert!((single / double - 1.0).abs() < 1e-5, "{single} instead of {double}");
    let distance = (&of_double - of_single.to_kind(Kind::Double)).abs().max().double_value(&[]);
    assert!(distance < 1e-5 * of_double.abs().max().double_value(&[]), "{distance}");
    let (again, same) = prior.value_and_grad(&x).unwrap();
    assert!(again == double && same == of_double);
}

#[test]
fn a_refresh_starts_from_the_last_potentials() {
    let size = [1, 1, 14, 12];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let mut warm = prior(&size, &reference, &settings(3, 0.05));
    warm.value(&x).unwrap();
    let cold = warm.reports()[0].iterations;
    warm.refresh(0).unwrap();
    warm.value(&(&x + 1e-3)).unwrap();
    assert!(2 * warm.reports()[0].iterations < cold, "{:?} after {cold}", warm.reports());
    let fresh = || prior(&size, &reference, &settings(3, 0.05));
    let (mut restored, mut resumed, mut untouched) = (fresh(), fresh(), fresh());
    restored.set_potentials(&warm.potentials()).unwrap();
    // As a run does: the state is kept after a step, and the next one begins with a refresh.
    resumed.restore(warm.save().unwrap()).unwrap();
    resumed.refresh(1).unwrap();
    warm.refresh(1).unwrap();
    let expected = warm.value(&x).unwrap();
    assert_eq!([restored.value(&x).unwrap(), resumed.value(&x).unwrap()], [expected; 2]);
    // Before the first evaluation there is nothing to keep.
    untouched.set_potentials(&fresh().potentials()).unwrap();
    untouched.restore(fresh().save().unwrap()).unwrap();
    assert_eq!(untouched.value(&x).unwrap(), fresh().value(&x).unwrap());
    assert!(untouched.value(&x).unwrap() != expected, "the start does not matter");
    assert!(
        prior(&[1, 1, 8, 8], &x.narrow(2, 0, 8), &settings(3, 0.05)).restore(warm.save().unwrap()).is_err()
    );
}

/// Samples come from what has weight, however little that is.
#[test]
fn samples_leave_out_what_has_no_weight() {
    let size = [1, 1, 20, 18];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let mask = Tensor::zeros([20, 18], tch::kind::FLOAT_CPU);
    // A pixel, which 9 of 288 patches have.
    let _ = mask.narrow(0, 5, 1).narrow(1, 10, 1).fill_(1.0);
    let seen = Tensor::zeros([20, 18], (Kind::Bool, tch::Device::Cpu));
    let _ = seen.narrow(0, 3, 5).narrow(1, 8, 5).fill_(1);
    let some = settings(3, 0.05).with_image_patches(Some(2));
    let mut prior = prior(&size, &reference, &some).with_pixel_weights(&mask).unwrap();
    let changed = x.where_self(&seen, &(&x + 0.5));
    for step in 0..3 {
        prior.refresh(step).unwrap();
        let (value, gradient) = prior.value_and_grad(&x).unwrap();
        assert_eq!(prior.value(&changed).unwrap(), value);
        let outside = gradient.where_self(&seen.logical_not(), &gradient.zeros_like());
        assert_eq!(outside.abs().max().double_value(&[]), 0.0);
        assert!(gradient.abs().max().double_value(&[]) > 0.0);
    }
}

#[test]
fn relaxation_forgives_what_the_image_does_not_show() {
    // Half of the reference is a grey that the image does not have.
    let x = draw("x", &[1, 1, 12, 12]) * 0.3;
    let reference =
        Tensor::cat(&[draw("y", &[1, 1, 12, 12]) * 0.3, draw("z", &[1, 1, 12, 12]) * 0.1 + 0.8], 3);
    let value = |rho| {
        let method = SinkhornMethod { rho, ..settings(3, 0.01).method };
        let prior = prior(&[1, 1, 12, 12], &reference, &settings(3, 0.01).with_method(method));
        prior.value(&x).unwrap()
    };
    assert!(value(Some(1e-2)) < 0.1 * value(None));
    assert!((value(Some(1e5)) / value(None) - 1.0).abs() < 1e-3);
}

#[test]
fn published_lengths_are_converted() {
    let method = from_half_cost(0.01, Some(0.005));
    assert!((method.eps - 2e-4).abs() < 1e-15 && (method.rho.unwrap() - 5e-5).abs() < 1e-15);
    let published = SinkhornSettings::piening_2024();
    assert_eq!((published.method.rho, published.image_patches), (None, Some(60_000)));
}

#[test]
fn what_cannot_be_used_is_refused_in_one_line() {
    let size = [1, 1, 12, 10];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let refused = |settings: SinkhornSettings| {
        line(&SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(1)).err().unwrap())
    };
    assert!(refused(settings(3, 1.0).with_image_patches(Some(0))).contains("image patches"));
    assert!(refused(settings(3, 0.0)).contains("eps"));
    assert!(refused(settings(30, 1.0)).contains("at least 30 pixels"));
    let many = settings(3, 1.0).patches.with_references(ReferencePatches::Random(5000));
    assert!(refused(settings(3, 1.0).with_patches(many)).contains("at most the 80"));

    let mut prior = prior(&size, &reference, &settings(3, 0.1));
    for bad in [f64::NAN, f64::INFINITY, 1e30] {
        let broken = x.copy();
        let _ = broken.narrow(2, 3, 1).narrow(3, 3, 1).fill_(bad);
        let message = line(&prior.value(&broken).unwrap_err());
        assert!(message.starts_with("image on scale 0") && message.contains("finite"), "{message}");
    }
    line(&prior.value(&x.transpose(2, 3)).unwrap_err());
    for wrong in [vec![], vec![vec![0.0; 79]], vec![vec![f64::NAN; 80]], vec![vec![0.0; 80]; 2]] {
        line(&prior.set_potentials(&wrong).unwrap_err());
    }
    // Constant images, and equal patches all over.
    let flat = Tensor::full(size, 0.25, tch::kind::DOUBLE_CPU);
    let value = prior.value(&flat).unwrap();
    let back = self::prior(&size, &flat, &settings(3, 0.1)).value(&x).unwrap();
    assert!(value.is_finite() && back.is_finite());
    let apart = self::prior(&size, &flat, &settings(3, 0.1)).value(&(&flat + 0.5)).unwrap();
    assert!((apart / (9.0 * 0.25) - 1.0).abs() < 1e-5, "{apart}");
}
