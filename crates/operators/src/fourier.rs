//! Blur and downsampling in Fourier space, with kernels that were estimated from a registered pair of images.

use crate::check::{self, linear};
use crate::resolvent::Periodic;
use crate::{Grid, ImagingOperator, LinearOperator, Operator, PixelGrid, Resolvent, kernel};
use smalti_base::pytorch_file::load_state_dict;
use smalti_base::{Error, Result, Space};
use std::path::Path;
use tch::{Kind, Tensor};

/// Periodic convolution, then only the lowest frequencies are kept:
///
/// `A x = 1 / s^2 Re F_m^-1 C (F_n k . F_n x)`, where `F_n` is the discrete Fourier transform at the size of the image, `k`
/// the kernel with its centre at the first pixel, and `C` takes the frequencies `-floor(m/2), ..., ceil(m/2) - 1` of both
/// axes, `m = n / s`.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, C, H / s, W / s]`.
///
/// # Conventions
/// Convolution, not correlation: output `j` is centred at input `s j - o`, `o` the kernel's centre of mass relative to
/// its middle pixel. Constants are multiplied by the kernel's sum.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023), section on unknown operators.
#[derive(Debug)]
pub struct FourierDownsampling {
    domain: Space,
    range: Space,
    /// The kernel's transform, complex, `[H, W]`.
    spectrum: Tensor,
    /// The kept frequencies of either axis.
    kept: [Tensor; 2],
    grid: Grid,
}

impl FourierDownsampling {
    /// Convolution of images in `domain` with `kernel`, `[kh, kw]` of odd sides, then downsampling by `factor`.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Shape`] where the kernel is not finite, has even sides or is larger than the image, or
    /// the image is not divisible by the factor.
    pub fn new(domain: Space, kernel: &Tensor, factor: i64) -> Result<Self> {
        check::domain(domain)?;
        let (kh, kw) = kernel::check(kernel)?;
        let [height, width] = domain.plane("domain of a Fourier downsampling")?;
        if kh % 2 == 0 || kw % 2 == 0 || kh > height || kw > width {
            let expected = format!("odd sides, at most the {height} x {width} pixels of the image");
            return Err(Error::shape("kernel of a Fourier downsampling", expected, kernel.size()));
        }
        if factor < 1 || height % factor != 0 || width % factor != 0 {
            let expected = format!("at least 1, a divisor of the image's sides {height} and {width}");
            return Err(Error::value("factor of a Fourier downsampling", expected, factor));
        }
        let kernel = kernel.f_to_kind(Kind::Double)?.f_to_device(tch::Device::Cpu)?;
        let padded = kernel.f_constant_pad_nd([0, width - kw, 0, height - kh])?;
        let spectrum =
            padded.f_roll([-(kh / 2), -(kw / 2)], [0, 1])?.f_fft_fft2(None::<&[i64]>, [0, 1], "backward")?;
        let kept = |n: i64| {
            let m = n / factor;
            let frequencies: Vec<i64> = (0..m).map(|j| if j < (m + 1) / 2 { j } else { n - m + j }).collect();
            Ok::<_, Error>(Tensor::f_from_slice(&frequencies)?)
        };
        let offset = |n: i64, dim: i64| {
            let index = Tensor::arange(n, (Kind::Double, tch::Device::Cpu)) - (n / 2) as f64;
            let sums = kernel.f_sum_dim_intlist(1 - dim, false, Kind::Double)?;
            let (moment, mass) =
                (sums.f_dot(&index)?.double_value(&[]), sums.sum(Kind::Double).double_value(&[]));
            Ok::<_, Error>(if mass == 0.0 { 0.0 } else { moment / mass })
        };
        let s = factor as f64;
        Ok(Self {
            domain,
            range: Space { height: height / factor, width: width / factor, ..domain },
            spectrum,
            kept: [kept(height)?, kept(width)?],
            grid: Grid { origin: (-offset(kh, 0)?, -offset(kw, 1)?), spacing: (s, s), depth: None },
        })
    }

    /// The kernel's transform for images like `x`, and the kept rows and columns.
    fn like(&self, x: &Tensor) -> Result<(Tensor, [Tensor; 2])> {
        let kind = if x.kind() == Kind::Double { Kind::ComplexDouble } else { Kind::ComplexFloat };
        let spectrum = self.spectrum.f_to_device(x.device())?.f_to_kind(kind)?;
        let [rows, columns] = &self.kept;
        Ok((spectrum, [rows.f_to_device(x.device())?, columns.f_to_device(x.device())?]))
    }
}

const NO_SIZE: Option<&[i64]> = None;

impl Operator for FourierDownsampling {
    linear!(domain => range);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        let (spectrum, [rows, columns]) = self.like(x)?;
        // Transforms of other strides run over the axes in another order, which rounding shows.
        let low = x.f_contiguous()?.f_fft_fft2(NO_SIZE, [2, 3], "backward")?.f_mul(&spectrum)?;
        let low = low.f_index_select(2, &rows)?.f_index_select(3, &columns)?;
        let scale =
            (self.range.height * self.range.width) as f64 / (self.domain.height * self.domain.width) as f64;
        Ok(low.f_fft_ifft2(NO_SIZE, [2, 3], "backward")?.f_real()?.f_mul_scalar(scale)?)
    }
}

impl LinearOperator for FourierDownsampling {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("observation", v, self.range)?;
        let (spectrum, [rows, columns]) = self.like(v)?;
        let low = v.f_contiguous()?.f_fft_fft2(NO_SIZE, [2, 3], "backward")?;
        let zeros = |h: i64, w: i64| {
            let size = [v.size()[0], self.domain.channels, h, w];
            Tensor::f_zeros(size, (low.kind(), v.device()))
        };
        let Space { height, width, .. } = self.domain;
        let tall = zeros(height, self.range.width)?.f_index_copy(2, &rows, &low)?;
        let whole = zeros(height, width)?.f_index_copy(3, &columns, &tall)?;
        let back = whole.f_mul(&spectrum.f_conj()?.f_resolve_conj()?)?;
        Ok(back.f_fft_ifft2(NO_SIZE, [2, 3], "backward")?.f_real()?.f_contiguous()?)
    }

    fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
        Some(Box::new(Periodic(self)))
    }
}

impl PixelGrid for FourierDownsampling {
    fn grid(&self) -> Grid {
        self.grid
    }
}

/// `F(x) = A x + b` with one number `b` for all pixels: what an estimation gives where the kernel does not keep constants.
#[derive(Debug)]
pub struct Biased<A> {
    linear: A,
    bias: f64,
}

impl<A: LinearOperator> Biased<A> {
    /// `A` and `b`.
    ///
    /// # Errors
    /// [`Error::Value`] where `b` is not finite.
    pub fn new(linear: A, bias: f64) -> Result<Self> {
        if bias.is_finite() {
            Ok(Self { linear, bias })
        } else {
            Err(Error::value("bias of an operator", "a finite number", bias))
        }
    }

    /// `A`.
    pub fn linear(&self) -> &A {
        &self.linear
    }

    /// `A` alone.
    pub fn into_linear(self) -> A {
        self.linear
    }

    /// `b`.
    pub fn bias(&self) -> f64 {
        self.bias
    }

    /// `A x + b` with the linear part behind a pointer.
    pub fn boxed(self) -> Biased<Box<dyn ImagingOperator>>
    where
        A: PixelGrid + 'static,
    {
        Biased { linear: Box::new(self.linear), bias: self.bias }
    }
}

impl Biased<FourierDownsampling> {
    /// The operator of a PyTorch file with `kernel`, `[1, 1, k, k]`, and `bias`, `[1]`, on images in `domain`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`] where the file cannot be read or has no such tensors; those of
    /// [`FourierDownsampling::new`].
    pub fn load(path: &Path, domain: Space, factor: i64) -> Result<Self> {
        let dict = load_state_dict(path)?;
        let wrong = |problem: String| {
            Error::content(path, problem, "give an estimated operator: kernel [1, 1, k, k] and bias [1]")
        };
        let take = |name: &str| dict.get(name).ok_or_else(|| wrong(format!("has no tensor {name}")));
        let (kernel, bias) = (take("kernel")?, take("bias")?);
        let (k, b) = (kernel.size(), bias.size());
        match (&k[..], &b[..]) {
            ([1, 1, kh, kw], [1]) => {
                let kernel = kernel.f_reshape([*kh, *kw])?;
                Self::new(FourierDownsampling::new(domain, &kernel, factor)?, bias.f_double_value(&[0])?)
            }
            _ => Err(wrong(format!("has a kernel of {k:?} and a bias of {b:?}"))),
        }
    }
}

impl<A: LinearOperator> Operator for Biased<A> {
    fn domain(&self) -> Space {
        self.linear.domain()
    }

    fn range(&self) -> Space {
        self.linear.range()
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.linear.apply(x)?.f_add_scalar(self.bias)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain())?;
        self.linear.adjoint(v)
    }
}

impl<A: LinearOperator + PixelGrid> PixelGrid for Biased<A> {
    fn grid(&self) -> Grid {
        self.linear.grid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;
    use tch::Device;

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    /// A sum of waves below the frequencies that are cut off.
    fn waves(h: i64, w: i64, shift: (f64, f64)) -> Tensor {
        let index = |n: i64, o: f64, step: f64| {
            (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step + o) * (2.0 * std::f64::consts::PI)
        };
        let rows = |f: f64, step: f64| (index(h, shift.0, step) * (f / 24.0)).unsqueeze(1);
        let columns = |f: f64, step: f64| (index(w, shift.1, step) * (f / 36.0)).unsqueeze(0);
        let step = 24.0 / h as f64;
        ((rows(3.0, step) + columns(2.0, step)).sin() + (rows(1.0, step) - columns(4.0, step)).cos() + 0.5)
            .view([1, 1, h, w])
    }

    #[test]
    fn smooth_images_are_sampled_where_the_grid_says() {
        // A kernel that moves the image by a whole number of pixels, and none that does not.
        for (at, factor) in [((1, 3), 2), ((2, 2), 3), ((4, 0), 1)] {
            let kernel = Tensor::zeros([5, 5], (Kind::Double, Device::Cpu));
            let _ = kernel.get(at.0).get(at.1).fill_(1.0);
            let a = FourierDownsampling::new(Space::image(1, 24, 36), &kernel, factor).unwrap();
            let y = a.apply(&waves(24, 36, (0.0, 0.0))).unwrap();
            let Grid { origin, spacing, .. } = a.grid();
            assert_eq!((origin, spacing.0), ((2.0 - at.0 as f64, 2.0 - at.1 as f64), factor as f64));
            let expected = waves(24 / factor, 36 / factor, origin);
            assert!(largest(&(y - expected)) < 1e-12, "{at:?} {factor}");
        }
    }

    #[test]
    fn without_downsampling_it_is_a_periodic_convolution() {
        let kernel = Seed::new(1).at("kernel", 0).normal(&[3, 5]).to_kind(Kind::Double);
        let x = Seed::new(1).at("image", 0).normal(&[2, 1, 9, 12]).to_kind(Kind::Double);
        let y = FourierDownsampling::new(Space::image(1, 9, 12), &kernel, 1).unwrap().apply(&x).unwrap();
        let mut expected = x.zeros_like();
        for i in 0..3 {
            for j in 0..5 {
                expected += x.roll([i - 1, j - 2], [2, 3]) * kernel.double_value(&[i, j]);
            }
        }
        assert!(largest(&(y - expected)) < 1e-12);
    }

    #[test]
    fn bad_input_is_refused_in_one_line() {
        let space = Space::image(1, 12, 18);
        let line = |kernel: [i64; 2], factor| {
            let kernel = Tensor::ones(kernel, (Kind::Double, Device::Cpu));
            FourierDownsampling::new(space, &kernel, factor).err().unwrap().to_string()
        };
        assert!(line([4, 3], 2).contains("odd sides") && line([13, 3], 2).contains("odd sides"));
        assert!(line([3, 3], 4).contains("divisor") && line([3, 3], 0).contains("divisor"));
        let ones = Tensor::ones([3, 3], (Kind::Double, Device::Cpu));
        let a = || FourierDownsampling::new(space, &ones, 2).unwrap();
        assert!(Biased::new(a(), f64::NAN).is_err());
        assert!(a().apply(&Tensor::zeros([1, 1, 12, 12], (Kind::Double, Device::Cpu))).is_err());
        let y =
            Biased::new(a(), 0.25).unwrap().apply(&Tensor::ones([1, 1, 12, 18], (Kind::Double, Device::Cpu)));
        assert!(largest(&(y.unwrap() - 9.25)) < 1e-12);
    }
}
