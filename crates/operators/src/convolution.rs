//! Blur and downsampling: extension, correlation with a kernel, stride.

use crate::boundary::{Axis, Boundary};
use crate::check::{self, linear};
use crate::resolvent::Periodic;
use crate::{Grid, LinearOperator, Operator, PixelGrid, Resolvent, kernel};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// `A x = stride(k * extend(x))`, each channel by itself:
///
/// `(A x)[i, j] = sum_{p, q} k[p, q] extend(x)[s i + p, s j + q]`
///
/// This is *correlation*, as neural-network libraries compute it; for convolution with `k` give
/// [`kernel::flipped`]`(k)`. For symmetric kernels, such as Gaussians, the two are the same.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, C, H', W']` with `H' = (before + H + after - kh) / s + 1`, rounded down.
///
/// # Grid
/// Output pixel `(i, j)` lies at the centre of the kernel: origin `(k - 1)/2 - before`, spacing `s`.
#[derive(Debug)]
pub struct Convolution {
    domain: Space,
    range: Space,
    /// `[1, 1, kh, kw]`, float64.
    kernel: Tensor,
    rows: Axis,
    columns: Axis,
    stride: i64,
    boundary: Boundary,
    grid: Grid,
}

impl Convolution {
    /// Correlation with `kernel` (`[kh, kw]`) at every `stride`-th position of the extended image.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where the kernel is not `[kh, kw]` and finite, the stride is not
    /// positive, or the image is too small for the kernel or (for [`Boundary::Periodic`]) not divisible by
    /// the stride.
    pub fn new(domain: Space, kernel: &Tensor, boundary: Boundary, stride: i64) -> Result<Self> {
        check::domain(domain)?;
        let [height, width] = domain.plane("domain of a convolution of images (volumes have another)")?;
        let (kh, kw) = kernel::check(kernel)?;
        if stride < 1 {
            return Err(Error::value("stride", "a positive number of pixels", stride));
        }
        let rows = boundary.axis("height", height, kh, stride)?;
        let columns = boundary.axis("width", width, kw, stride)?;
        let positions = |axis: &Axis, kernel: i64| (axis.extended() - kernel) / stride + 1;
        let range = Space::image(domain.channels, positions(&rows, kh), positions(&columns, kw));
        let centre = |kernel: i64| (kernel - 1) as f64 / 2.0 - boundary.amounts(kernel).0 as f64;
        let grid =
            Grid { origin: (centre(kh), centre(kw)), spacing: (stride as f64, stride as f64), depth: None };
        let kernel = kernel.detach().to_kind(tch::Kind::Double).reshape([1, 1, kh, kw]).copy();
        Ok(Self { domain, range, kernel, rows, columns, stride, boundary, grid })
    }

    /// The superresolution operator of the patchNR and WPP papers: a `size` x `size` Gaussian kernel of
    /// standard deviation `sigma`, normalised to sum 1, at every `stride`-th pixel.
    ///
    /// - SiC x4 (and x6, x8): size 16, sigma 2 (3, 4), stride 4 (6, 8), [`Boundary::Periodic`]: a 600 x 600
    ///   image becomes 150 x 150 and output pixel `i` lies at `4 i + 7.5`.
    /// - WPP: the same with [`Boundary::Valid`].
    /// - Zero-shot: x2 of BSD68 with size 16, sigma 1, stride 2, reflected by 7 pixels; x4 of SiC by 6.
    ///
    /// # Errors
    /// Those of [`Convolution::new`] and [`kernel::gaussian`].
    ///
    /// # Reference
    /// Altekrüger et al., "PatchNR: learning from very few images by patch normalizing flow regularization",
    /// Inverse Problems 39 (2023); Hertrich, Houdard, Redenbach, "Wasserstein patch prior for image
    /// superresolution", IEEE Transactions on Computational Imaging 8 (2022).
    pub fn superresolution(
        domain: Space,
        size: i64,
        sigma: f64,
        stride: i64,
        boundary: Boundary,
    ) -> Result<Self> {
        Self::new(domain, &kernel::gaussian(size, sigma)?, boundary, stride)
    }

    /// Blur without downsampling.
    ///
    /// # Errors
    /// Those of [`Convolution::new`].
    pub fn blur(domain: Space, kernel: &Tensor, boundary: Boundary) -> Result<Self> {
        Self::new(domain, kernel, boundary, 1)
    }

    /// The adjoint of correlation with stride: `e[r] = sum_i k[r - s i] v[i]`, `[N, 1, H', W']` to the extended
    /// planes.
    ///
    /// Row `r = s q + a` meets only the weights `k[s m + a]`: each of the `s^2` phases `a` is a full convolution
    /// of `v` with a part of the kernel, and the phases are interleaved (`pixel_shuffle`). On CPUs this is much
    /// faster than a transposed convolution of planes with one channel.
    fn spread(&self, v: &Tensor) -> Result<Tensor> {
        let s = self.stride;
        let k = self.kernel_like(v)?;
        let (kh, kw) = (k.size()[2], k.size()[3]);
        // Zeros up to the next multiple of the stride.
        let padded = k.f_constant_pad_nd([0, (-kw).rem_euclid(s), 0, (-kh).rem_euclid(s)])?;
        let (mh, mw) = (padded.size()[2] / s, padded.size()[3] / s);
        let phases =
            padded.f_reshape([mh, s, mw, s])?.f_permute([1, 3, 0, 2])?.f_reshape([s * s, 1, mh, mw])?;
        let parts = correlate(v, &phases.f_flip([2, 3])?, 1, [mh - 1, mw - 1])?;
        let spread = parts.f_pixel_shuffle(s)?;
        // Zeros where no position of the kernel reaches; negative padding cuts what the padded kernel added.
        let bottom = self.rows.extended() - spread.size()[2];
        let right = self.columns.extended() - spread.size()[3];
        Ok(spread.f_constant_pad_nd([0, right, 0, bottom])?)
    }

    fn kernel_like(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.kernel.f_to_device(x.device())?.f_to_kind(x.kind())?)
    }
}

/// libtorch's `conv2d` without what `conv2d` may do on GPUs by default: round to 10 bits (TF32), which breaks
/// adjoints in the fourth digit, and choose algorithms that sum in no fixed order.
fn correlate(x: &Tensor, kernel: &Tensor, stride: i64, zeros: [i64; 2]) -> Result<Tensor> {
    let (transposed, benchmark, deterministic, cudnn, tf32) = (false, false, true, true, false);
    let (stride, dilation, groups) = ([stride; 2], [1, 1], 1);
    let none = None::<Tensor>;
    Ok(x.f_internal_convolution(
        kernel,
        none,
        stride,
        zeros,
        dilation,
        transposed,
        [0, 0],
        groups,
        benchmark,
        deterministic,
        cudnn,
        tf32,
    )?)
}

impl Operator for Convolution {
    linear!(domain => range);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        let b = x.size()[0];
        let planes = x.f_reshape([b * self.domain.channels, 1, self.domain.height, self.domain.width])?;
        let extended = self.columns.apply(&self.rows.apply(&planes, 2)?, 3)?;
        let y = correlate(&extended, &self.kernel_like(x)?, self.stride, [0, 0])?;
        Ok(y.f_reshape(self.range.batch(b))?)
    }
}

impl LinearOperator for Convolution {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("observation", v, self.range)?;
        let b = v.size()[0];
        let planes = v.f_reshape([b * self.range.channels, 1, self.range.height, self.range.width])?;
        let spread = self.spread(&planes)?;
        let x = self.rows.adjoint(&self.columns.adjoint(&spread, 3)?, 2)?;
        Ok(x.f_reshape(self.domain.batch(b))?)
    }

    fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
        (self.boundary == Boundary::Periodic).then(|| Box::new(Periodic(self)) as Box<dyn Resolvent>)
    }
}

impl PixelGrid for Convolution {
    fn grid(&self) -> Grid {
        self.grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn ramp(space: Space) -> Tensor {
        let n = space.len();
        (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 0.37).sin().reshape(space.batch(1))
    }

    /// The definition, pixel by pixel.
    fn by_definition(x: &Tensor, k: &Tensor, stride: i64, range: Space) -> Tensor {
        let (kh, kw) = (k.size()[0], k.size()[1]);
        let (h, w) = (x.size()[2], x.size()[3]);
        let mut y = Vec::new();
        for i in 0..range.height {
            for j in 0..range.width {
                let mut sum = 0.0;
                for p in 0..kh {
                    for q in 0..kw {
                        let (r, c) = ((stride * i + p) % h, (stride * j + q) % w);
                        sum += k.double_value(&[p, q]) * x.double_value(&[0, 0, r, c]);
                    }
                }
                y.push(sum);
            }
        }
        Tensor::from_slice(&y).reshape(range.batch(1))
    }

    #[test]
    fn it_is_the_correlation_of_its_definition() {
        let space = Space::image(1, 8, 12);
        let k = Tensor::from_slice(&[0.1, 0.5, -0.2, 0.3, 0.7, 0.05]).reshape([2, 3]);
        for (boundary, stride) in [(Boundary::Periodic, 4), (Boundary::Periodic, 1), (Boundary::Valid, 2)] {
            let a = Convolution::new(space, &k, boundary, stride).unwrap();
            let difference =
                a.apply(&ramp(space)).unwrap() - by_definition(&ramp(space), &k, stride, a.range());
            assert!(difference.abs().max().double_value(&[]) < 1e-14, "{boundary:?} {stride}");
        }
    }

    /// Kernels smaller and larger than the stride, whose sides it divides or not, on both axes.
    #[test]
    fn its_adjoint_is_the_transposed_matrix() {
        let space = Space::image(1, 8, 12);
        let unit = |space: Space| {
            Tensor::eye(space.len(), (Kind::Double, Device::Cpu)).reshape(space.batch(space.len()))
        };
        for boundary in [Boundary::Periodic, Boundary::Valid, Boundary::Reflect, Boundary::ReflectBy(2)] {
            for ([kh, kw], stride) in
                [([2, 3], 4), ([3, 2], 4), ([4, 6], 4), ([6, 4], 4), ([4, 4], 2), ([5, 3], 2), ([3, 5], 1)]
            {
                let k = (Tensor::arange(kh * kw, (Kind::Double, Device::Cpu)) * 0.7 + 0.3).sin();
                let a = Convolution::new(space, &k.reshape([kh, kw]), boundary, stride).unwrap();
                let (pixels, values) = (space.len(), a.range().len());
                let matrix = a.apply(&unit(space)).unwrap().reshape([pixels, values]);
                let transposed = a.adjoint(&unit(a.range())).unwrap().reshape([values, pixels]);
                let gap = (matrix - transposed.tr()).abs().max().double_value(&[]);
                assert!(gap < 1e-14, "{boundary:?} {kh} x {kw}, stride {stride}: {gap}");
            }
        }
    }

    #[test]
    fn the_published_operators_have_their_sizes_and_centres() {
        let image = Space::image(1, 600, 600);
        let a = Convolution::superresolution(image, 16, 2.0, 4, Boundary::Periodic).unwrap();
        assert_eq!(a.range(), Space::image(1, 150, 150));
        assert_eq!(a.grid(), Grid { origin: (7.5, 7.5), spacing: (4.0, 4.0), depth: None });
        let valid = Convolution::superresolution(image, 16, 2.0, 4, Boundary::Valid).unwrap();
        assert_eq!(valid.range(), Space::image(1, 147, 147));
        let reflect = Boundary::ReflectBy(7);
        let zero_shot = Convolution::superresolution(Space::image(1, 320, 480), 16, 1.0, 2, reflect).unwrap();
        assert_eq!(zero_shot.range(), Space::image(1, 160, 240));
        assert_eq!(zero_shot.grid().origin, (0.5, 0.5));
    }

    #[test]
    fn reflection_goes_by_the_kernel_on_each_axis() {
        let signal = Space::image(1, 1, 64);
        let kernel = Tensor::from_slice(&[0.25, 0.5, 0.25]).reshape([1, 3]);
        let a = Convolution::blur(signal, &kernel, Boundary::Reflect).unwrap();
        assert_eq!(a.range(), signal);
        let x = Tensor::arange(64, (Kind::Double, Device::Cpu)).reshape([1, 1, 1, 64]);
        let y = Vec::<f64>::try_from(a.apply(&x).unwrap().flatten(0, -1)).unwrap();
        assert_eq!((y[0], y[1], y[62], y[63]), (0.5, 1.0, 62.0, 62.5));
        // Of a column, and of a kernel that is wider than high.
        let column =
            Convolution::blur(Space::image(1, 64, 1), &kernel.reshape([3, 1]), Boundary::Reflect).unwrap();
        assert_eq!(column.range(), Space::image(1, 64, 1));
        let wide = Convolution::blur(
            Space::image(1, 9, 12),
            &(Tensor::ones([2, 5], (Kind::Double, Device::Cpu)) / 10.0),
            Boundary::Reflect,
        );
        assert_eq!(wide.unwrap().range(), Space::image(1, 9, 12));
    }

    #[test]
    fn constants_are_kept_and_wrong_inputs_refused() {
        let space = Space::image(2, 16, 20);
        let a = Convolution::superresolution(space, 16, 2.0, 4, Boundary::Periodic).unwrap();
        let y = a.apply(&Tensor::full(space.batch(1), 0.3, (Kind::Double, Device::Cpu))).unwrap();
        assert!((y - 0.3).abs().max().double_value(&[]) < 1e-14);
        let wrong = Tensor::zeros([1, 2, 16, 21], (Kind::Double, Device::Cpu));
        assert!(a.apply(&wrong).is_err() && a.adjoint(&wrong).is_err() && a.vjp(&wrong, &wrong).is_err());
        assert!(a.apply(&Tensor::zeros(space.batch(1), (Kind::Uint8, Device::Cpu))).is_err());
        assert!(Convolution::new(space, &kernel::gaussian(3, 1.0).unwrap(), Boundary::Valid, 0).is_err());
        assert!(Convolution::superresolution(space, 17, 2.0, 4, Boundary::Valid).is_err());
        let volume = Space::volume(2, 9, 16, 20);
        let line =
            Convolution::superresolution(volume, 4, 1.0, 2, Boundary::Valid).err().unwrap().to_string();
        assert!(line.contains("convolution of images"), "{line}");
        assert!(Convolution::superresolution(space, 8, 2.0, 3, Boundary::Periodic).is_err());
    }
}
