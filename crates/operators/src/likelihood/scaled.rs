//! A multiple of a negative log-likelihood.

use super::Likelihood;
use smalti_base::{Error, Result};
use tch::Tensor;

/// `c nll(u, y)`, the likelihood to the power `c`: what [`LikelihoodAlgebra::scaled`](super::LikelihoodAlgebra::scaled) gives.
#[derive(Debug, Clone)]
pub struct ScaledLikelihood<L> {
    likelihood: L,
    factor: f64,
}

impl<L: Likelihood> ScaledLikelihood<L> {
    /// `factor` times a likelihood of any type, also a `Box<dyn Likelihood>` or a reference.
    ///
    /// # Errors
    /// [`Error::Value`] where the factor is not positive and finite.
    pub fn new(likelihood: L, factor: f64) -> Result<Self> {
        if factor > 0.0 && factor.is_finite() {
            Ok(Self { likelihood, factor })
        } else {
            Err(Error::value("factor of a likelihood", "a positive number", factor))
        }
    }
}

impl<L: Likelihood> Likelihood for ScaledLikelihood<L> {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.likelihood.nll(u, y)?.f_mul_scalar(self.factor)?)
    }

    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, gradient) = self.likelihood.value_and_grad(u, y)?;
        Ok((value.f_mul_scalar(self.factor)?, gradient.f_mul_scalar(self.factor)?))
    }
}
