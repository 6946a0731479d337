//! Broken likelihoods.

use smalti_base::Result;
use smalti_operators::{Gaussian, Likelihood, Poisson};
use tch::Tensor;

/// The Gaussian likelihood with the gradient of `|u - y|^2 / 2`: without `1/sigma^2`.
pub struct WithoutVariance(pub Gaussian);

impl Likelihood for WithoutVariance {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.0.nll(u, y)
    }

    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, gradient) = self.0.value_and_grad(u, y)?;
        Ok((value, gradient * self.0.sigma().powi(2)))
    }
}

/// The Poisson likelihood with the gradient in `mu_max u`: without the factor `mu_max`.
pub struct WithoutAttenuation(pub Poisson);

impl Likelihood for WithoutAttenuation {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.0.nll(u, y)
    }

    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, gradient) = self.0.value_and_grad(u, y)?;
        Ok((value, gradient / self.0.mu_max()))
    }
}

/// What a likelihood gives at once where it is not what it gives one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtOnce {
    /// Values x 1.01.
    Value,
    /// Gradients x 1.01.
    Gradient,
}

/// A likelihood whose `value_and_grad` has another value, or another gradient, than `nll` and `grad`.
pub struct OtherAtOnce(pub Box<dyn Likelihood>, pub AtOnce);

impl Likelihood for OtherAtOnce {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.0.nll(u, y)
    }

    fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.0.grad(u, y)
    }

    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, gradient) = self.0.value_and_grad(u, y)?;
        Ok(match self.1 {
            AtOnce::Value => (value * 1.01, gradient),
            AtOnce::Gradient => (value, gradient * 1.01),
        })
    }
}
