//! Regularizers made of regularizers.

use crate::{Regularizer, RegularizerSum, ScaledRegularizer};
use smalti_base::Result;

/// Sums and multiples of regularizers. Their checkpoints hold the states of all parts.
///
/// ```
/// use smalti_base::{Seed, Space};
/// use smalti_priors::{Regularizer, RegularizerAlgebra, TotalVariation};
/// let domain = Space::image(1, 20, 24);
/// let fine = TotalVariation::new(domain, 1e-3)?;
/// let smooth: Box<dyn Regularizer> = Box::new(TotalVariation::new(domain, 0.1)?);
/// let prior = fine.plus(smooth.scaled(0.5)?);
/// let x = Seed::new(1).at("image", 0).uniform(&domain.batch(1));
/// assert!(prior.value(&x)? > TotalVariation::new(domain, 1e-3)?.value(&x)?);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub trait RegularizerAlgebra: Regularizer + Sized {
    /// `R(x) + S(x)`, `S` being `other`.
    fn plus<S: Regularizer>(self, other: S) -> RegularizerSum<Self, S> {
        RegularizerSum::new(self, other)
    }

    /// `c R(x)`, `c` being `factor`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Value`] where the factor is not finite.
    fn scaled(self, factor: f64) -> Result<ScaledRegularizer<Self>> {
        ScaledRegularizer::new(self, factor)
    }
}

impl<R: Regularizer> RegularizerAlgebra for R {}
