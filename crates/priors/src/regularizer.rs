//! The contracts that priors keep.

use smalti_base::{Result, checkpoint::Checkpoint};
use tch::Tensor;

/// A density on patches, known by its negative log-likelihood.
pub trait PatchDensity {
    /// Dimension `d` of a patch as a vector.
    fn dim(&self) -> i64;

    /// Axes of a patch where the density is one of squares (2) or of cubes (3); `None` where it is one of any vectors.
    fn axes(&self) -> Option<usize> {
        None
    }

    /// `-log p(patch)`, with or without its constant as the type says: `[N, d] -> [N]`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where the patches do not have `d` values.
    fn nll(&self, patches: &Tensor) -> Result<Tensor>;

    /// [`PatchDensity::nll`] and its gradient: `[N, d] -> ([N], [N, d])`.
    ///
    /// # Errors
    /// Those of [`PatchDensity::nll`].
    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// A regularizer `R(x)` of one image `x: [1, C, H, W]` or volume `x: [1, C, D, H, W]`, normalised so that it does not grow
/// with the image (a mean over patches or pixels).
pub trait Regularizer {
    /// `R(x)`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` does not fit.
    fn value(&self, x: &Tensor) -> Result<f64>;

    /// `R(x)` and its gradient, of the shape of `x`.
    ///
    /// # Errors
    /// Those of [`Regularizer::value`].
    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)>;

    /// Prepares iteration `step`, e.g. draws a fresh subset of patches from (seed, `step`). The value stays
    /// the same function of `x` until the next call.
    ///
    /// # Errors
    /// What the preparation meets.
    fn refresh(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    /// What values after the next refresh depend on besides `x` and its step, for a checkpoint; `None` where
    /// that is nothing.
    fn save(&self) -> Option<Checkpoint> {
        None
    }

    /// Goes back to a state made by [`Regularizer::save`].
    ///
    /// # Errors
    /// [`smalti_base::Error::Content`] where the state is not one of this regularizer.
    fn restore(&mut self, _state: Checkpoint) -> Result<()> {
        Ok(())
    }
}
