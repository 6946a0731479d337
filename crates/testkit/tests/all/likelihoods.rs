//! Every likelihood obeys the law of likelihoods; its broken twin is rejected.

use smalti_base::Seed;
use smalti_operators::{Gaussian, Poisson};
use smalti_testkit::registry::likelihoods::likelihoods;
use smalti_testkit::{broken, laws};

#[test]
fn every_likelihood_has_the_gradient_it_says() {
    for case in likelihoods().unwrap() {
        let likelihood = case.likelihood.subject.as_ref();
        laws::likelihood_gradient(&case.likelihood.name, likelihood, (&case.u, &case.y), Seed::new(1))
            .unwrap();
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
