//! The scales of images and volumes: blur and downsampling, again and again, with exact adjoints.

use smalti_base::{Error, Result, Space};
use smalti_operators::{Boundary, Convolution, LinearOperator, Operator, VolumeConvolution, kernel, volume};
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

impl Clone for Blur {
    fn clone(&self) -> Self {
        match self {
            Self::Gaussian { size, sigma } => Self::Gaussian { size: *size, sigma: *sigma },
            Self::Kernel(kernel) => Self::Kernel(kernel.shallow_clone()),
        }
    }
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

/// `D`, from images or volumes of `domain` to the next coarser scale.
fn downscaling(domain: Space, blur: &Blur, stride: i64) -> Result<Box<dyn LinearOperator + Send>> {
    let sides = domain.axes();
    let weights = blur.kernel(sides.len())?;
    let size = weights.size();
    if stride < 1 {
        return Err(Error::value("downscaling", "at least 1 pixel", stride));
    }
    if sides.iter().zip(&size).any(|(n, k)| n < k) {
        let expected = format!("at least the {size:?} pixels of the blur; take fewer scales");
        return Err(Error::value("image to be blurred to a coarser scale", expected, format!("{sides:?}")));
    }
    Ok(match domain.depth {
        None => Box::new(Convolution::new(domain, &weights, Boundary::Valid, stride)?),
        Some(_) => Box::new(VolumeConvolution::new(domain, &weights, stride)?),
    })
}

/// An image with its coarser scales: `x -> (x_0, ..., x_{L-1})`, `x_0 = x`, `x_{l+1} = D x_l`.
///
/// `D` goes from one scale to the next coarser one, each channel by itself and without extension ("valid"):
///
/// `(D x)[i, j] = sum_{p, q} k[p, q] x[s i + p, s j + q]`, and with one axis more for volumes.
///
/// # Shapes
/// `[B, C, H, W]` or `[B, C, D, H, W]`, every axis from `n` to `(n - k) / s + 1` pixels, rounded down, from scale to scale.
pub struct Pyramid {
    /// From each scale to the next.
    steps: Vec<Box<dyn LinearOperator + Send>>,
    /// Of every scale.
    spaces: Vec<Space>,
}

impl std::fmt::Debug for Pyramid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pyramid").field("spaces", &self.spaces).finish_non_exhaustive()
    }
}

impl Pyramid {
    /// So many scales of `space`, each with every `stride`-th position of the blur of the one before; 1 is the image alone.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where there is no scale, the kernel has another number of axes, the stride is not
    /// positive, or the kernel is larger than the image.
    pub fn new(space: Space, scales: i64, blur: &Blur, stride: i64) -> Result<Self> {
        if scales < 1 {
            return Err(Error::value("number of scales", "at least 1", scales));
        }
        let mut spaces = vec![space];
        let mut steps = Vec::new();
        for scale in 1..scales as usize {
            let step = downscaling(spaces[scale - 1], blur, stride)?;
            spaces.push(step.range());
            steps.push(step);
        }
        Ok(Self { steps, spaces })
    }

    /// The spaces of all scales, the finest first.
    pub fn spaces(&self) -> &[Space] {
        &self.spaces
    }

    /// All scales of a batch, the finest first.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not a batch of the finest space.
    pub fn apply(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.spaces[0].check("image", x)?;
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
            space.check("image of a scale", v)?;
        }
        let mut sum = v[v.len() - 1].shallow_clone();
        for (step, v) in self.steps.iter().zip(v).rev() {
            sum = step.adjoint(&sum)?.f_add(v)?;
        }
        Ok(sum)
    }
}
