//! The laws of densities and regularizers accept priors known in closed form and reject their broken twins.

use super::reference::{Conditional, Curved, Normal, Quadratic};
use smalti_base::Seed;
use smalti_priors::{PatchDensity, Regularizer};
use smalti_testkit::{broken, laws, rejected};
use tch::{Kind, Tensor};

fn seed() -> Seed {
    Seed::new(78)
}

fn draw(shape: &[i64]) -> Tensor {
    seed().at("prior", 0).normal(shape).to_kind(Kind::Double)
}

fn normal(dim: i64) -> Box<dyn PatchDensity> {
    Box::new(Normal { dim, sigma: 0.7 })
}

#[test]
fn a_normal_density_obeys_every_law() {
    let patches = draw(&[7, 9]);
    laws::density_gradient("normal", normal(9).as_ref(), &patches, seed()).unwrap();
    laws::density_rows("normal", normal(9).as_ref(), &patches, seed()).unwrap();
    laws::density_integrates("normal", normal(2).as_ref(), 0.0, 6.0, 300, 1e-6).unwrap();
}

#[test]
fn broken_densities_are_rejected() {
    let patches = draw(&[7, 9]);
    let twin = broken::ScaledDensityGradient(normal(9));
    let law = laws::density_gradient("scaled", &twin, &patches, seed());
    rejected(law, "the density's gradient", "from autograd", 0.0099..0.0101);
    let twin = broken::MixedPatches(normal(9));
    let law = laws::density_rows("mixed", &twin, &patches, seed());
    rejected(law, "separate elements", "values depend on the other patches", 1e-3..2.0);
    // exp(-0.1)
    let normal = Normal { dim: 2, sigma: 0.7 };
    let law = laws::density_integrates("without constant", &normal, 0.1, 6.0, 300, 1e-6);
    rejected(law, "the unit integral", "the density integrates to 0.904837", 0.0951..0.0952);
}

#[test]
fn a_density_with_the_wrong_sign_is_rejected_by_its_integral_only() {
    let missing = (2.0 * std::f64::consts::PI).ln();
    // Where the log-determinant is 0 the sign does not matter ...
    let harmless = broken::WrongSignDensity { flow: Box::new(Conditional), dim: 2 };
    laws::density_integrates("no log-determinant", &harmless, missing, 8.0, 300, 1e-6).unwrap();
    // ... elsewhere it does, though value and gradient agree.
    let twin = broken::WrongSignDensity { flow: Box::new(Curved::new(2)), dim: 2 };
    laws::density_gradient("wrong sign", &twin, &draw(&[7, 2]), seed()).unwrap();
    let law = laws::density_integrates("wrong sign", &twin, missing, 60.0, 800, 1e-2);
    rejected(law, "the unit integral", "the density integrates to", 0.1..1e3);
}

#[test]
fn a_quadratic_regularizer_obeys_every_law() {
    let x = draw(&[1, 2, 9, 12]);
    for subset in [false, true] {
        let mut quadratic = Quadratic::new(&x, subset).unwrap();
        laws::regularizer_gradient("quadratic", &quadratic, &x, 1e-6, seed()).unwrap();
        laws::repeatable("quadratic", &mut quadratic, &x).unwrap();
        let law = laws::fresh_subsets("quadratic", &mut quadratic, &x);
        if subset {
            law.unwrap();
        } else {
            rejected(law, "fresh subsets", "of step 1 was seen in an earlier step", 1.0..=1.0);
        }
    }
}

#[test]
fn broken_regularizers_are_rejected() {
    let x = draw(&[1, 2, 9, 12]);
    let quadratic = || -> Box<dyn Regularizer> { Box::new(Quadratic::new(&x, true).unwrap()) };
    let law = laws::regularizer_gradient("scaled", &broken::ScaledGradient(quadratic()), &x, 1e-6, seed());
    rejected(law, "the regularizer's gradient", "fitted scale 0.990099", 0.0..f64::INFINITY);
    // It grows by 1e-3 from call to call.
    let value = quadratic().value(&x).unwrap();
    let law = laws::repeatable("forgetful", &mut broken::Forgetful::new(quadratic()), &x);
    rejected(law, "repeatable values", "step 0, value changes", 0.99e-3 * value..1.01e-3 * value);
    let law = laws::fresh_subsets("never refreshed", &mut broken::NeverRefreshed(quadratic()), &x);
    rejected(law, "fresh subsets", "of step 1 was seen in an earlier step", 1.0..=1.0);
    laws::repeatable("never refreshed", &mut broken::NeverRefreshed(quadratic()), &x).unwrap();
}
