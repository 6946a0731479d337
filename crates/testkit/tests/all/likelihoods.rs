//! Every likelihood obeys the laws of likelihoods; broken twins are rejected.

use smalti_base::Seed;
use smalti_operators::{Gaussian, Poisson};
use smalti_testkit::broken::{self, AtOnce};
use smalti_testkit::registry::likelihoods::likelihoods;
use smalti_testkit::{laws, rejected};
use tch::Kind;

#[test]
fn every_likelihood_has_the_gradient_it_says() {
    for case in likelihoods().unwrap() {
        let likelihood = case.likelihood.subject.as_ref();
        laws::likelihood_gradient(&case.likelihood.name, likelihood, (&case.u, &case.y), Seed::new(1))
            .unwrap();
    }
}

#[test]
fn every_likelihood_gives_at_once_what_it_gives_one_by_one() {
    for case in likelihoods().unwrap() {
        let likelihood = case.likelihood.subject.as_ref();
        for kind in [Kind::Double, Kind::Float] {
            let (u, y) = (case.u.to_kind(kind), case.y.to_kind(kind));
            laws::value_and_grad(&case.likelihood.name, likelihood, (&u, &y)).unwrap();
        }
    }
    for mistake in [AtOnce::Value, AtOnce::Gradient] {
        for case in likelihoods().unwrap() {
            let twin = broken::OtherAtOnce(case.likelihood.subject, mistake);
            let law = laws::value_and_grad(&case.likelihood.name, &twin, (&case.u, &case.y));
            // All of the values, and most of the gradient: where it is 0 a factor does not show.
            let (what, n) = match mistake {
                AtOnce::Value => ("numbers of the value", case.u.size()[0]),
                AtOnce::Gradient => ("numbers of the gradient", case.u.numel() as i64),
            };
            rejected(law, "value and gradient at once", what, 0.5 * n as f64..=n as f64);
        }
    }
}

#[test]
fn a_gradient_without_the_variance_is_rejected() {
    let twin = broken::WithoutVariance(Gaussian::new(0.01).unwrap());
    let case = likelihoods().unwrap().swap_remove(0);
    let law = laws::likelihood_gradient("without variance", &twin, (&case.u, &case.y), Seed::new(1));
    // The gradient has 1e-4 of its size.
    rejected(law, "the likelihood's gradient", "from autograd", 0.99985..0.99995);
}

#[test]
fn a_gradient_without_the_attenuation_is_rejected() {
    let twin = broken::WithoutAttenuation(Poisson::lodopab());
    let case = likelihoods().unwrap().into_iter().find(|c| c.likelihood.name.contains("LoDoPaB")).unwrap();
    let law = laws::likelihood_gradient("without attenuation", &twin, (&case.u, &case.y), Seed::new(1));
    // The gradient has 1 / 81.36 of its size.
    rejected(law, "the likelihood's gradient", "from autograd", 0.9876..0.9878);
}
