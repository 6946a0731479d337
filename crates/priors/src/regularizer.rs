//! The contracts that priors keep.

use smalti_base::{Result, checkpoint::Checkpoint};
use std::{rc::Rc, sync::Arc};
use tch::Tensor;

/// A density on patches, known by its negative log-likelihood.
///
/// References, boxes and counted pointers to densities are densities, too: one flow serves several images.
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
///
/// Boxes and unique references to regularizers are regularizers, too; [`RegularizerAlgebra`](crate::RegularizerAlgebra) makes
/// regularizers of regularizers.
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

/// Passes every method on to what the pointer points to.
macro_rules! forward_density {
    ($($pointer:ty),*) => {$(
        impl<D: PatchDensity + ?Sized> PatchDensity for $pointer {
            fn dim(&self) -> i64 {
                (**self).dim()
            }
            fn axes(&self) -> Option<usize> {
                (**self).axes()
            }
            fn nll(&self, patches: &Tensor) -> Result<Tensor> {
                (**self).nll(patches)
            }
            fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
                (**self).nll_and_grad(patches)
            }
        }
    )*};
}

forward_density!(&D, Box<D>, Rc<D>, Arc<D>);

/// The same for regularizers, which change in `refresh`.
macro_rules! forward_regularizer {
    ($($pointer:ty),*) => {$(
        impl<R: Regularizer + ?Sized> Regularizer for $pointer {
            fn value(&self, x: &Tensor) -> Result<f64> {
                (**self).value(x)
            }
            fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
                (**self).value_and_grad(x)
            }
            fn refresh(&mut self, step: u64) -> Result<()> {
                (**self).refresh(step)
            }
            fn save(&self) -> Option<Checkpoint> {
                (**self).save()
            }
            fn restore(&mut self, state: Checkpoint) -> Result<()> {
                (**self).restore(state)
            }
        }
    )*};
}

forward_regularizer!(&mut R, Box<R>);
