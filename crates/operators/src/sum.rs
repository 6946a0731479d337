//! The sum of two operators.

use crate::{LinearOperator, Operator};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// `F(x) + G(x)`, linear where both are: what [`OperatorAlgebra::plus`](crate::OperatorAlgebra::plus) gives. It has no grid: the two may see `x` at different places.
///
/// `J^T v = J_F(x)^T v + J_G(x)^T v`; for linear operators `(A + B)^T = A^T + B^T`.
#[derive(Debug, Clone)]
pub struct OperatorSum<F, G> {
    first: F,
    second: G,
}

impl<F: Operator, G: Operator> OperatorSum<F, G> {
    /// The sum of operators of any type, also `Box<dyn Operator>` and references.
    ///
    /// # Errors
    /// [`Error::Shape`] where the two have different domains or ranges.
    pub fn new(first: F, second: G) -> Result<Self> {
        let spaces = [
            ("domain of the second operator of a sum", first.domain(), second.domain()),
            ("range of the second operator of a sum", first.range(), second.range()),
        ];
        match spaces.into_iter().find(|(_, expected, got)| expected != got) {
            Some((what, expected, got)) => Err(Error::shape(what, expected, got)),
            None => Ok(Self { first, second }),
        }
    }
}

impl<F: Operator, G: Operator> Operator for OperatorSum<F, G> {
    fn domain(&self) -> Space {
        self.first.domain()
    }

    fn range(&self) -> Space {
        self.first.range()
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.first.apply(x)?.f_add(&self.second.apply(x)?)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        Ok(self.first.vjp(x, v)?.f_add(&self.second.vjp(x, v)?)?)
    }
}

impl<F: LinearOperator, G: LinearOperator> LinearOperator for OperatorSum<F, G> {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.first.adjoint(v)?.f_add(&self.second.adjoint(v)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperatorAlgebra;
    use crate::{Boundary, Convolution, Gradient, Identity, kernel};
    use smalti_base::Seed;
    use tch::Kind;

    #[test]
    fn values_and_adjoints_are_sums() {
        let image = Space::image(2, 9, 14);
        let blur = Convolution::blur(image, &kernel::gaussian(4, 1.0).unwrap(), Boundary::Reflect).unwrap();
        let boxed: Box<dyn LinearOperator> = Box::new(Identity::new(image));
        let sum = (&blur).plus(boxed).unwrap().plus(&blur).unwrap();
        let x = Seed::new(1).at("x", 0).normal(&image.batch(3)).to_kind(Kind::Double);
        let error = |ours: Tensor, expected: Tensor| (ours - expected).abs().max().double_value(&[]);
        assert!(error(sum.apply(&x).unwrap(), blur.apply(&x).unwrap() * 2.0 + &x) < 1e-14);
        assert!(error(sum.adjoint(&x).unwrap(), blur.adjoint(&x).unwrap() * 2.0 + &x) < 1e-14);
        assert!(error(sum.normal(&x).unwrap(), sum.adjoint(&sum.apply(&x).unwrap()).unwrap()) < 1e-14);
    }

    #[test]
    fn operators_between_other_spaces_are_refused() {
        let image = Space::image(2, 9, 14);
        let line = |other: &dyn Operator| Identity::new(image).plus(other).err().unwrap().to_string();
        assert!(line(&Identity::new(Space::image(2, 14, 9))).starts_with("domain of the second operator"));
        assert!(line(&Gradient::new(image)).starts_with("range of the second operator"));
    }
}
