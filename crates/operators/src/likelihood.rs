//! Likelihoods: how probable an observation is, given the noise-free one. They know no operator.

mod algebra;
mod gaussian;
mod poisson;
mod scaled;
mod sum;

pub use algebra::LikelihoodAlgebra;
pub use gaussian::Gaussian;
pub use poisson::Poisson;
pub use scaled::ScaledLikelihood;
pub use sum::LikelihoodSum;

use smalti_base::{Error, Result};
use std::{rc::Rc, sync::Arc};
use tch::{Kind, Tensor};

/// The negative log-likelihood of an observation `y` given the noise-free `u = F(x)`.
///
/// References, boxes and counted pointers to likelihoods are likelihoods, too; [`LikelihoodAlgebra`] makes likelihoods of
/// likelihoods.
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

/// Passes every method on to what the pointer points to.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: Likelihood + ?Sized> Likelihood for $pointer {
            fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
                (**self).nll(u, y)
            }
            fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
                (**self).value_and_grad(u, y)
            }
            fn grad(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
                (**self).grad(u, y)
            }
        }
    )*};
}

forward!(&T, Box<T>, Rc<T>, Arc<T>);

fn same_shape(u: &Tensor, y: &Tensor) -> Result<()> {
    if u.dim() == 0 || u.size() != y.size() {
        return Err(Error::shape("observation", u.size(), y.size()));
    }
    Ok(())
}

/// Summed over each image: `[B, ...] -> [B]`.
fn per_image(values: &Tensor) -> Result<Tensor> {
    // The last axis is there for observations that are single numbers.
    let rows = values.f_unsqueeze(-1)?.f_flatten(1, -1)?;
    Ok(rows.f_sum_dim_intlist(1i64, false, None::<Kind>)?)
}
