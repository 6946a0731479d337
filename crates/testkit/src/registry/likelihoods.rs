//! The likelihoods there are, each with noise-free and observed data that it makes sense for.

use super::Named;
use smalti_base::{Result, Seed};
use smalti_operators::{Gaussian, Likelihood, LikelihoodAlgebra, Poisson};
use tch::{Kind, Tensor};

/// A likelihood with a noise-free batch `u` and an observation `y`, float64.
#[derive(Debug)]
pub struct LikelihoodCase {
    /// The likelihood.
    pub likelihood: Named<dyn Likelihood>,
    /// The noise-free observations.
    pub u: Tensor,
    /// The observations.
    pub y: Tensor,
}

/// Every likelihood.
///
/// # Errors
/// Those of the constructors; none with the settings used here.
pub fn likelihoods() -> Result<Vec<LikelihoodCase>> {
    let seed = Seed::new(12);
    let draw = |purpose: &str| seed.at(purpose, 0).uniform(&[3, 2, 5, 7]).to_kind(Kind::Double);
    // Line integrals, in metres.
    let ray = |purpose: &str| draw(purpose) * 0.1;
    let counts = |name: &str, noise: Box<dyn Likelihood>| LikelihoodCase {
        likelihood: Named::new(name, noise),
        u: ray("noise-free"),
        y: ray("observed"),
    };
    let case = |name: &str, likelihood: Box<dyn Likelihood>| LikelihoodCase {
        likelihood: Named::new(name, likelihood),
        u: draw("noise-free"),
        y: draw("observed"),
    };
    let both = Gaussian::new(0.3)?.plus(Gaussian::new(2.5)?.scaled(0.7)?);
    let counted = Poisson::lodopab().plus(Box::new(Gaussian::new(0.01)?) as Box<dyn Likelihood>);
    Ok(vec![
        case("Gaussian, sigma 0.01", Box::new(Gaussian::new(0.01)?)),
        case("Gaussian, sigma 2.5", Box::new(Gaussian::new(2.5)?)),
        counts("Poisson of LoDoPaB-CT", Box::new(Poisson::lodopab())),
        counts("Poisson, 30 photons", Box::new(Poisson::new(30.0, 10.0)?)),
        case("sum of a Gaussian and a power of another", Box::new(both)),
        counts("sum of Poisson and Gaussian", Box::new(counted)),
    ])
}
