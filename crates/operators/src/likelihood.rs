//! Likelihoods: how probable an observation is, given the noise-free one. They know no operator.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// The negative log-likelihood of an observation `y` given the noise-free `u = F(x)`.
pub trait Likelihood {
    /// `-log p(y | u) + const`, summed over each image: `[B, ...] -> [B]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `u` and `y` differ in shape.
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor>;

    /// The gradient of [`Likelihood::nll`] in `u`, of the shape of `u`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `u` and `y` differ in shape.
    fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor>;
}

/// Additive Gaussian noise: `nll(u, y) = |u - y|^2 / (2 sigma^2)`, the constant dropped.
#[derive(Debug, Clone, Copy)]
pub struct Gaussian {
    sigma: f64,
}

impl Gaussian {
    /// Noise of standard deviation `sigma > 0`, in the units of the observation.
    ///
    /// # Errors
    /// [`Error::Value`] where `sigma` is not positive and finite.
    pub fn new(sigma: f64) -> Result<Self> {
        if sigma > 0.0 && sigma.is_finite() {
            Ok(Self { sigma })
        } else {
            Err(Error::value("noise level sigma", "a positive number", sigma))
        }
    }

    /// The standard deviation of the noise.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }
}

impl Likelihood for Gaussian {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        let r = difference(u, y)?;
        let b = r.size()[0];
        Ok((&r * &r).reshape([b, -1]).sum_dim_intlist(1i64, false, None::<Kind>) / (2.0 * self.sigma.powi(2)))
    }

    fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(difference(u, y)? / self.sigma.powi(2))
    }
}

fn difference(u: &Tensor, y: &Tensor) -> Result<Tensor> {
    if u.dim() == 0 || u.size() != y.size() {
        return Err(Error::shape("observation", u.size(), y.size()));
    }
    Ok(u - y)
}
