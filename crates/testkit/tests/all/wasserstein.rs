//! The Wasserstein patch prior and its pyramids obey the laws, and broken twins are rejected.

use smalti_base::Seed;
use smalti_testkit::broken::{
    Amnesiac, Forgetful, GradientOfAnother, NearestRows, NeverRefreshed, ScaledAdjoint, ScaledBound,
    ScaledGradient, ShiftedAdjoint,
};
use smalti_testkit::registry::wasserstein::{
    Search, at_fixed_potentials, distances, pyramids, settings, sinkhorn, sinkhorn_of_samples, solved,
    stateful,
};
use smalti_testkit::{laws, rejected};
use tch::Kind;

fn seed() -> Seed {
    Seed::new(43)
}

#[test]
fn pyramids_are_linear_operators() {
    for pyramid in pyramids().unwrap() {
        let (name, subject) = (pyramid.name.as_str(), pyramid.subject.as_ref());
        laws::adjoint(name, subject, seed()).unwrap();
        laws::linearity(name, subject, seed()).unwrap();
        laws::vjp(name, subject, seed()).unwrap();
        laws::range(name, subject, seed()).unwrap();
        laws::dtype(name, subject, seed()).unwrap();
    }
    for pyramid in pyramids().unwrap() {
        let law = laws::adjoint(&pyramid.name, &ScaledAdjoint(pyramid.subject), seed());
        rejected(law, "the adjoint", "fitted scale 0.990099010", 1e-4..1.01e-2);
    }
    for pyramid in pyramids().unwrap() {
        let law = laws::adjoint(&pyramid.name, &ShiftedAdjoint(pyramid.subject), seed());
        rejected(law, "the adjoint", "fitted scale", 1e-4..2.0);
    }
}

/// See [`Search::Kernels`].
const TOLERANCE: f64 = 1e-4;

#[test]
fn bounds_at_fixed_potentials_have_their_gradients() {
    for (search, tolerance) in [(Search::Kernels, TOLERANCE), (Search::Tensors, 1e-6)] {
        for (k, (mut prior, domain, _)) in at_fixed_potentials(search).unwrap().into_iter().enumerate() {
            let again = || at_fixed_potentials(search).unwrap().swap_remove(k).0.subject;
            let x = seed().at("drawn", 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
            let name = prior.name.as_str();
            laws::regularizer_gradient(name, prior.subject.as_ref(), &x, tolerance, seed()).unwrap();
            laws::repeatable(name, prior.subject.as_mut(), &x).unwrap();
            let law = laws::regularizer_gradient(name, &ScaledGradient(again()), &x, tolerance, seed());
            rejected(law, "the regularizer's gradient", "(fitted scale 0.990", 0.0..f64::INFINITY);
            // It grows by 1e-3 from call to call.
            let value = again().value(&x).unwrap().abs();
            let law = laws::repeatable(name, &mut Forgetful::new(again()), &x);
            rejected(law, "repeatable values", "step 0, value changes", 0.99e-3 * value..1.01e-3 * value);
        }
    }
}

#[test]
fn a_gradient_without_the_coarse_scale_is_rejected() {
    for size in [vec![1, 1, 15, 18], vec![1, 1, 10, 11, 9]] {
        let x = seed().at("drawn", 0).uniform(&size).to_kind(Kind::Double);
        let whole = || solved(&size, &settings(false)).unwrap();
        let potentials = whole().potentials();
        let finest = settings(false).with_scale_weights(Some(vec![0.3, 0.0]));
        let mut finest = solved(&size, &finest).unwrap();
        finest.set_potentials(&potentials).unwrap();
        let (whole, finest) = (whole().at_fixed_potentials(), finest.at_fixed_potentials());
        laws::regularizer_gradient("whole", &whole, &x, TOLERANCE, seed()).unwrap();
        laws::regularizer_gradient("finest", &finest, &x, TOLERANCE, seed()).unwrap();
        let twin = GradientOfAnother { value: Box::new(whole), gradient: Box::new(finest) };
        let law = laws::regularizer_gradient("twin", &twin, &x, TOLERANCE, seed());
        let violation =
            rejected(law, "the regularizer's gradient", "slope along the gradient", 0.0..f64::INFINITY);
        assert!(violation.measured > 1e2 * violation.tolerance, "{violation}");
    }
}

/// See [`sinkhorn`].
const AT_CONVERGENCE: f64 = 1e-3;

#[test]
fn converged_sinkhorn_priors_have_their_gradients() {
    for (k, (prior, domain, _)) in sinkhorn().unwrap().into_iter().enumerate() {
        let x = seed().at("drawn", 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
        let (name, subject) = (prior.name.as_str(), prior.subject);
        laws::regularizer_gradient(name, subject.as_ref(), &x, AT_CONVERGENCE, seed()).unwrap();
        let again = sinkhorn().unwrap().swap_remove(k).0.subject;
        let law = laws::regularizer_gradient(name, &ScaledGradient(again), &x, AT_CONVERGENCE, seed());
        rejected(law, "the regularizer's gradient", "(fitted scale 0.99", 0.0..f64::INFINITY);
    }
}

#[test]
fn samples_of_sinkhorn_priors_are_drawn_anew() {
    for (k, (mut prior, domain, _)) in sinkhorn_of_samples().unwrap().into_iter().enumerate() {
        let x = seed().at("drawn", 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
        laws::fresh_subsets(&prior.name, prior.subject.as_mut(), &x).unwrap();
        let again = sinkhorn_of_samples().unwrap().swap_remove(k).0.subject;
        let law = laws::fresh_subsets(&prior.name, &mut NeverRefreshed(again), &x);
        rejected(law, "fresh subsets", "of step 1 was seen in an earlier step", 1.0..=1.0);
    }
}

#[test]
fn restored_regularizers_go_on() {
    for (k, (mut prior, domain, _)) in stateful().unwrap().into_iter().enumerate() {
        let again = || stateful().unwrap().swap_remove(k).0.subject;
        let x = seed().at("drawn", 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
        laws::resumption(&prior.name, prior.subject.as_mut(), again().as_mut(), &x).unwrap();
        let law = laws::resumption(&prior.name, again().as_mut(), &mut Amnesiac(again()), &x);
        rejected(law, "resumption", "relative distance of value or gradient", 1e-6..2.0);
    }
}

#[test]
fn distances_have_their_bounds() {
    for (distance, gap) in distances() {
        laws::transport_bounds(&distance.name, distance.subject.as_ref(), gap, seed()).unwrap();
    }
    for (distance, gap) in distances() {
        let nearest = NearestRows(distance.subject);
        let law = laws::transport_bounds(&distance.name, &nearest, gap, seed());
        rejected(law, "bounds of transport", "rows far apart, upper bound", 1e-3..1.0);
    }
    let (distance, gap) = distances().swap_remove(0);
    let law = laws::transport_bounds(&distance.name, &ScaledBound(distance.subject), gap, seed());
    rejected(law, "bounds of transport", "rows far apart, lower bound", 1e-4..1e-1);
}
