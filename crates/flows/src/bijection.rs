//! The contracts that flow layers and whole flows keep.

use smalti_base::Result;
use tch::Tensor;

/// A mapped batch together with the log-determinant of the map just applied.
#[derive(Debug)]
pub struct Mapped {
    /// The image of the batch, `[B, ...]`.
    pub value: Tensor,
    /// `log |det J|` of the direction just applied, per element: `[B]`.
    pub log_det: Tensor,
}

/// An invertible differentiable map between data and latent space, given an optional condition.
///
/// Directions have names: a flow `T` maps latents to data, `x = T(z; cond)`.
pub trait Bijection {
    /// `z = T^-1(x; cond)` and `log |det J_{T^-1}(x)|`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` or `cond` does not fit.
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped>;

    /// `x = T(z; cond)` and `log |det J_T(z)|`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `z` or `cond` does not fit.
    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped>;
}
