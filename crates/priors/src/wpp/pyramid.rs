//! The scales of images and volumes: blur and downsampling, again and again, with exact adjoints.

use smalti_base::{Error, Result, Space};
use smalti_operators::{Convolution, Extension, LinearOperator, Operator, VolumeConvolution, kernel, volume};
use tch::{Kind, Tensor};

/// A blur between two scales.
#[derive(Debug)]
pub enum Blur {
    /// Gaussian of `size` pixels along every axis and standard deviation `sigma` pixels, normalised to sum 1.
    Gaussian {
        /// Pixels along every axis.
        size: i64,
        /// Standard deviation in pixels.
        sigma: f64,
    },
    /// Any kernel, `[kh, kw]` for images and `[kd, kh, kw]` for volumes, applied as a correlation. It should
    /// sum to 1, so that all scales have the same grey values.
    Kernel(Tensor),
}

impl Blur {
    /// The kernel with so many axes, float64.
    fn kernel(&self, axes: usize) -> Result<Tensor> {
        match self {
            Self::Gaussian { size, sigma } => {
                if axes == 2 {
                    kernel::gaussian(*size, *sigma)
                } else {
                    volume::gaussian(*size, *sigma)
                }
            }
            Self::Kernel(weights) => {
                if weights.dim() != axes {
                    return Err(Error::shape("blur kernel", format!("{axes} axes"), weights.size()));
                }
                kernel::check(&weights.f_reshape([1, -1])?)?;
                Ok(weights.detach().f_to_kind(Kind::Double)?.copy())
            }
        }
    }
}

/// `D`: from one scale to the next coarser one, each channel by itself and without extension ("valid"):
///
/// `(D x)[i, j] = sum_{p, q} k[p, q] x[s i + p, s j + q]`, and with one axis more for volumes.
///
/// # Shapes
/// `[B, C, H, W]` or `[B, C, D, H, W]`, every axis from `n` to `(n - k) / s + 1` pixels, rounded down.
pub struct Downscaling {
    form: Form,
    /// Everything but the batch.
    domain: Vec<i64>,
    range: Vec<i64>,
}

enum Form {
    Image(Convolution),
    /// Channel by channel.
    Volume(VolumeConvolution),
}

impl Downscaling {
    /// From `domain`, `[C, H, W]` or `[C, D, H, W]`, with every `stride`-th position of the blur.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where domain or kernel have other numbers of axes, the stride is
    /// not positive, or the kernel is larger than the image.
    pub fn new(domain: &[i64], blur: &Blur, stride: i64) -> Result<Self> {
        let (&channels, extents) = match domain {
            [channels, extents @ ..] if matches!(extents.len(), 2 | 3) => (channels, extents),
            _ => return Err(Error::shape("space of a pyramid", "[C, H, W] or [C, D, H, W]", domain)),
        };
        let weights = blur.kernel(extents.len())?;
        let size = weights.size();
        if stride < 1 {
            return Err(Error::value("downscaling", "at least 1 pixel", stride));
        }
        if channels < 1 || extents.iter().zip(&size).any(|(n, k)| n < k) {
            let expected = format!("at least the {size:?} pixels of the blur; take fewer scales");
            return Err(Error::value(
                "image to be blurred to a coarser scale",
                expected,
                format!("{extents:?}"),
            ));
        }
        let places = extents.iter().zip(&size).map(|(n, k)| (n - k) / stride + 1);
        let range = std::iter::once(channels).chain(places).collect();
        let form = match *extents {
            [depth, height, width] => {
                Form::Volume(VolumeConvolution::new(Space::image(depth, height, width), &weights, stride)?)
            }
            _ => {
                let space = Space::image(channels, extents[0], extents[1]);
                Form::Image(Convolution::new(space, &weights, Extension::Valid, stride)?)
            }
        };
        Ok(Self { form, domain: domain.to_vec(), range })
    }

    /// What it maps from, without the batch.
    pub fn domain(&self) -> &[i64] {
        &self.domain
    }

    /// What it maps to, without the batch.
    pub fn range(&self) -> &[i64] {
        &self.range
    }

    /// `D x`, in the dtype and on the device of `x`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not a batch of the domain.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check("image", &self.domain, x)?;
        match &self.form {
            Form::Image(convolution) => convolution.apply(x),
            Form::Volume(convolution) => by_channel(x, &self.range, |x| convolution.apply(x)),
        }
    }

    /// `D^T v`, exact.
    ///
    /// # Errors
    /// [`Error::Shape`] where `v` is not a batch of the range.
    pub fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check("coarser image", &self.range, v)?;
        match &self.form {
            Form::Image(convolution) => convolution.adjoint(v),
            Form::Volume(convolution) => by_channel(v, &self.domain, |v| convolution.adjoint(v)),
        }
    }
}

/// Maps `[B, C, D, H, W]` to a batch of `range`, each channel of each volume by itself.
fn by_channel(x: &Tensor, range: &[i64], map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let batch: Vec<i64> = [x.size()[0]].iter().chain(range).copied().collect();
    Ok(map(&x.f_flatten(0, 1)?)?.f_reshape(&batch[..])?)
}

fn check(what: &str, space: &[i64], x: &Tensor) -> Result<()> {
    let size = x.size();
    if size.len() == space.len() + 1 && size[1..] == *space {
        return Ok(());
    }
    let axes: Vec<String> = space.iter().map(i64::to_string).collect();
    Err(Error::shape(what, format!("[B, {}]", axes.join(", ")), size))
}

/// An image with its coarser scales: `x -> (x_0, ..., x_{L-1})`, `x_0 = x`, `x_{l+1} = D x_l`.
pub struct Pyramid {
    /// From each scale to the next.
    steps: Vec<Downscaling>,
    /// Of every scale, without the batch.
    spaces: Vec<Vec<i64>>,
}

impl Pyramid {
    /// So many scales of `space`, `[C, H, W]` or `[C, D, H, W]`; 1 is the image alone.
    ///
    /// # Errors
    /// Those of [`Downscaling::new`]; no scale.
    pub fn new(space: &[i64], scales: usize, blur: &Blur, stride: i64) -> Result<Self> {
        if scales == 0 {
            return Err(Error::value("number of scales", "at least 1", 0));
        }
        if !matches!(space.len(), 3 | 4) {
            return Err(Error::shape("space of a pyramid", "[C, H, W] or [C, D, H, W]", space));
        }
        let mut spaces = vec![space.to_vec()];
        let mut steps = Vec::new();
        for scale in 1..scales {
            let step = Downscaling::new(&spaces[scale - 1], blur, stride)?;
            spaces.push(step.range().to_vec());
            steps.push(step);
        }
        Ok(Self { steps, spaces })
    }

    /// The spaces of all scales, the finest first: `[C, H, W]` or `[C, D, H, W]`.
    pub fn spaces(&self) -> &[Vec<i64>] {
        &self.spaces
    }

    /// All scales of a batch, the finest first.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not a batch of the finest space.
    pub fn apply(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        check("image", &self.spaces[0], x)?;
        let mut images = vec![x.shallow_clone()];
        for (l, step) in self.steps.iter().enumerate() {
            images.push(step.apply(&images[l])?);
        }
        Ok(images)
    }

    /// The adjoint, `sum_l (D^l)^T v_l`: what pulls gradients in all scales back to the image.
    ///
    /// # Errors
    /// [`Error::Shape`] where the `v_l` are not batches of the spaces.
    pub fn adjoint(&self, v: &[Tensor]) -> Result<Tensor> {
        if v.len() != self.spaces.len() {
            return Err(Error::value("number of scales", self.spaces.len().to_string(), v.len()));
        }
        for (v, space) in v.iter().zip(&self.spaces) {
            check("image of a scale", space, v)?;
        }
        let mut sum = v[v.len() - 1].shallow_clone();
        for (step, v) in self.steps.iter().zip(v).rev() {
            sum = step.adjoint(&sum)?.f_add(v)?;
        }
        Ok(sum)
    }
}
