//! Denoisers: priors that splitting methods plug in.

pub(crate) mod convolutions;
pub mod dncnn;
pub mod drunet;
pub mod ffdnet;

use smalti_base::{Error, Result, Seed};
use std::ops::RangeInclusive;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// An estimate of an image from itself with white noise: what a splitting method takes for the proximal map of a prior.
///
/// # Shapes
/// Grey images `[B, 1, H, W]` of any size, values nominally in `[0, 1]`, to the same.
pub trait Denoiser: std::fmt::Debug {
    /// The name for readers.
    fn name(&self) -> &'static str;

    /// The standard deviations of the noise that it is made for, in the unit of the values.
    fn levels(&self) -> RangeInclusive<f64>;

    /// The image without its noise of standard deviation `sigma`, in float32, without a graph.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not `[B, 1, H, W]`, floating-point, on the device of the denoiser; [`Error::Value`] where `sigma` is
    /// not one of [`Denoiser::levels`].
    fn denoise(&self, x: &Tensor, sigma: f64) -> Result<Tensor>;

    /// Moves it to a device.
    ///
    /// # Errors
    /// Those of libtorch.
    fn move_to(&mut self, device: Device) -> Result<()>;

    /// A hash of all that it computes with.
    ///
    /// # Errors
    /// Those of libtorch.
    fn hash(&self) -> Result<String>;
}

/// Whether `x` and `sigma` are what a denoiser takes.
pub(crate) fn check(denoiser: &dyn Denoiser, x: &Tensor, sigma: f64, device: Device) -> Result<()> {
    let fits = matches!(x.size()[..], [_, 1, h, w] if h > 0 && w > 0) && x.is_floating_point();
    if !fits || x.device() != device {
        let expected = format!("floating-point [B, 1, H, W] on {device:?}");
        let got = format!("{:?} {:?} on {:?}", x.kind(), x.size(), x.device());
        return Err(Error::shape(format!("image for {}", denoiser.name()), expected, got));
    }
    let levels = denoiser.levels();
    if levels.contains(&sigma) {
        return Ok(());
    }
    let expected = format!("{:.4} to {:.4} on values in [0, 1]", levels.start(), levels.end());
    Err(Error::value(format!("noise level of {}", denoiser.name()), expected, sigma))
}

/// What is left of the squared error of a drawn image after denoising, as a share; the noise has the level of
/// [`PROBE_LEVEL`]. Networks from files with exchanged axes, channels in another order or another meaning of their output leave more
/// than [`LARGEST_SHARE`].
///
/// # Errors
/// Those of the denoiser.
pub fn error_left(denoiser: &dyn Denoiser, device: Device) -> Result<f64> {
    // Stripes in two directions, and an edge between them.
    let index = |size: [i64; 2]| -> Result<Tensor> {
        Ok(Tensor::f_arange(PROBE_SIDE, (Kind::Float, Device::Cpu))?.f_reshape(size)?)
    };
    let (row, column) = (index([PROBE_SIDE, 1])?, index([1, PROBE_SIDE])?);
    let askew = (&row * 0.9 + &column * 0.35).f_sin()?;
    let steep = (&column * 0.8 - &row * 0.1).f_sin()?;
    let side = (&row * 0.6 + &column).f_gt(0.8 * PROBE_SIDE as f64)?;
    let stripes = steep.f_where_self(&side, &askew)? * 0.2;
    let clean = stripes.f_add(&(side.f_to_kind(Kind::Float)? * 0.15))? + 0.4;
    let clean = clean.f_reshape([1, 1, PROBE_SIDE, PROBE_SIDE])?;
    let levels = denoiser.levels();
    let sigma = PROBE_LEVEL.clamp(*levels.start(), *levels.end());
    let noise = Seed::new(1).at("noise of the probe", 0).normal(&clean.size()) * sigma;
    let denoised =
        denoiser.denoise(&(&clean + &noise).f_to_device(device)?, sigma)?.f_to_device(Device::Cpu)?;
    // Without the border, where networks see zeros.
    let inner = PROBE_SIDE - 2 * PROBE_BORDER;
    let squared = |t: &Tensor| {
        let inner = t.f_narrow(2, PROBE_BORDER, inner)?.f_narrow(3, PROBE_BORDER, inner)?;
        Ok::<_, Error>(inner.f_square()?.f_mean(Kind::Double)?.double_value(&[]))
    };
    Ok(squared(&(denoised - clean))? / squared(&noise)?)
}

const PROBE_SIDE: i64 = 64;
const PROBE_BORDER: i64 = 8;

/// The standard deviation of the noise of [`error_left`].
pub const PROBE_LEVEL: f64 = 25.0 / 255.0;

/// What a denoiser leaves of the squared error at most.
pub const LARGEST_SHARE: f64 = 0.3;

/// Whether what was read from a file denoises, on the CPU.
///
/// # Errors
/// [`Error::Content`] where it does not: its numbers then mean something else than they were taken for.
pub fn check_that_it_denoises(denoiser: &dyn Denoiser, path: &Path) -> Result<()> {
    let left = error_left(denoiser, Device::Cpu)?;
    if left <= LARGEST_SHARE {
        return Ok(());
    }
    let problem = format!(
        "holds weights that do not denoise: as {} they leave {:.0} % of the squared error of a drawn image",
        denoiser.name(),
        100.0 * left
    );
    Err(Error::content(
        path,
        problem,
        "give the file of its authors; axes or channels may be in another order",
    ))
}
