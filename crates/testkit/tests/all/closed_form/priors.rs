//! The laws of densities and regularizers accept priors known in closed form and reject their broken twins.

use super::reference::{Conditional, Curved, Normal, Quadratic};
use smalti_base::Seed;
use smalti_priors::{PatchDensity, Regularizer};
use smalti_testkit::{broken, laws};
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
    println!("{}", laws::density_gradient("scaled", &twin, &patches, seed()).unwrap_err());
    let twin = broken::MixedPatches(normal(9));
    println!("{}", laws::density_rows("mixed", &twin, &patches, seed()).unwrap_err());
    laws::density_integrates("without constant", &Normal { dim: 2, sigma: 0.7 }, 0.1, 6.0, 300, 1e-6)
        .unwrap_err();
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
    println!("{}", laws::density_integrates("wrong sign", &twin, missing, 60.0, 800, 1e-2).unwrap_err());
}

#[test]
fn a_quadratic_regularizer_obeys_every_law() {
    let x = draw(&[1, 2, 9, 12]);
    for subset in [false, true] {
        let mut quadratic = Quadratic::new(&x, subset).unwrap();
        laws::regularizer_gradient("quadratic", &quadratic, &x, 1e-6, seed()).unwrap();
        laws::repeatable("quadratic", &mut quadratic, &x).unwrap();
        assert_eq!(laws::fresh_subsets("quadratic", &mut quadratic, &x).is_ok(), subset);
    }
}

#[test]
fn broken_regularizers_are_rejected() {
    let x = draw(&[1, 2, 9, 12]);
    let quadratic = || -> Box<dyn Regularizer> { Box::new(Quadratic::new(&x, true).unwrap()) };
    let violation =
        laws::regularizer_gradient("scaled", &broken::ScaledGradient(quadratic()), &x, 1e-6, seed());
    let violation = violation.unwrap_err();
    assert!(violation.detail.contains("fitted scale 0.990099"), "{violation}");
    println!("{}", laws::repeatable("forgetful", &mut broken::Forgetful::new(quadratic()), &x).unwrap_err());
    println!(
        "{}",
        laws::fresh_subsets("never refreshed", &mut broken::NeverRefreshed(quadratic()), &x).unwrap_err()
    );
    laws::repeatable("never refreshed", &mut broken::NeverRefreshed(quadratic()), &x).unwrap();
}
