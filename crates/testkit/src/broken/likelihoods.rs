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

    fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.0.grad(u, y)? * self.0.sigma().powi(2))
    }
}

/// The Poisson likelihood with the gradient in `mu_max u`: without the factor `mu_max`.
pub struct WithoutAttenuation(pub Poisson);

impl Likelihood for WithoutAttenuation {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.0.nll(u, y)
    }

    fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.0.grad(u, y)? / self.0.mu_max())
    }
}
