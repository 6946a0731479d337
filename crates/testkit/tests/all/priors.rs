//! Every patch density, regularizer and patch extraction obeys the laws, and its broken twins are rejected.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use smalti_priors::Regularizer;
use smalti_testkit::broken::{
    Bent, Forgetful, MixedPatches, NeverRefreshed, PlusSquares, ScaledAdjoint, ScaledDensityGradient,
    ScaledGradient,
};
use smalti_testkit::registry::priors::{curved, densities, extractions, planar_densities, regularizers};
use smalti_testkit::{laws, rejected};
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
        let twin = ScaledDensityGradient(density.subject);
        let law = laws::density_gradient(&density.name, &twin, &patches, seed());
        rejected(law, "the density's gradient", "(fitted scale 0.990099)", 0.0..f64::INFINITY);
    }
    for density in densities().unwrap() {
        let patches = draw(&[12, density.subject.dim()]);
        let law = laws::density_rows(&density.name, &MixedPatches(density.subject), &patches, seed());
        rejected(law, "separate elements", "values depend on the other patches", 1e-3..2.0);
    }
}

#[test]
fn planar_densities_integrate_to_one() {
    for density in planar_densities().unwrap() {
        laws::density_integrates(&density.name, density.subject.as_ref(), 0.0, 4.0, 400, 1e-6).unwrap();
        // Without its constant it would not.
        let constant = (2.0 * std::f64::consts::PI).ln();
        let law = laws::density_integrates(&density.name, density.subject.as_ref(), constant, 4.0, 400, 1e-6);
        rejected(law, "the unit integral", "the density integrates to 0.159155", 0.840..0.842);
    }
}

#[test]
fn regularizers_have_their_gradients() {
    for (mut prior, domain, fresh) in regularizers().unwrap() {
        let (name, x) = (prior.name.as_str(), draw(&domain.batch(1)));
        laws::regularizer_gradient(name, prior.subject.as_ref(), &x, 1e-5, seed()).unwrap();
        laws::repeatable(name, prior.subject.as_mut(), &x).unwrap();
        let law = laws::fresh_subsets(name, prior.subject.as_mut(), &x);
        if fresh {
            law.unwrap();
        } else {
            rejected(law, "fresh subsets", "of step 1 was seen in an earlier step", 1.0..=1.0);
        }
    }
}

fn value_at_step_0(mut prior: Box<dyn Regularizer>, x: &Tensor) -> f64 {
    prior.refresh(0).unwrap();
    prior.value(x).unwrap()
}

#[test]
fn broken_regularizers_are_rejected() {
    for (k, (_, domain, fresh)) in regularizers().unwrap().into_iter().enumerate() {
        let again = || regularizers().unwrap().swap_remove(k).0;
        let (name, x) = (again().name, draw(&domain.batch(1)));
        let law = laws::regularizer_gradient(&name, &ScaledGradient(again().subject), &x, 1e-5, seed());
        rejected(law, "the regularizer's gradient", "(fitted scale 0.990", 0.0..f64::INFINITY);
        let law = laws::repeatable(&name, &mut Forgetful::new(again().subject), &x);
        // It grows by 1e-3 from call to call.
        let value = value_at_step_0(again().subject, &x).abs();
        rejected(law, "repeatable values", "step 0, value changes", 0.99e-3 * value..1.01e-3 * value);
        if fresh {
            let law = laws::fresh_subsets(&name, &mut NeverRefreshed(again().subject), &x);
            rejected(law, "fresh subsets", "of step 1 was seen in an earlier step", 1.0..=1.0);
        }
    }
}

#[test]
fn curved_regularizers_have_the_curvature_that_they_say() {
    for case in curved().unwrap() {
        let (name, subject) = (case.regularizer.name.as_str(), case.regularizer.subject.as_ref());
        let shape = case.domain.batch(1);
        laws::constants(name, subject, &shape, seed()).unwrap();
        laws::convexity(name, subject, case.weak_convexity, &shape, seed()).unwrap();
        laws::lipschitz_gradient(name, subject, case.lipschitz, &shape, seed()).unwrap();
        // A ridge regularizer with a concave part is not convex, and those bounds are not idle.
        if case.weak_convexity > 0.0 {
            let law = laws::convexity(name, subject, 0.0, &shape, seed());
            rejected(law, "convexity", "above the chord by", 1e-12..1.0);
        }
        let law = laws::lipschitz_gradient(name, subject, 0.6 * case.lipschitz, &shape, seed());
        rejected(law, "the Lipschitz constant of the gradient", "its rate", 0.0..1.001 * case.lipschitz);
    }
    for case in curved().unwrap() {
        let (name, shape) = (case.regularizer.name.clone(), case.domain.batch(1));
        let mut twin = PlusSquares { original: case.regularizer.subject, strength: case.lipschitz };
        let law = laws::constants(&name, &twin, &shape, seed());
        rejected(law, "unseen constants", "the gradient at the constant image 0.7", 1e-3..f64::INFINITY);
        let law = laws::lipschitz_gradient(&name, &twin, case.lipschitz, &shape, seed());
        rejected(law, "the Lipschitz constant of the gradient", "its rate", 0.0..2.001 * case.lipschitz);
        twin.strength = -3.0 * case.lipschitz;
        let law = laws::convexity(&name, &twin, case.weak_convexity, &shape, seed());
        rejected(law, "convexity", "above the chord by", 1e-12..f64::INFINITY);
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
        let law = laws::adjoint(&patches.name, &ScaledAdjoint(patches.subject), seed());
        rejected(law, "the adjoint", "fitted scale 0.990099010", 1e-4..1.01e-2);
    }
    for patches in extractions().unwrap() {
        let law = laws::linearity(&patches.name, &Bent(patches.subject), seed());
        rejected(law, "linearity", "A(2x - 3y) from 2Ax - 3Ay", 1e-4..0.1);
    }
}
