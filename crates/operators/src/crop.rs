//! Crop: what an instrument sees of a larger image or volume.

use crate::check::{self, linear};
use crate::{Grid, LinearOperator, Operator, PixelGrid};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// `A x`: the image without a margin of so many pixels on all sides, of volumes on all six. The adjoint puts zeros around.
///
/// Output pixel `(i, j)` is input pixel `(margin + i, margin + j)`. Composed with an operator,
/// [`Composition`](crate::Composition), it gives the image a margin that the operator never sees.
///
/// # Shapes
/// `[B, C, H + 2 margin, W + 2 margin]` to `[B, C, H, W]`; for volumes `[B, C, D + 2 margin, H + 2 margin, W + 2 margin]`
/// to `[B, C, D, H, W]`.
#[derive(Debug, Clone, Copy)]
pub struct Crop {
    domain: Space,
    range: Space,
    /// Pixels cut on every side.
    margin: i64,
}

impl Crop {
    /// The crop whose result is `interior`, of images with `margin` pixels more on all sides.
    ///
    /// # Errors
    /// [`Error::Value`] where `interior` is empty or `margin` is negative or too large for any image.
    pub fn to(interior: Space, margin: i64) -> Result<Self> {
        check::domain(interior)?;
        let fits = |n: &i64| margin.checked_mul(2).and_then(|both| both.checked_add(*n)).is_some();
        if margin < 0 || !interior.axes().iter().all(fits) {
            return Err(Error::value(
                "margin around the image",
                "0 or more pixels, and not too many",
                margin,
            ));
        }
        Ok(Self { domain: interior.map_axes(|n| n + 2 * margin), range: interior, margin })
    }
}

impl Operator for Crop {
    linear!(domain => range);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        let mut inner = x.shallow_clone();
        for (axis, n) in (2..).zip(self.range.axes()) {
            inner = inner.f_narrow(axis, self.margin, n)?;
        }
        Ok(inner.f_contiguous()?)
    }
}

impl LinearOperator for Crop {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("interior", v, self.range())?;
        Ok(v.f_constant_pad_nd(vec![self.margin; 2 * self.range.axes().len()])?)
    }
}

impl PixelGrid for Crop {
    fn grid(&self) -> Grid {
        let origin = self.margin as f64;
        Grid { origin: (origin, origin), depth: self.range.depth.map(|_| (origin, 1.0)), ..Grid::IDENTITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boundary, Composition, Convolution};
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
        let a = Crop::to(Space::volume(2, 1, 2, 1), 1).unwrap();
        assert_eq!((a.domain(), a.range()), (Space::volume(2, 3, 4, 3), Space::volume(2, 1, 2, 1)));
        let x = Tensor::arange(72, (Kind::Double, Device::Cpu)).reshape([1, 2, 3, 4, 3]);
        let y = a.apply(&x).unwrap();
        assert_eq!(Vec::<f64>::try_from(y.reshape([-1])).unwrap(), [16.0, 19.0, 52.0, 55.0]);
        let back = a.adjoint(&y).unwrap();
        assert_eq!((back.size(), a.apply(&back).unwrap()), (x.size(), y));
        assert_eq!(back.ne(0.0).sum(Kind::Int64).int64_value(&[]), 4);
    }

    #[test]
    fn no_margin_is_the_identity_and_the_grid_follows() {
        let space = Space::image(1, 24, 20);
        let x = Tensor::arange(480, (Kind::Float, Device::Cpu)).reshape(space.batch(1));
        assert_eq!(Crop::to(space, 0).unwrap().apply(&x).unwrap(), x);
        let blur = Convolution::superresolution(space, 16, 2.0, 4, Boundary::Periodic).unwrap();
        let seen = Composition::new(Crop::to(space, 20).unwrap(), blur).unwrap();
        assert_eq!(seen.grid().origin, (27.5, 27.5));
        for margin in [-1, i64::MAX / 2] {
            assert!(Crop::to(space, margin).is_err() && Crop::to(Space::volume(1, 3, 4, 5), margin).is_err());
        }
        assert!(
            Crop::to(Space::image(1, 0, 4), 2).is_err() && Crop::to(Space::volume(1, 0, 4, 4), 2).is_err()
        );
    }
}
