//! Likelihoods made of likelihoods.

use super::{Likelihood, LikelihoodSum, ScaledLikelihood};
use smalti_base::Result;

/// Sums and multiples of negative log-likelihoods.
pub trait LikelihoodAlgebra: Likelihood + Sized {
    /// The sum of both negative log-likelihoods: what is probable under both.
    fn plus<M: Likelihood>(self, other: M) -> LikelihoodSum<Self, M> {
        LikelihoodSum::new(self, other)
    }

    /// `factor` times the negative log-likelihood: the likelihood to a power, which weighs it against others.
    ///
    /// # Errors
    /// [`smalti_base::Error::Value`] where the factor is not positive and finite.
    fn scaled(self, factor: f64) -> Result<ScaledLikelihood<Self>> {
        ScaledLikelihood::new(self, factor)
    }
}

impl<L: Likelihood> LikelihoodAlgebra for L {}
