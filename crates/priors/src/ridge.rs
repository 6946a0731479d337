//! Ridge regularizers: potentials of filtered images, with published weights.

mod file;
mod filters;
mod spline;

use crate::regularizer::Regularizer;
use filters::Filters;
use smalti_base::checkpoint::data_hash;
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result, Space};
use spline::{OddSpline, projected};
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// Whether potentials have a concave part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convexity {
    /// They have none: convex.
    Convex,
    /// They have one: the regularizer plus `|x|^2 / 2` (of sums) is convex.
    Weakly,
}

/// The weights of ridge regularizers, for all noise levels: a chain of convolutions `W`, the two parts `s_+` and `s_-` of one spline
/// `psi' = m s_+ - rho s_-` (`rho` is 1 with a concave part, else 0), and a spline of the noise level for every channel of `W`.
///
/// # Reference
/// A. Goujon, S. Neumayer, P. Bohra, S. Ducotterd, M. Unser, "A neural-network-based convex regularizer for inverse problems", IEEE
/// Transactions on Computational Imaging 9 (2023); A. Goujon, S. Neumayer, M. Unser, "Learning weakly convex regularizers for
/// convergent image-reconstruction algorithms", SIAM Journal on Imaging Sciences 17 (2024).
#[derive(Debug)]
pub struct RidgeNetwork {
    filters: Rc<Filters>,
    spline: Rc<OddSpline>,
    /// At the knots, for the hash.
    values: Tensor,
    /// Logarithms at equidistant levels from 0 to 30/255, `[channels, levels]` in float64.
    scalings: Tensor,
}

/// Where the last knot of `s_+` and `s_-` lies.
const LAST_KNOT: f64 = 0.1;

/// The largest noise level, in units of 1/255.
const LARGEST_LEVEL: f64 = 30.0;

impl RidgeNetwork {
    /// The noise levels that the weights are made for, of values in `[0, 1]`.
    pub const LEVELS: RangeInclusive<f64> = 0.0..=LARGEST_LEVEL / 255.0;

    /// The weights of a published checkpoint, `CRR.pth` or `WCRR.pth`: any number of layers, of channels and of knots.
    ///
    /// # Errors
    /// Those of [`smalti_base::pytorch_file::load_state_dict`]; [`Error::Content`] where tensors are missing or of another size, or
    /// the weights are those of the other kind.
    pub fn load(path: &Path, convexity: Convexity) -> Result<Self> {
        let file = file::load(path, convexity == Convexity::Weakly, LAST_KNOT)?;
        Self::new(&file.kernels, (&file.convex, file.factor), (&file.concave, convexity), &file.scalings)
    }

    /// From kernels `[outputs, inputs, k, k]`, the coefficients `[1, n]` of `s_+` with the factor `m` and of `s_-`, each before its
    /// slopes are cut off to `[0, 1]`, and the logarithms `[channels, levels]` of the scalings.
    ///
    /// # Errors
    /// [`Error::Shape`] where they do not fit; [`Error::Value`] where filters see nothing.
    pub fn new(
        kernels: &[Tensor],
        (convex, factor): (&Tensor, f64),
        (concave, convexity): (&Tensor, Convexity),
        scalings: &Tensor,
    ) -> Result<Self> {
        let mut inputs = 1;
        for kernel in kernels {
            match kernel.size()[..] {
                [outputs, i, k, l] if i == inputs && k == l && outputs * k > 0 => inputs = outputs,
                _ => {
                    let expected = format!("[any, {inputs}, k, k]");
                    return Err(Error::shape("kernel of a ridge regularizer", expected, kernel.size()));
                }
            }
        }
        let knots = convex.numel();
        if knots < 5 || knots % 2 == 0 || concave.numel() != knots {
            let got = format!("{knots} and {}", concave.numel());
            return Err(Error::shape("knots of a ridge regularizer", "an odd number from 5 on, twice", got));
        }
        if !matches!(scalings.size()[..], [c, levels] if c == inputs && levels > 1) {
            let expected = format!("[{inputs}, 2 or more]");
            return Err(Error::shape("scalings of a ridge regularizer", expected, scalings.size()));
        }
        let spacing = 2.0 * LAST_KNOT / (knots - 1) as f64;
        let part = |coefficients: &Tensor| -> Result<Vec<f64>> {
            let flat = coefficients.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
            Ok(projected(&Vec::<f64>::try_from(flat.f_flatten(0, -1)?)?, spacing))
        };
        let rho = if convexity == Convexity::Weakly { 1.0 } else { 0.0 };
        let values: Vec<f64> =
            part(convex)?.iter().zip(part(concave)?).map(|(up, down)| factor * up - rho * down).collect();
        Ok(Self {
            filters: Rc::new(Filters::new(kernels)?),
            spline: Rc::new(OddSpline::new(&values, spacing)),
            values: Tensor::from_slice(&values),
            scalings: scalings.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?,
        })
    }

    /// By how many pixels filters are larger than one pixel: 12 of the published ones.
    pub fn reach(&self) -> i64 {
        self.filters.reach()
    }

    /// A hash of all that it computes with.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn hash(&self) -> Result<String> {
        data_hash(&self.filters.tensors().chain([&self.values, &self.scalings]).collect::<Vec<_>>())
    }

    /// The regularizer of images of `domain` for the noise level `sigma`, one of [`RidgeNetwork::LEVELS`] of images whose values are
    /// divided by `width`: `width` is 1 where black is 0 and white 1.
    ///
    /// # Errors
    /// [`Error::Value`] where `sigma` or `width` is out of range, or images are smaller than filters; [`Error::Shape`] for volumes.
    pub fn regularizer(&self, domain: Space, sigma: f64, width: f64) -> Result<RidgeRegularizer> {
        let [rows, columns] = domain.plane("images for a ridge regularizer")?;
        if rows.min(columns) <= self.reach() || domain.is_empty() {
            let expected = format!("more than {} pixels, the reach of its filters", self.reach());
            return Err(Error::value("side of images for a ridge regularizer", expected, rows.min(columns)));
        }
        if !(Self::LEVELS.contains(&sigma) && sigma > 0.0) {
            let expected = format!("above 0, at most {:.4}", Self::LEVELS.end());
            return Err(Error::value("noise level of a ridge regularizer", expected, sigma));
        }
        if !(width > 0.0 && width.is_finite()) {
            return Err(Error::value("width of the range of values", "a positive number", width));
        }
        let level = sigma * 255.0;
        let last = self.scalings.size()[1] - 1;
        let u = level / LARGEST_LEVEL * last as f64;
        let left = (u.floor() as i64).min(last - 1);
        let at = |k: i64| self.scalings.f_narrow(1, k, 1);
        let logs = at(left)? * (left as f64 + 1.0 - u) + at(left + 1)? * (u - left as f64);
        let scalings = logs.f_exp()?.f_flatten(0, -1)? / ((level + SMALL) * width);
        let scalings = Vec::<f64>::try_from(scalings)?;
        let (filters, spline) = (self.filters.clone(), self.spline.clone());
        Ok(RidgeRegularizer { filters, spline, domain, scalings })
    }
}

/// Keeps the scalings of noise level 0 finite, as published.
const SMALL: f64 = 1e-5;

/// A ridge regularizer: the mean over pixels `p` of
///
/// ```text
/// sum over channels c of psi(a_c (W_c x)(p)) / a_c^2,   a_c = exp(l_c(255 sigma)) / ((255 sigma + 1e-5) width)
/// ```
///
/// with the filters `W`, whose norm is 1 and whose sum is 0, the potential `psi` and the logarithms `l_c` of a [`RidgeNetwork`]. The mean
/// goes over the positions where all of a filter lies inside the image, 12 pixels fewer along an axis for the published weights;
/// [`Reflected`](crate::Reflected) by half of that makes it all pixels. Channels of images are treated one by one.
///
/// The second derivative of `psi` lies between the slopes of `psi'`: `R` is convex or, with a concave part, `(positions) R(x) +
/// |x|^2 / 2` is. Constants are not seen: `R(x + t) = R(x)`, `R(0) = 0`.
///
/// # Conventions
/// The authors minimise `1/2 |A x - y|^2 + lambda R` with the sum over pixels: `lambda` is what
/// [`from_sums`](crate::weight::from_sums) converts. They surround images by zeros in every convolution, here nothing is assumed beyond
/// the image; the two agree but for the 12 pixels at the border.
///
/// # Shapes
/// `x: [1, C, H, W]`.
#[derive(Debug)]
pub struct RidgeRegularizer {
    filters: Rc<Filters>,
    spline: Rc<OddSpline>,
    domain: Space,
    /// `a_c`.
    scalings: Vec<f64>,
}

/// Values of filtered images that a piece of work holds at a time: they stay in the cache of a core.
const PIECE: i64 = 1 << 19;

impl RidgeRegularizer {
    /// The number of positions that the mean goes over.
    fn positions(&self) -> i64 {
        let reach = self.filters.reach();
        self.domain.channels * (self.domain.height - reach) * (self.domain.width - reach)
    }

    /// A Lipschitz constant of the gradient: `|grad R(x) - grad R(y)| <= L |x - y|`.
    pub fn lipschitz(&self) -> f64 {
        let (least, largest) = self.spline.slopes();
        largest.max(-least) / self.positions() as f64
    }

    /// The least `m >= 0` that is known to make `R(x) + m/2 |x|^2` convex: 0 where `R` is convex.
    pub fn weak_convexity(&self) -> f64 {
        (-self.spline.slopes().0).max(0.0) / self.positions() as f64
    }

    /// The value, and where it is asked for the gradient, by strips of rows, each on a thread of its own.
    fn evaluate(&self, x: &Tensor, gradient: bool) -> Result<(f64, Option<Tensor>)> {
        if x.size() != self.domain.batch(1) || !matches!(x.kind(), Kind::Float | Kind::Double) {
            let expected = format!("{:?}, float32 or float64", self.domain.batch(1));
            let got = format!("{:?}, {:?}", x.size(), x.kind());
            return Err(Error::shape("image for a ridge regularizer", expected, got));
        }
        let Space { channels, height, width, .. } = self.domain;
        let reach = self.filters.reach();
        let (rows, filters) = (height - reach, self.filters.channels());
        // A GPU takes all rows at once.
        let piece = if x.device() == Device::Cpu { PIECE } else { i64::MAX };
        let strip = (piece / (filters * (width - reach))).clamp(8, rows.max(8));
        let strips: Vec<(i64, i64, i64)> = (0..channels)
            .flat_map(|c| (0..rows).step_by(strip as usize).map(move |row| (c, row, strip.min(rows - row))))
            .collect();
        let kernels = Shared::new(self.filters.like(x)?);
        let image = Shared::new(x.detach());
        let (spline, scalings) = (self.spline.as_ref(), &self.scalings[..]);
        let parts = parallel::map(strips.len(), |k| {
            let (c, row, length) = strips[k];
            let seen = image.f_narrow(1, c, 1)?.f_narrow(2, row, length + reach)?.f_contiguous()?;
            let (sum, slopes) = bend(&filters::apply(&kernels, &seen)?, spline, scalings)?;
            let back = match gradient {
                true => Some(filters::adjoint(&kernels, &slopes)?),
                false => None,
            };
            Ok((sum, back))
        })?;
        let n = self.positions() as f64;
        let value = parts.iter().map(|(sum, _)| sum).sum::<f64>() / n;
        if !gradient {
            return Ok((value, None));
        }
        let total = image.f_zeros_like()?.f_contiguous()?;
        for (&(c, row, length), (_, back)) in strips.iter().zip(parts) {
            if let Some(back) = back {
                let _ = total.f_narrow(1, c, 1)?.f_narrow(2, row, length + reach)?.f_add_(&back)?;
            }
        }
        Ok((value, Some(total / n)))
    }
}

/// The sum of the potentials of filtered images `[1, channels, H, W]`, and their slopes, of the same shape, dtype and device.
fn bend(filtered: &Tensor, spline: &OddSpline, scalings: &[f64]) -> Result<(f64, Tensor)> {
    fn all<T: Copy + Into<f64>>(
        values: &mut [T],
        spline: &OddSpline,
        scalings: &[f64],
        round: impl Fn(f64) -> T,
    ) -> f64 {
        let length = (values.len() / scalings.len()).max(1);
        values.chunks_mut(length).zip(scalings).map(|(channel, &a)| spline.bend(channel, a, &round)).sum()
    }
    let flat = filtered.f_contiguous()?.f_flatten(0, -1)?;
    let (sum, slopes) = match flat.kind() {
        Kind::Double => {
            let mut values = Vec::<f64>::try_from(&flat)?;
            (all(&mut values, spline, scalings, |slope| slope), Tensor::from_slice(&values))
        }
        _ => {
            let mut values = Vec::<f32>::try_from(&flat)?;
            (all(&mut values, spline, scalings, |slope| slope as f32), Tensor::from_slice(&values))
        }
    };
    Ok((sum, slopes.f_reshape(filtered.size())?.f_to_device(filtered.device())?))
}

impl Regularizer for RidgeRegularizer {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.evaluate(x, false)?.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (value, gradient) = self.evaluate(x, true)?;
        Ok((value, gradient.unwrap_or_else(|| x.zeros_like())))
    }
}
