//! Likelihoods: how probable an observation is, given the noise-free one. They know no operator.

mod gaussian;
mod poisson;

pub use gaussian::Gaussian;
pub use poisson::Poisson;

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// The negative log-likelihood of an observation `y` given the noise-free `u = F(x)`.
pub trait Likelihood {
    /// `-log p(y | u) + const`, summed over each image: `[B, ...] -> [B]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `u` and `y` differ in shape.
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor>;

    /// [`Likelihood::nll`] and its gradient in `u`, of the shape of `u`; what both need is computed once.
    ///
    /// # Errors
    /// Those of [`Likelihood::nll`].
    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)>;

    /// The gradient alone.
    ///
    /// # Errors
    /// Those of [`Likelihood::nll`].
    fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.value_and_grad(u, y)?.1)
    }
}

fn same_shape(u: &Tensor, y: &Tensor) -> Result<()> {
    if u.dim() == 0 || u.size() != y.size() {
        return Err(Error::shape("observation", u.size(), y.size()));
    }
    Ok(())
}

/// Summed over each image: `[B, ...] -> [B]`.
fn per_image(values: &Tensor) -> Result<Tensor> {
    // The last axis is there for observations that are single numbers.
    let rows = values.f_contiguous()?.f_unsqueeze(-1)?.f_flatten(1, -1)?;
    Ok(rows.f_sum_dim_intlist(1i64, false, None::<Kind>)?)
}
