//! Sums and multiples of regularizers.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, Space};
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_priors::{Regularizer, RegularizerAlgebra, TotalVariation, WassersteinPatchPrior, WppSettings};
use tch::{Kind, Tensor};

const DOMAIN: Space = Space::image(2, 9, 14);

fn draw(name: &str) -> Tensor {
    Seed::new(1).at(name, 0).uniform(&DOMAIN.batch(1)).to_kind(Kind::Double)
}

fn variation(eps: f64) -> TotalVariation {
    TotalVariation::new(DOMAIN, eps).unwrap()
}

/// One whose potentials are its state.
fn wasserstein(reference: &str) -> WassersteinPatchPrior {
    let settings = WppSettings::default()
        .with_patch_size(3)
        .with_references(ReferencePatches::All)
        .with_scales(1)
        .with_dual(DualMethod::AveragedSgd { steps: 5, step: 1.0 });
    WassersteinPatchPrior::new(&DOMAIN.batch(1), &[&draw(reference)], &settings, Seed::new(2)).unwrap()
}

#[test]
fn values_and_gradients_are_sums_of_multiples() {
    let x = draw("x");
    let (fine, smooth) =
        (variation(1e-3).value_and_grad(&x).unwrap(), variation(0.1).value_and_grad(&x).unwrap());
    let boxed: Box<dyn Regularizer> = Box::new(variation(0.1));
    let mut original = variation(1e-3);
    let sum = (&mut original).plus(boxed.scaled(-0.5).unwrap());
    assert_eq!(sum.value(&x).unwrap(), fine.0 - 0.5 * smooth.0);
    let (value, gradient) = sum.value_and_grad(&x).unwrap();
    assert_eq!(value, fine.0 - 0.5 * smooth.0);
    assert!((gradient - (fine.1 - smooth.1 * 0.5)).abs().max().double_value(&[]) < 1e-16);
    assert!(sum.save().is_none(), "nothing to keep");
    for factor in [f64::NAN, f64::INFINITY] {
        assert!(variation(0.1).scaled(factor).is_err());
    }
}

/// The states of parts that call their tensors alike do not get mixed up.
#[test]
fn states_of_the_parts_are_kept_apart() {
    let (x, y) = (draw("x"), draw("y"));
    let make = || {
        let pair = wasserstein("one").plus(wasserstein("other").scaled(2.0).unwrap());
        variation(0.1).plus(pair)
    };
    let mut original = make();
    original.value(&x).unwrap();
    let state = original.save().unwrap();
    let names = ["second.first.potential.0", "second.second.potential.0"];
    assert_eq!(state.tensors.keys().collect::<Vec<_>>(), names);
    assert_ne!(state.tensors[names[0]], state.tensors[names[1]]);
    let mut restored = make();
    restored.restore(state).unwrap();
    original.refresh(1).unwrap();
    restored.refresh(1).unwrap();
    assert_eq!(original.value(&y).unwrap(), restored.value(&y).unwrap());
    assert_ne!(original.value(&y).unwrap(), make().value(&y).unwrap());
    assert!(make().restore(Default::default()).is_err(), "a state of something else");
}
