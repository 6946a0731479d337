//! White Gaussian noise.

use super::{Likelihood, per_image, same_shape};
use smalti_base::{Error, Result};
use tch::Tensor;

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

    fn value(&self, residual: &Tensor) -> Result<Tensor> {
        Ok(per_image(&residual.f_square()?)? / (2.0 * self.sigma.powi(2)))
    }
}

impl Likelihood for Gaussian {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.value(&difference(u, y)?)
    }

    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let residual = difference(u, y)?;
        Ok((self.value(&residual)?, residual / self.sigma.powi(2)))
    }
}

fn difference(u: &Tensor, y: &Tensor) -> Result<Tensor> {
    same_shape(u, y)?;
    Ok(u.f_sub(y)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_gaussian_is_summed_over_each_image() {
        let likelihood = Gaussian::new(0.5).unwrap();
        let u = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([2, 1, 1, 3]);
        let nll = likelihood.nll(&u, &u.zeros_like()).unwrap();
        assert_eq!(nll, Tensor::from_slice(&[14.0 / 0.5, 77.0 / 0.5]));
        assert_eq!(likelihood.grad(&u, &u.zeros_like()).unwrap(), &u * 4.0);
        let scalars = Tensor::from_slice(&[1.0, 2.0]);
        assert_eq!(likelihood.nll(&scalars, &scalars.zeros_like()).unwrap(), Tensor::from_slice(&[2.0, 8.0]));
        let empty = Tensor::zeros([0, 1, 2, 3], (Kind::Float, Device::Cpu));
        assert_eq!(likelihood.nll(&empty, &empty).unwrap().size(), [0]);
    }

    #[test]
    fn wrong_noise_levels_and_shapes_are_errors() {
        for sigma in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(Gaussian::new(sigma).is_err());
        }
        let likelihood = Gaussian::new(0.1).unwrap();
        let (u, y) = (Tensor::from_slice(&[1.0, 2.0]), Tensor::from_slice(&[1.0]));
        assert!(likelihood.nll(&u, &y).is_err() && likelihood.grad(&u, &y).is_err());
    }
}
