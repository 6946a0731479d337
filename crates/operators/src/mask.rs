//! Masks: inpainting.

use crate::check::{self, linear};
use crate::resolvent::Diagonal;
use crate::{Grid, LinearOperator, Operator, PixelGrid, Resolvent};
use smalti_base::{Error, Result, Space};
use tch::{Kind, Tensor};

/// `A x = m x` with a mask `m` of zeros (unseen) and ones (seen), the same for all channels: a projection, its
/// own adjoint. Unseen pixels of the observation are 0.
#[derive(Debug)]
pub struct Mask {
    space: Space,
    /// `[H, W]` or `[D, H, W]`, float64.
    mask: Tensor,
}

impl Mask {
    /// The mask `m` (`[H, W]`, or `[D, H, W]` of volumes, zeros and ones of any kind) on images with `channels` channels.
    ///
    /// # Errors
    /// [`Error::Shape`] where `m` has other axes, [`Error::Value`] where it holds anything but 0 and 1.
    pub fn new(channels: i64, m: &Tensor) -> Result<Self> {
        let space = match m.size()[..] {
            [height, width] => Space::image(channels, height, width),
            [depth, height, width] => Space::volume(channels, depth, height, width),
            _ => return Err(Error::shape("mask", "[H, W] or [D, H, W]", m.size())),
        };
        check::domain(space)?;
        let mask = m.detach().f_to_kind(Kind::Double)?.copy();
        let others = (&mask * (&mask - 1.0)).ne(0.0).any().f_int64_value(&[])?;
        if others != 0 {
            return Err(Error::value("mask", "zeros (unseen) and ones (seen)", "other values: threshold it"));
        }
        Ok(Self { space, mask })
    }

    fn times(&self, what: &str, x: &Tensor) -> Result<Tensor> {
        check::element(what, x, self.space)?;
        let m = self.mask.f_to_device(x.device())?.f_to_kind(x.kind())?;
        Ok(x.f_mul(&m)?)
    }
}

impl Operator for Mask {
    linear!(space => space);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.times("image", x)
    }
}

impl LinearOperator for Mask {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.times("observation", v)
    }

    fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
        Some(Box::new(Diagonal { operator: self, diagonal: self.mask.shallow_clone() }))
    }
}

impl PixelGrid for Mask {
    fn grid(&self) -> Grid {
        Grid::IDENTITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn only_zeros_and_ones_are_masks() {
        let m = Tensor::from_slice(&[1.0, 0.0, 1.0, 1.0, 0.0, 0.0]).reshape([2, 3]);
        let a = Mask::new(2, &m).unwrap();
        let x = Tensor::full([1, 2, 2, 3], 0.7, (Kind::Float, Device::Cpu));
        let y = a.apply(&x).unwrap();
        assert_eq!(y.size(), x.size());
        assert!((y.sum(Kind::Double).double_value(&[]) - 2.0 * 3.0 * 0.7).abs() < 1e-6);
        assert_eq!(y.double_value(&[0, 1, 0, 1]), 0.0);
        assert!(Mask::new(1, &m.gt(0.5)).is_ok());
        assert!(Mask::new(1, &(&m * 0.5)).is_err());
        assert!(Mask::new(1, &(&m * f64::NAN)).is_err());
        assert_eq!(Mask::new(1, &m.unsqueeze(0)).unwrap().domain(), Space::volume(1, 1, 2, 3));
        assert!(Mask::new(1, &m.reshape([6])).is_err());
    }
}
