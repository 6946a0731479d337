//! One function between two refreshes, warm starts, fixed potentials.

use super::{draw, prior, tight};
use smalti_priors::Regularizer;
use smalti_priors::wpp::{DualMethod, WassersteinPatchPrior, WppSettings};
use tch::Tensor;

const SIZE: [i64; 4] = [1, 1, 24, 20];

fn settings(dual: DualMethod) -> WppSettings {
    tight(3).with_scales(2).with_dual(dual)
}

fn methods() -> [DualMethod; 2] {
    [DualMethod::AveragedSgd { steps: 10, step: 1.0 }, DualMethod::Converge { gap: 1e-3, evaluations: 300 }]
}

fn images() -> (Tensor, Tensor, Tensor) {
    (draw("x", &SIZE), draw("other", &SIZE) * 0.7, draw("reference", &SIZE))
}

fn bits(result: (f64, Tensor)) -> (u64, Vec<u64>) {
    let values = Vec::<f64>::try_from(result.1.reshape([-1])).unwrap();
    (result.0.to_bits(), values.into_iter().map(f64::to_bits).collect())
}

#[test]
fn between_refreshes_the_value_depends_on_the_image_alone() {
    for dual in methods() {
        let (x, other, reference) = images();
        let mut prior = prior(&SIZE, &[&reference], &settings(dual));
        for step in 0..3 {
            let first = bits(prior.value_and_grad(&x).unwrap());
            assert_eq!(prior.value(&x).unwrap().to_bits(), first.0);
            let elsewhere = prior.value(&other).unwrap();
            assert_ne!(elsewhere.to_bits(), first.0);
            assert_eq!(bits(prior.value_and_grad(&x).unwrap()), first);
            assert_eq!(prior.value(&other).unwrap(), elsewhere);
            prior.refresh(step).unwrap();
        }
    }
}

#[test]
fn a_refresh_starts_from_the_last_potentials() {
    let (x, _, reference) = images();
    let step = &x + draw("step", &SIZE) * 1e-3;
    let [sgd, converge] = methods();
    let spent = |prior: &WassersteinPatchPrior| prior.reports().iter().map(|r| r.evaluations).sum::<usize>();

    let mut warm = prior(&SIZE, &[&reference], &settings(converge));
    warm.value(&x).unwrap();
    let cold = spent(&warm);
    warm.refresh(0).unwrap();
    warm.value(&step).unwrap();
    assert!(2 * spent(&warm) < cold, "{} after a small step, {cold} at first", spent(&warm));

    // As many refreshes as one likes without an evaluation change nothing.
    let mut warm = prior(&SIZE, &[&reference], &settings(sgd));
    let first = warm.value(&x).unwrap();
    let potentials = warm.potentials();
    warm.refresh(0).unwrap();
    warm.refresh(1).unwrap();
    let second = warm.value(&x).unwrap();
    assert!(second > first);
    let mut restored = prior(&SIZE, &[&reference], &settings(sgd));
    restored.set_potentials(&potentials).unwrap();
    assert_eq!(restored.value(&x).unwrap(), second);
}

#[test]
fn fixed_potentials_give_the_same_value_and_gradient_at_their_image() {
    for dual in methods() {
        let (x, other, reference) = images();
        let prior = prior(&SIZE, &[&reference], &settings(dual));
        let at_other = prior.value(&other).unwrap();
        let (value, gradient) = prior.value_and_grad(&x).unwrap();
        let fixed = prior.at_fixed_potentials();
        let (same, same_gradient) = fixed.value_and_grad(&x).unwrap();
        // But for the margin for rounding that a certified value has.
        assert!((same / value - 1.0).abs() < 1e-10, "{same} {value}");
        assert!((same_gradient - &gradient).abs().max().double_value(&[]) < 1e-12);
        // A bound elsewhere: potentials for another image.
        let bound = fixed.value(&other).unwrap();
        if let DualMethod::Converge { gap, .. } = dual {
            assert!(bound < at_other * (1.0 + gap), "{bound} {at_other}");
        }
        let again = fixed.into_prior();
        assert!((again.value(&x).unwrap() / value - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_gradient_leads_to_the_reference() {
    let (x, _, reference) = images();
    let [_, converge] = methods();
    let mut prior = prior(&SIZE, &[&reference], &settings(converge));
    let before = prior.value(&x).unwrap();
    let mut x = x.copy();
    for step in 0..20 {
        prior.refresh(step).unwrap();
        x -= prior.value_and_grad(&x).unwrap().1 * 10.0;
    }
    let after = prior.value(&x).unwrap();
    assert!(after < 0.7 * before, "{before} -> {after}");
}

/// Periodic images have the same patches at every size: the zero-shot case.
#[test]
fn an_observation_can_be_the_reference() {
    let observation = draw("observation", &[1, 1, 14, 16]);
    let (size, settings) = ([1, 1, 28, 32], settings(methods()[1]));
    let other = prior(&size, &[&observation], &settings).value(&draw("x", &size)).unwrap();
    let tile = draw("tile", &[1, 1, 4, 4]);
    let (small, large) = (tile.repeat([1, 1, 3, 3]), tile.repeat([1, 1, 7, 7]));
    let settings = settings.with_scales(1).with_patch_size(5);
    let periodic = prior(&[1, 1, 28, 28], &[&small], &settings);
    assert!(periodic.value(&large).unwrap() < 1e-2 * other);
}
