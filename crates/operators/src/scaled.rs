//! A multiple of an operator.

use crate::{Grid, LinearOperator, Operator, PixelGrid};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// `c F(x)`, linear where `F` is: what [`OperatorAlgebra::scaled`](crate::OperatorAlgebra::scaled) gives.
///
/// `J^T v = c J_F(x)^T v`; for linear operators `(c A)^T = c A^T` and `(c A)^T (c A) = c^2 A^T A`.
#[derive(Debug, Clone)]
pub struct ScaledOperator<F> {
    operator: F,
    factor: f64,
}

impl<F: Operator> ScaledOperator<F> {
    /// `factor` times an operator of any type, also a `Box<dyn Operator>` or a reference.
    ///
    /// # Errors
    /// [`Error::Value`] where the factor is not finite.
    pub fn new(operator: F, factor: f64) -> Result<Self> {
        if factor.is_finite() {
            Ok(Self { operator, factor })
        } else {
            Err(Error::value("factor of an operator", "a finite number", factor))
        }
    }
}

impl<F: Operator> Operator for ScaledOperator<F> {
    fn domain(&self) -> Space {
        self.operator.domain()
    }

    fn range(&self) -> Space {
        self.operator.range()
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.operator.apply(x)?.f_mul_scalar(self.factor)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        Ok(self.operator.vjp(x, v)?.f_mul_scalar(self.factor)?)
    }
}

impl<F: LinearOperator> LinearOperator for ScaledOperator<F> {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.operator.adjoint(v)?.f_mul_scalar(self.factor)?)
    }

    fn normal(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.operator.normal(x)?.f_mul_scalar(self.factor * self.factor)?)
    }
}

impl<F: PixelGrid> PixelGrid for ScaledOperator<F> {
    fn grid(&self) -> Grid {
        self.operator.grid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperatorAlgebra;
    use crate::{Gradient, Identity};
    use smalti_base::Seed;
    use tch::Kind;

    #[test]
    fn values_and_adjoints_are_multiples() {
        let gradient = Gradient::new(Space::image(2, 9, 14));
        let a = gradient.scaled(-2.5).unwrap();
        let draw = |s: Space| Seed::new(1).at("drawn", 0).normal(&s.batch(3)).to_kind(Kind::Double);
        let (x, v) = (draw(a.domain()), draw(a.range()));
        assert_eq!(a.apply(&x).unwrap(), gradient.apply(&x).unwrap() * -2.5);
        assert_eq!(a.adjoint(&v).unwrap(), gradient.adjoint(&v).unwrap() * -2.5);
        assert_eq!(a.normal(&x).unwrap(), gradient.normal(&x).unwrap() * 6.25);
        assert_eq!(a.grid(), gradient.grid());
    }

    #[test]
    fn factors_are_finite() {
        for factor in [f64::NAN, f64::INFINITY] {
            assert!(Identity::new(Space::image(1, 2, 3)).scaled(factor).is_err());
        }
    }
}
