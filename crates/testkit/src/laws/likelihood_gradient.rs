//! The gradient of a likelihood.

use super::measure::{autograd, central_differences, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::Likelihood;
use tch::{Kind, Tensor};

/// `nll` has one value per image, each depending on its own image only, and `grad` equals autograd (1e-12
/// relative, maximum norm) and central differences (1e-7), at the float64 batch `u` and observation `y`.
///
/// # Errors
/// The [`Violation`].
pub fn likelihood_gradient(
    subject: &str,
    likelihood: &dyn Likelihood,
    (u, y): (&Tensor, &Tensor),
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the likelihood's gradient", subject };
    let b = u.size()[0];
    let nll = trial.ok(likelihood.nll(u, y))?;
    trial.same_shape("the negative log-likelihood", &nll.size(), &[b])?;
    for i in 0..b {
        let alone = trial.ok(likelihood.nll(&u.narrow(0, i, 1), &y.narrow(0, i, 1)))?;
        let error = relative_distance(&nll.narrow(0, i, 1), &alone);
        trial.at_most(1e-12, error, format!("value of image {i} depends on its batch, relative distance"))?;
    }
    let gradient = trial.ok(likelihood.grad(u, y))?;
    let expected = trial.ok(autograd(u, |u| likelihood.nll(u, y)))?;
    trial.same_shape("the gradient", &gradient.size(), &u.size())?;
    trial.at_most(1e-12, relative_distance(&gradient, &expected), "relative distance from autograd")?;
    let total = |u: &Tensor| Ok(likelihood.nll(u, y)?.sum(Kind::Double).double_value(&[]));
    central_differences(trial, (u, &gradient), seed, 1e-7, total)
}
