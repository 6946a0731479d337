//! Operators made of operators.

use crate::{Composition, Operator, OperatorSum, ScaledOperator};
use smalti_base::Result;

/// Sums, multiples and compositions of operators; [`Stack`](crate::Stack) puts several beside each other. They are linear
/// where their parts are, with exact adjoints.
///
/// ```
/// use smalti_base::{Seed, Space};
/// use smalti_operators::{Boundary, Convolution, Identity, Operator, OperatorAlgebra, kernel};
/// let image = Space::image(1, 20, 24);
/// let blur = Convolution::blur(image, &kernel::gaussian(5, 1.0)?, Boundary::Periodic)?;
/// // Unsharp masking, 2 x - A x.
/// let sharpen = Identity::new(image).scaled(2.0)?.plus((&blur).scaled(-1.0)?)?;
/// let x = Seed::new(1).at("image", 0).uniform(&image.batch(1));
/// let error = sharpen.apply(&x)? - (&x * 2.0 - blur.apply(&x)?);
/// assert!(error.abs().max().double_value(&[]) < 1e-6);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub trait OperatorAlgebra: Operator + Sized {
    /// `G(F(x))`, `G` being `next`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where the range of this one is not the domain of the next.
    fn then<G: Operator>(self, next: G) -> Result<Composition<Self, G>> {
        Composition::new(self, next)
    }

    /// `F(x) + G(x)`, `G` being `other`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where the two have different domains or ranges.
    fn plus<G: Operator>(self, other: G) -> Result<OperatorSum<Self, G>> {
        OperatorSum::new(self, other)
    }

    /// `c F(x)`, `c` being `factor`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Value`] where the factor is not finite.
    fn scaled(self, factor: f64) -> Result<ScaledOperator<Self>> {
        ScaledOperator::new(self, factor)
    }
}

impl<F: Operator> OperatorAlgebra for F {}
