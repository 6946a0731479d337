//! Total variation, smoothed where the image is flat.

use crate::regularizer::Regularizer;
use smalti_base::{Error, Result, Space};
use smalti_operators::{Gradient, LinearOperator, Operator};
use tch::{Kind, Tensor};

/// `R(x) = mean over pixels of sqrt(|D x|^2 + eps^2) - eps`, isotropic, with forward differences `D` along rows and columns
/// (of volumes also from slice to slice) that are zero across the last of them; channels are treated one by one.
///
/// # Shapes
/// `x: [1, C, H, W]` or `[1, C, D, H, W]`.
///
/// With `eps > 0` it is differentiable; the exact total variation (`eps = 0` in the value) is minimised by the
/// primal-dual method in the solvers. (Rudin, Osher, Fatemi 1992.)
#[derive(Debug)]
pub struct TotalVariation {
    gradient: Gradient,
    eps: f64,
}

impl TotalVariation {
    /// Total variation of images or volumes of `domain`, smoothed below differences of about `eps` grey values.
    ///
    /// # Errors
    /// [`Error::Value`] where `eps` is not positive and finite.
    pub fn new(domain: Space, eps: f64) -> Result<Self> {
        if eps > 0.0 && eps.is_finite() {
            Ok(Self { gradient: Gradient::new(domain), eps })
        } else {
            Err(Error::value("smoothing eps of the total variation", "a positive number", eps))
        }
    }

    /// `D x` and the smoothed length of every pixel's gradient, `[1, 2, C, H, W]` and `[1, 1, C, H, W]`, of volumes
    /// `[1, 3, C, D, H, W]` and `[1, 1, C, D, H, W]`.
    fn lengths(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let d = self.gradient.domain();
        if x.size() != d.batch(1) {
            return Err(Error::shape("image", d.batch(1), x.size()));
        }
        let mut size = d.batch(1);
        size.insert(1, d.axes().len() as i64);
        let g = self.gradient.apply(x)?.reshape(size);
        let squared = g.square().sum_dim_intlist(1i64, true, None::<Kind>);
        Ok((g, (squared + self.eps.powi(2)).sqrt()))
    }

    fn mean(&self, lengths: &Tensor) -> f64 {
        lengths.mean(Kind::Double).double_value(&[]) - self.eps
    }
}

impl Regularizer for TotalVariation {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.mean(&self.lengths(x)?.1))
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (g, lengths) = self.lengths(x)?;
        let unit = (g / &lengths).reshape(self.gradient.range().batch(1));
        let pixels = self.gradient.domain().len() as f64;
        Ok((self.mean(&lengths), self.gradient.adjoint(&unit)? / pixels))
    }
}
