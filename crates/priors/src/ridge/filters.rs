//! Chains of convolutions as one bank of filters.

use smalti_base::{Error, Result};
use tch::{Device, Kind, Tensor};

/// `W = K_n ... K_1 / |K_n ... K_1|`: convolutions (correlations) one after the other, at positions where all of the filter lies inside
/// the image, without bias. The kernels of the first one have the mean 0, so that `W` does not see constants.
///
/// The norm is the largest singular value over the frequencies of a grid of [`FREQUENCIES`]^2: that of `W` on unlimited images, which
/// none of a limited one exceeds.
#[derive(Debug)]
pub(super) struct Filters {
    /// `[outputs, inputs, k, k]` each, in float64; the first one has the norm in it.
    kernels: Vec<Tensor>,
}

/// Frequencies along an axis that the norm is looked for at.
const FREQUENCIES: i64 = 256;

impl Filters {
    /// From kernels as files have them, each with as many inputs as the one before has outputs.
    ///
    /// # Errors
    /// [`Error::Value`] where all filters are zero.
    pub(super) fn new(kernels: &[Tensor]) -> Result<Self> {
        let double = |kernel: &Tensor| kernel.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Double);
        let mut kernels = kernels.iter().map(double).collect::<Result<Vec<_>, _>>()?;
        if let Some(first) = kernels.first_mut() {
            *first = first.f_sub(&first.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Double)?)?;
        }
        let mut filters = Self { kernels };
        let norm = filters.norm()?;
        if !(norm > 0.0 && norm.is_finite()) {
            return Err(Error::value("filters of a ridge regularizer", "some that are not zero", norm));
        }
        if let Some(first) = filters.kernels.first_mut() {
            *first = first.f_div_scalar(norm)?;
        }
        Ok(filters)
    }

    /// By how many pixels an image is larger than what it is filtered to.
    pub(super) fn reach(&self) -> i64 {
        self.kernels.iter().map(|kernel| kernel.size()[2] - 1).sum()
    }

    /// The number of filters.
    pub(super) fn channels(&self) -> i64 {
        self.kernels.last().map_or(0, |kernel| kernel.size()[0])
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.kernels.iter()
    }

    /// The kernels for `x`.
    pub(super) fn like(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let like = |kernel: &Tensor| kernel.f_to_device(x.device())?.f_to_kind(x.kind());
        Ok(self.kernels.iter().map(like).collect::<Result<_, _>>()?)
    }

    /// The largest singular value at the frequencies of the grid.
    fn norm(&self) -> Result<f64> {
        let side = 2 * self.reach() + 1;
        let point = Tensor::f_zeros([1, 1, side, side], (Kind::Double, Device::Cpu))?;
        let _ = point.f_narrow(2, self.reach(), 1)?.f_narrow(3, self.reach(), 1)?.f_fill_(1.0)?;
        // Every filter, mirrored.
        let filters = apply(&self.kernels, &point)?;
        let sides = [FREQUENCIES.max(self.reach() + 1); 2];
        let spectrum = filters.f_fft_rfft2(sides.as_slice(), [2i64, 3].as_slice(), "backward")?;
        let squared = spectrum.f_abs()?.f_square()?.f_sum_dim_intlist(1i64, false, Kind::Double)?;
        Ok(squared.f_max()?.f_double_value(&[])?.sqrt())
    }
}

/// `W x`: `[B, 1, H, W]` to `[B, channels, H - reach, W - reach]`.
pub(super) fn apply(kernels: &[Tensor], x: &Tensor) -> Result<Tensor> {
    kernels.iter().try_fold(x.shallow_clone(), |x, kernel| {
        Ok(x.f_conv2d(kernel, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1)?)
    })
}

/// `W^T v`, exact.
pub(super) fn adjoint(kernels: &[Tensor], v: &Tensor) -> Result<Tensor> {
    kernels.iter().rev().try_fold(v.shallow_clone(), |v, kernel| {
        Ok(v.f_conv_transpose2d(kernel, None::<&Tensor>, [1, 1], [0, 0], [0, 0], 1, [1, 1])?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    fn draw(name: &str, size: &[i64]) -> Tensor {
        Seed::new(4).at(name, 0).normal(size).to_kind(Kind::Double)
    }

    fn filters() -> Filters {
        Filters::new(&[draw("first", &[2, 1, 3, 3]), draw("second", &[5, 2, 5, 5])]).unwrap()
    }

    fn length(x: &Tensor) -> f64 {
        x.norm().double_value(&[])
    }

    #[test]
    fn the_adjoint_is_one_and_constants_are_not_seen() {
        let filters = filters();
        assert_eq!((filters.reach(), filters.channels()), (6, 5));
        let x = draw("x", &[2, 1, 12, 9]);
        let kernels = filters.like(&x).unwrap();
        let seen = apply(&kernels, &x).unwrap();
        assert_eq!(seen.size(), [2, 5, 6, 3]);
        let v = draw("v", &seen.size());
        let apart = (seen * &v).sum(Kind::Double) - (adjoint(&kernels, &v).unwrap() * &x).sum(Kind::Double);
        assert!(apart.abs().double_value(&[]) < 1e-12);
        assert!(length(&apply(&kernels, &x.ones_like()).unwrap()) < 1e-13);
    }

    /// Waves of the frequency where the norm lies are seen as they are, nothing is seen larger.
    #[test]
    fn the_norm_is_one() {
        let filters = filters();
        let mut x = draw("x", &[1, 1, 96, 96]);
        let kernels = filters.like(&x).unwrap();
        let mut norm = 0.0;
        for _ in 0..300 {
            x = adjoint(&kernels, &apply(&kernels, &(&x / length(&x))).unwrap()).unwrap();
            norm = length(&x).sqrt();
        }
        // An image of limited size holds no whole wave.
        assert!(norm < 1.0 + 1e-3 && norm > 0.99, "{norm}");
    }

    #[test]
    fn filters_that_see_nothing_are_refused() {
        let line = Filters::new(&[draw("first", &[2, 1, 3, 3]) * 0.0 + 1.0]).unwrap_err().to_string();
        assert!(line.contains("some that are not zero"), "{line}");
    }
}
