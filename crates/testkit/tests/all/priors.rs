//! Every patch density, regularizer and patch extraction obeys the laws, and its broken twins are rejected.

use smalti_base::Seed;
use smalti_testkit::broken::{
    Bent, Forgetful, MixedPatches, NeverRefreshed, ScaledAdjoint, ScaledDensityGradient, ScaledGradient,
};
use smalti_testkit::laws;
use smalti_testkit::registry::priors::{densities, extractions, planar_densities, regularizers};
use tch::{Kind, Tensor};

fn seed() -> Seed {
    Seed::new(42)
}

fn draw(shape: &[i64]) -> Tensor {
    seed().at("drawn", 0).uniform(shape).to_kind(Kind::Double)
}

#[test]
fn densities_have_their_gradients() {
    for density in densities().unwrap() {
        let patches = draw(&[12, density.subject.dim()]);
        laws::density_gradient(&density.name, density.subject.as_ref(), &patches, seed()).unwrap();
        laws::density_rows(&density.name, density.subject.as_ref(), &patches, seed()).unwrap();
    }
    for density in densities().unwrap() {
        let patches = draw(&[12, density.subject.dim()]);
        laws::density_gradient(&density.name, &ScaledDensityGradient(density.subject), &patches, seed())
            .unwrap_err();
    }
    for density in densities().unwrap() {
        let patches = draw(&[12, density.subject.dim()]);
        laws::density_rows(&density.name, &MixedPatches(density.subject), &patches, seed()).unwrap_err();
    }
}

#[test]
fn planar_densities_integrate_to_one() {
    for density in planar_densities().unwrap() {
        laws::density_integrates(&density.name, density.subject.as_ref(), 0.0, 4.0, 400, 1e-6).unwrap();
        // Without its constant it would not.
        let constant = (2.0 * std::f64::consts::PI).ln();
        laws::density_integrates(&density.name, density.subject.as_ref(), constant, 4.0, 400, 1e-6)
            .unwrap_err();
    }
}

#[test]
fn regularizers_have_their_gradients() {
    for (mut prior, domain, fresh) in regularizers().unwrap() {
        let (name, x) = (prior.name.as_str(), draw(&domain.batch(1)));
        laws::regularizer_gradient(name, prior.subject.as_ref(), &x, 1e-5, seed()).unwrap();
        laws::repeatable(name, prior.subject.as_mut(), &x).unwrap();
        assert_eq!(laws::fresh_subsets(name, prior.subject.as_mut(), &x).is_ok(), fresh, "{name}");
    }
}

#[test]
fn broken_regularizers_are_rejected() {
    for (k, (_, domain, fresh)) in regularizers().unwrap().into_iter().enumerate() {
        let again = || regularizers().unwrap().swap_remove(k).0;
        let (name, x) = (again().name, draw(&domain.batch(1)));
        laws::regularizer_gradient(&name, &ScaledGradient(again().subject), &x, 1e-5, seed()).unwrap_err();
        laws::repeatable(&name, &mut Forgetful::new(again().subject), &x).unwrap_err();
        if fresh {
            laws::fresh_subsets(&name, &mut NeverRefreshed(again().subject), &x).unwrap_err();
        }
    }
}

#[test]
fn patch_extractions_are_linear_operators() {
    for patches in extractions().unwrap() {
        let (name, subject) = (patches.name.as_str(), patches.subject.as_ref());
        laws::adjoint(name, subject, seed()).unwrap();
        laws::linearity(name, subject, seed()).unwrap();
        laws::vjp(name, subject, seed()).unwrap();
        laws::range(name, subject, seed()).unwrap();
        laws::dtype(name, subject, seed()).unwrap();
    }
    for patches in extractions().unwrap() {
        laws::adjoint(&patches.name, &ScaledAdjoint(patches.subject), seed()).unwrap_err();
    }
    for patches in extractions().unwrap() {
        laws::linearity(&patches.name, &Bent(patches.subject), seed()).unwrap_err();
    }
}
