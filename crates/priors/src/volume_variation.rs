//! Total variation of volumes, smoothed where they are flat.

use crate::regularizer::Regularizer;
use smalti_base::{Error, Result, Space};
use tch::{Kind, Tensor};

/// `R(x) = mean over voxels of sqrt(|D x|^2 + eps^2) - eps` of a volume, isotropic, with forward differences `D` along
/// the three axes, zero across the last slice, row and column: [`crate::TotalVariation`] with an axis more.
///
/// # Shapes
/// `x: [1, D, H, W]`, slices in the place of channels.
#[derive(Debug)]
pub struct VolumeVariation {
    domain: Space,
    eps: f64,
}

impl VolumeVariation {
    /// Total variation of volumes of `domain`, smoothed below differences of about `eps` grey values.
    ///
    /// # Errors
    /// [`Error::Value`] where `eps` is not positive and finite.
    pub fn new(domain: Space, eps: f64) -> Result<Self> {
        if eps > 0.0 && eps.is_finite() {
            Ok(Self { domain, eps })
        } else {
            Err(Error::value("smoothing eps of the total variation", "a positive number", eps))
        }
    }

    /// `D x` axis by axis, and the smoothed length of every voxel's gradient.
    fn lengths(&self, x: &Tensor) -> Result<([Tensor; 3], Tensor)> {
        if x.size() != self.domain.batch(1) {
            return Err(Error::shape("volume", self.domain.batch(1), x.size()));
        }
        let difference = |axis: i64| -> Result<Tensor> {
            let n = x.size()[axis as usize];
            let inner = x.f_diff(1, axis, None::<&Tensor>, None::<&Tensor>)?;
            Ok(Tensor::f_cat(&[inner, x.f_narrow(axis, n - 1, 1)?.f_zeros_like()?], axis)?)
        };
        let gradient = [difference(1)?, difference(2)?, difference(3)?];
        let squared = gradient.iter().fold(x.f_zeros_like()?, |sum, g| sum + g.square());
        Ok((gradient, (squared + self.eps.powi(2)).f_sqrt()?))
    }

    fn mean(&self, lengths: &Tensor) -> f64 {
        lengths.mean(Kind::Double).double_value(&[]) - self.eps
    }
}

impl Regularizer for VolumeVariation {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.mean(&self.lengths(x)?.1))
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (gradient, lengths) = self.lengths(x)?;
        let sum = x.f_zeros_like()?;
        for (axis, g) in (1..).zip(&gradient) {
            // A forward difference pulls one voxel down and the next one up; the last one is always 0.
            let unit = g.f_div(&lengths)?;
            let n = unit.size()[axis as usize] - 1;
            let inner = unit.f_narrow(axis, 0, n)?;
            let _ = sum.f_narrow(axis, 0, n)?.f_sub_(&inner)?;
            let _ = sum.f_narrow(axis, 1, n)?.f_add_(&inner)?;
        }
        Ok((self.mean(&lengths), sum / self.domain.len() as f64))
    }
}
