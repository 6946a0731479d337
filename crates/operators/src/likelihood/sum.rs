//! The sum of two negative log-likelihoods.

use super::Likelihood;
use smalti_base::Result;
use tch::Tensor;

/// `nll(u, y) = nll_1(u, y) + nll_2(u, y)`: what [`LikelihoodAlgebra::plus`](super::LikelihoodAlgebra::plus) gives.
#[derive(Debug, Clone)]
pub struct LikelihoodSum<L, M> {
    first: L,
    second: M,
}

impl<L: Likelihood, M: Likelihood> LikelihoodSum<L, M> {
    /// The sum of likelihoods of any type, also `Box<dyn Likelihood>` and references.
    pub fn new(first: L, second: M) -> Self {
        Self { first, second }
    }
}

impl<L: Likelihood, M: Likelihood> Likelihood for LikelihoodSum<L, M> {
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.first.nll(u, y)?.f_add(&self.second.nll(u, y)?)?)
    }

    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, gradient) = self.first.value_and_grad(u, y)?;
        let (more, slope) = self.second.value_and_grad(u, y)?;
        Ok((value.f_add(&more)?, gradient.f_add(&slope)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LikelihoodAlgebra;
    use crate::{Gaussian, Poisson};
    use smalti_base::Seed;
    use tch::Kind;

    #[test]
    fn precisions_of_gaussians_add_up() {
        let draw = |name| Seed::new(1).at(name, 0).uniform(&[3, 2, 5, 7]).to_kind(Kind::Double);
        let (u, y) = (draw("u"), draw("y"));
        let sum = Gaussian::new(0.3).unwrap().plus(Gaussian::new(0.4).unwrap());
        // 1 / 0.3^2 + 1 / 0.4^2 = 1 / 0.24^2.
        let one = Gaussian::new(0.24).unwrap();
        let error = |a: Tensor, b: Tensor| (a / b - 1.0).abs().max().double_value(&[]);
        assert!(error(sum.nll(&u, &y).unwrap(), one.nll(&u, &y).unwrap()) < 1e-14);
        assert!(error(sum.grad(&u, &y).unwrap(), one.grad(&u, &y).unwrap()) < 1e-14);
    }

    #[test]
    fn values_are_sums_and_powers_multiples() {
        let draw = |name| Seed::new(1).at(name, 0).uniform(&[3, 2, 5, 7]).to_kind(Kind::Double) * 0.1;
        let (u, y) = (draw("u"), draw("y"));
        let (gaussian, poisson) = (Gaussian::new(0.01).unwrap(), Poisson::lodopab());
        let boxed: Box<dyn Likelihood> = Box::new(gaussian);
        let sum = (&poisson).plus(boxed.scaled(0.25).unwrap());
        let expected = poisson.nll(&u, &y).unwrap() + gaussian.nll(&u, &y).unwrap() * 0.25;
        assert_eq!(sum.nll(&u, &y).unwrap(), expected);
        let expected = poisson.grad(&u, &y).unwrap() + gaussian.grad(&u, &y).unwrap() * 0.25;
        assert_eq!(sum.value_and_grad(&u, &y).unwrap().1, expected);
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(gaussian.scaled(factor).is_err());
        }
    }
}
