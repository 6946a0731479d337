//! Every likelihood obeys the laws of likelihoods; broken twins are rejected.

use smalti_base::Seed;
use smalti_operators::{Gaussian, Poisson};
use smalti_testkit::broken::{self, AtOnce};
use smalti_testkit::laws;
use smalti_testkit::registry::likelihoods::likelihoods;
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
            println!("{}", law.unwrap_err());
        }
    }
}

#[test]
fn a_gradient_without_the_variance_is_rejected() {
    let twin = broken::WithoutVariance(Gaussian::new(0.01).unwrap());
    let case = likelihoods().unwrap().swap_remove(0);
    let law = laws::likelihood_gradient("without variance", &twin, (&case.u, &case.y), Seed::new(1));
    println!("{}", law.unwrap_err());
}

#[test]
fn a_gradient_without_the_attenuation_is_rejected() {
    let twin = broken::WithoutAttenuation(Poisson::lodopab());
    let case = likelihoods().unwrap().into_iter().find(|c| c.likelihood.name.contains("LoDoPaB")).unwrap();
    let law = laws::likelihood_gradient("without attenuation", &twin, (&case.u, &case.y), Seed::new(1));
    println!("{}", law.unwrap_err());
}
