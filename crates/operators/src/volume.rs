//! Volumes: blur and downsampling along three axes.

use crate::check::{self, linear};
use crate::{Grid, LinearOperator, Operator, PixelGrid};
use smalti_base::{Error, Result, Space};
use tch::{Kind, Tensor};

/// `(A x)[l, i, j] = sum_{o, p, q} k[o, p, q] x[s l + o, s i + p, s j + q]`, each channel by itself and only where the
/// whole kernel lies within the volume ("valid"): correlation, as for [`crate::Convolution`].
///
/// # Shapes
/// `[B, C, D, H, W]` to `[B, C, D', H', W']` with `D' = (D - kd) / s + 1`, rounded down, and likewise the others.
///
/// # Grid
/// Output voxel `(l, i, j)` lies at the centre of the kernel: origin `(k - 1) / 2`, spacing `s`, along every axis.
#[derive(Debug)]
pub struct VolumeConvolution {
    domain: Space,
    range: Space,
    /// `[1, 1, kd, kh, kw]`, float64.
    kernel: Tensor,
    stride: i64,
}

impl VolumeConvolution {
    /// Correlation of volumes `domain` with `kernel: [kd, kh, kw]` at every `stride`-th position.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where the domain is one of images, the kernel is not `[kd, kh, kw]` and finite,
    /// the stride is not positive, or the volume is smaller than the kernel.
    pub fn new(domain: Space, kernel: &Tensor, stride: i64) -> Result<Self> {
        check::domain(domain)?;
        if domain.depth.is_none() {
            let expected = "volumes, [B, C, D, H, W]";
            return Err(Error::shape("domain of a convolution of volumes", expected, domain.batch(1)));
        }
        let &[kd, kh, kw] = &kernel.size()[..] else {
            return Err(Error::shape("blur kernel", "3 axes, [kd, kh, kw]", kernel.size()));
        };
        crate::kernel::check(&kernel.f_reshape([1, -1])?)?;
        if stride < 1 {
            return Err(Error::value("stride", "a positive number of pixels", stride));
        }
        if domain.axes().iter().zip([kd, kh, kw]).any(|(&n, k)| n < k) {
            let expected = format!("at least the {kd} x {kh} x {kw} voxels of the blur kernel");
            return Err(Error::value("volume to be blurred", expected, format!("{domain:?}")));
        }
        let places = |n: i64, k: i64| (n - k) / stride + 1;
        let range = Space {
            channels: domain.channels,
            depth: domain.depth.map(|depth| places(depth, kd)),
            height: places(domain.height, kh),
            width: places(domain.width, kw),
        };
        let kernel = kernel.detach().f_to_kind(Kind::Double)?.f_reshape([1, 1, kd, kh, kw])?.copy();
        Ok(Self { domain, range, kernel, stride })
    }

    /// With a cubic Gaussian kernel of `size` voxels a side and standard deviation `sigma`, normalised to sum 1.
    ///
    /// # Errors
    /// Those of [`gaussian`] and [`VolumeConvolution::new`].
    pub fn superresolution(domain: Space, size: i64, sigma: f64, stride: i64) -> Result<Self> {
        Self::new(domain, &gaussian(size, sigma)?, stride)
    }

    /// Correlation or, where `left` says how many voxels the last position leaves over, its transpose; on GPUs without
    /// the rounding to 10 bits (TF32) and the summing in no fixed order that are usual there.
    fn correlate(&self, x: &Tensor, left: Option<Vec<i64>>, to: Space) -> Result<Tensor> {
        let (benchmark, deterministic, cudnn, tf32) = (false, true, true, false);
        let out = x.f_flatten(0, 1)?.f_unsqueeze(1)?.f_internal_convolution(
            &self.kernel.f_to_device(x.device())?.f_to_kind(x.kind())?,
            None::<Tensor>,
            [self.stride; 3],
            [0, 0, 0],
            [1, 1, 1],
            left.is_some(),
            left.unwrap_or_else(|| vec![0; 3]),
            1,
            benchmark,
            deterministic,
            cudnn,
            tf32,
        )?;
        Ok(out.f_reshape(to.batch(x.size()[0]))?)
    }
}

/// The cubic Gaussian kernel `[size, size, size]` of standard deviation `sigma` voxels, normalised to sum 1, float64.
///
/// # Errors
/// Those of [`crate::kernel::gaussian`].
pub fn gaussian(size: i64, sigma: f64) -> Result<Tensor> {
    let square = crate::kernel::gaussian(size, sigma)?;
    let line = square.f_sum_dim_intlist(1i64, false, Kind::Double)?;
    Ok(line.f_reshape([-1, 1, 1])?.f_mul(&square)?)
}

impl Operator for VolumeConvolution {
    linear!(domain => range);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("volume", x, self.domain)?;
        self.correlate(x, None, self.range)
    }
}

impl LinearOperator for VolumeConvolution {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("observed volume", v, self.range)?;
        let sides = self.kernel.size().into_iter().skip(2);
        let axes = self.domain.axes().into_iter().zip(self.range.axes()).zip(sides);
        let left = axes.map(|((n, places), k)| n - ((places - 1) * self.stride + k)).collect();
        self.correlate(v, Some(left), self.domain)
    }
}

impl PixelGrid for VolumeConvolution {
    fn grid(&self) -> Grid {
        let origin = |axis: usize| (self.kernel.size()[axis] - 1) as f64 / 2.0;
        let spacing = self.stride as f64;
        Grid {
            origin: (origin(3), origin(4)),
            spacing: (spacing, spacing),
            depth: Some((origin(2), spacing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boundary, interpolate};
    use smalti_base::Seed;

    #[test]
    fn every_voxel_is_the_sum_over_the_kernel() {
        let domain = Space::volume(3, 7, 8, 6);
        let x = Seed::new(1).at("x", 0).uniform(&domain.batch(2)).to_kind(Kind::Double);
        let kernel = Seed::new(1).at("kernel", 0).normal(&[2, 3, 4]).to_kind(Kind::Double);
        let a = VolumeConvolution::new(domain, &kernel, 2).unwrap();
        let grid = Grid { origin: (1.0, 1.5), spacing: (2.0, 2.0), depth: Some((0.5, 2.0)) };
        assert_eq!((a.range(), a.grid()), (Space::volume(3, 3, 3, 2), grid));
        let y = a.apply(&x).unwrap();
        for (b, c, l, i, j) in [(0, 0, 0, 0, 0), (1, 2, 2, 2, 1), (0, 1, 1, 2, 0)] {
            let part = x.get(b).get(c).narrow(0, 2 * l, 2).narrow(1, 2 * i, 3).narrow(2, 2 * j, 4);
            let sum = (part * &kernel).sum(Kind::Double).double_value(&[]);
            assert!((y.double_value(&[b, c, l, i, j]) - sum).abs() < 1e-12);
        }
    }

    #[test]
    fn interpolation_puts_smooth_volumes_in_their_place() {
        let domain = Space::volume(1, 24, 26, 22);
        let axis = |n: i64, dim: usize| {
            let mut shape = [1; 5];
            shape[dim] = n;
            Tensor::arange(n, tch::kind::DOUBLE_CPU).reshape(shape) * 0.15
        };
        let x = (axis(24, 2) * 2.0).sin() + axis(26, 3).cos() + (axis(22, 4) * 1.5).sin();
        let a = VolumeConvolution::superresolution(domain, 2, 0.5, 2).unwrap();
        let back = interpolate(&a.apply(&x).unwrap(), a.grid(), domain, Boundary::Valid).unwrap();
        let inner = |t: &Tensor| t.narrow(2, 4, 16).narrow(3, 4, 18).narrow(4, 4, 14);
        let error = |t: &Tensor| (inner(t) - inner(&x)).abs().max().double_value(&[]);
        assert!(error(&back) < 0.08, "{}", error(&back));
        for axis in [2, 3, 4] {
            assert!(error(&back.roll([1], [axis])) > 0.1, "shifted along {axis}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let domain = Space::volume(1, 5, 6, 7);
        let ones = |size: &[i64]| Tensor::ones(size, tch::kind::DOUBLE_CPU);
        assert!(VolumeConvolution::new(domain, &ones(&[2, 2]), 1).is_err());
        assert!(VolumeConvolution::new(domain, &ones(&[6, 2, 2]), 1).is_err());
        assert!(VolumeConvolution::new(domain, &ones(&[2, 2, 2]), 0).is_err());
        assert!(VolumeConvolution::new(domain, &(ones(&[2, 2, 2]) * f64::NAN), 1).is_err());
        assert!(gaussian(3, 0.0).is_err());
        let a = VolumeConvolution::new(domain, &ones(&[2, 2, 2]), 1).unwrap();
        assert!(a.apply(&ones(&[1, 1, 5, 6, 8])).is_err() && a.adjoint(&ones(&[1, 1, 5, 6, 7])).is_err());
        assert!(a.apply(&ones(&[1, 5, 6, 7])).is_err(), "slices are no channels");
        let line =
            VolumeConvolution::new(Space::image(5, 6, 7), &ones(&[2, 2, 2]), 1).err().unwrap().to_string();
        assert!(line.contains("volumes, [B, C, D, H, W]"), "{line}");
    }
}
