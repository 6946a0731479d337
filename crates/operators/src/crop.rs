//! Crop: what an instrument sees of a larger image or volume.

use crate::{Grid, LinearOperator, Operator, check};
use smalti_base::{Error, Result, Space, metrics};
use tch::Tensor;

/// `A x`: the image without a border of so many pixels on all sides. The adjoint puts zeros around.
///
/// Output pixel `(i, j)` is input pixel `(border + i, border + j)`. Of a volume ([`Crop::to_volume`]), which has slices in
/// the place of channels, so many slices are cut at both ends as well. Composed with an operator,
/// [`Compose`](crate::Compose), it gives the image a border that the operator never sees.
///
/// # Shapes
/// `[B, C, H + 2 border, W + 2 border]` to `[B, C, H, W]`; for volumes `[B, D + 2 border, H + 2 border, W + 2 border]` to
/// `[B, D, H, W]`.
#[derive(Debug, Clone, Copy)]
pub struct Crop {
    domain: Space,
    range: Space,
    /// Rows and columns cut on every side.
    border: i64,
    /// Slices cut at both ends: none where they are channels.
    slices: i64,
}

impl Crop {
    /// The crop whose result is `interior`, of images with `border` pixels more on all sides.
    ///
    /// # Errors
    /// [`Error::Value`] where `interior` is empty or `border` is negative or too large for any image.
    pub fn to(interior: Space, border: i64) -> Result<Self> {
        Self::new(interior, border, 0)
    }

    /// The crop whose result is the volume `interior`, of volumes with `border` voxels more on all six sides.
    ///
    /// # Errors
    /// Those of [`Crop::to`].
    pub fn to_volume(interior: Space, border: i64) -> Result<Self> {
        Self::new(interior, border, border)
    }

    fn new(range: Space, border: i64, slices: i64) -> Result<Self> {
        check::domain(range)?;
        let larger = |n: i64, border: i64| border.checked_mul(2).and_then(|both| n.checked_add(both));
        match (larger(range.channels, slices), larger(range.height, border), larger(range.width, border)) {
            (Some(channels), Some(height), Some(width)) if border >= 0 => {
                Ok(Self { domain: Space { channels, height, width }, range, border, slices })
            }
            _ => Err(Error::value("border around the image", "0 or more pixels, and not too many", border)),
        }
    }
}

impl Operator for Crop {
    fn domain(&self) -> Space {
        self.domain
    }

    fn range(&self) -> Space {
        self.range
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        let inner = x.f_narrow(1, self.slices, self.range.channels)?;
        Ok(metrics::crop(&inner, self.border)?.f_contiguous()?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        self.adjoint(v)
    }

    fn grid(&self) -> Grid {
        let origin = self.border as f64;
        Grid { origin: (origin, origin), ..Grid::IDENTITY }
    }
}

impl LinearOperator for Crop {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("interior", v, self.range())?;
        let (border, slices) = (self.border, self.slices);
        // From the last axis to the first.
        Ok(v.f_constant_pad_nd([border, border, border, border, slices, slices])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compose, Convolution, Extension};
    use tch::{Device, Kind};

    #[test]
    fn it_keeps_the_middle_and_puts_it_back() {
        let a = Crop::to(Space::image(2, 1, 2), 2).unwrap();
        assert_eq!((a.domain(), a.range()), (Space::image(2, 5, 6), Space::image(2, 1, 2)));
        let x = Tensor::arange(60, (Kind::Double, Device::Cpu)).reshape([1, 2, 5, 6]);
        let y = a.apply(&x).unwrap();
        assert_eq!(Vec::<f64>::try_from(y.reshape([-1])).unwrap(), [14.0, 15.0, 44.0, 45.0]);
        let back = a.adjoint(&y).unwrap();
        assert_eq!(back.size(), x.size());
        assert!(
            back.ne(0.0).logical_xor(&x.eq_tensor(&back)).sum(Kind::Int64).int64_value(&[]) == 1,
            "x[0] is 0"
        );
        assert_eq!(a.apply(&back).unwrap(), y);
        assert!(a.apply(&y).is_err() && a.adjoint(&x).is_err() && a.vjp(&y, &y).is_err());
    }

    #[test]
    fn of_a_volume_it_keeps_the_middle_slices() {
        let a = Crop::to_volume(Space::image(1, 2, 1), 1).unwrap();
        assert_eq!((a.domain(), a.range()), (Space::image(3, 4, 3), Space::image(1, 2, 1)));
        let x = Tensor::arange(72, (Kind::Double, Device::Cpu)).reshape([2, 3, 4, 3]);
        let y = a.apply(&x).unwrap();
        assert_eq!(Vec::<f64>::try_from(y.reshape([-1])).unwrap(), [16.0, 19.0, 52.0, 55.0]);
        let back = a.adjoint(&y).unwrap();
        assert_eq!((back.size(), a.apply(&back).unwrap()), (x.size(), y));
        assert_eq!(back.ne(0.0).sum(Kind::Int64).int64_value(&[]), 4);
    }

    #[test]
    fn no_border_is_the_identity_and_the_grid_follows() {
        let space = Space::image(1, 24, 20);
        let x = Tensor::arange(480, (Kind::Float, Device::Cpu)).reshape(space.batch(1));
        assert_eq!(Crop::to(space, 0).unwrap().apply(&x).unwrap(), x);
        let blur = Convolution::superresolution(space, 16, 2.0, 4, Extension::WrapAfter).unwrap();
        let seen = Compose::new(Crop::to(space, 20).unwrap(), blur).unwrap();
        assert_eq!(seen.grid().origin, (27.5, 27.5));
        for border in [-1, i64::MAX / 2] {
            assert!(Crop::to(space, border).is_err() && Crop::to_volume(space, border).is_err());
        }
        assert!(Crop::to(Space::image(1, 0, 4), 2).is_err());
    }
}
