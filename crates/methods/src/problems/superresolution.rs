//! Superresolution: a blur, every `stride`-th pixel, white noise.

use super::camera::{Blur, Camera, check_size};
use crate::instrument::{Instrument, Problem};
use crate::problem::ProblemKey;
use crate::settings::{SettingFault, check_form, to_toml};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::bytes_hash;
use smalti_base::files::read;
use smalti_base::{Error, Result};
use smalti_operators::{Boundary, kernel::gaussian};
use std::path::Path;

/// Superresolution of grey images.
#[derive(Debug)]
pub struct Superresolution;

/// Size and standard deviation of a Gaussian of a similar width as the published estimate.
const STAND_IN: (i64, f64) = (15, 1.0);

/// The forward operator `A x + b`, its noise and the protocol.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct SuperresolutionSettings {
    /// Side of a Gaussian kernel in pixels, 1 to 63.
    #[garde(inner(range(min = 1, max = 63)))]
    pub kernel_size: Option<i64>,
    /// Standard deviation of the Gaussian in pixels, 0.05 to 30.
    #[garde(inner(range(min = 0.05, max = 30.0)))]
    pub sigma: Option<f64>,
    /// In place of the Gaussian an operator that was estimated from a registered pair of images, periodic
    /// ([`smalti_operators::Biased::load`]): a file of PyTorch with `kernel` and `bias`, relative to the data folder.
    #[garde(inner(length(min = 1)))]
    pub estimated: Option<String>,
    /// Distance of observed pixels in image pixels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub stride: i64,
    /// What lies beyond the image.
    #[garde(skip)]
    pub form: Boundary,
    /// Standard deviation of the white Gaussian noise, 0 to 1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub noise: f64,
    /// Pixels cut from every side before an image is scored, 0 to 10,000.
    #[garde(range(min = 0, max = 10_000))]
    pub crop: i64,
    /// Whether whole images are scored, too; not where not given.
    #[serde(default)]
    #[garde(skip)]
    pub score_whole: bool,
    /// Images are cut to their central square of so many pixels, 8 to 100,000; whole where not given.
    #[serde(default)]
    #[garde(inner(range(min = 8, max = 100_000)))]
    pub size: Option<i64>,
}

impl Problem for Superresolution {
    const KEY: ProblemKey = ProblemKey::Superresolution;
    const NAME: &'static str = "superresolution";
    const TITLE: &'static str = "Superresolution";
    type Settings = SuperresolutionSettings;

    fn check(settings: &SuperresolutionSettings) -> std::result::Result<(), SettingFault> {
        let &SuperresolutionSettings { size, stride, crop, form, .. } = settings;
        let misfit = |key: &str, problem: &str| Err((key.to_owned(), problem.to_owned()));
        match (&settings.estimated, settings.kernel_size, settings.sigma) {
            (None, None, _) => return misfit("kernel_size", "missing field `kernel_size`"),
            (None, _, None) => return misfit("sigma", "missing field `sigma`"),
            (Some(_), None, None) if form != Boundary::Periodic => {
                return misfit("form", "not wrap-after, and an estimated operator is periodic");
            }
            (None, Some(_), Some(_)) | (Some(_), None, None) => {}
            (Some(_), ..) => return misfit("estimated", "stands in place of kernel_size and sigma"),
        }
        check_form(form)?;
        check_size(size, stride, crop)
    }

    fn files(settings: &SuperresolutionSettings) -> Vec<(&'static str, String)> {
        settings.estimated.iter().map(|file| ("estimated", file.clone())).collect()
    }

    fn instrument(settings: &SuperresolutionSettings, folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        let missing = || Error::value("blur kernel", "kernel_size and sigma, or estimated", "neither");
        let gaussian = |(size, sigma)| {
            let description = format!("{size} × {size} Gaussian blur, σ = {sigma} px");
            Ok::<_, Error>((Blur::Kernel(gaussian(size, sigma)?), description))
        };
        let (blur, description) = match (&settings.estimated, folder) {
            (Some(file), Some(folder)) => {
                (Blur::Estimated(folder.join(file)), format!("estimated in {file}"))
            }
            (Some(_), None) => gaussian(STAND_IN)?,
            (None, _) => gaussian(settings.kernel_size.zip(settings.sigma).ok_or_else(missing)?)?,
        };
        let &SuperresolutionSettings { stride, form, noise, crop, score_whole, size, .. } = settings;
        let key = Self::KEY;
        // An estimated operator is what its file holds, whatever it is called.
        let identity = match &blur {
            Blur::Estimated(file) => format!("{} {}", to_toml(settings), bytes_hash(&read(file)?)),
            Blur::Kernel(_) => to_toml(settings),
        };
        Ok(Box::new(Camera {
            key,
            identity,
            blur,
            description,
            stride,
            form,
            noise,
            crop,
            score_whole,
            size,
        }))
    }
}
