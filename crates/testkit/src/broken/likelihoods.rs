//! Broken likelihoods.

use smalti_base::Result;
use smalti_operators::{Gaussian, Likelihood};
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
