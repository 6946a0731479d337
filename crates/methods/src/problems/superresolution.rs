//! Superresolution: a Gaussian blur, every `stride`-th pixel, white noise.

use crate::instrument::{Instrument, LEAST_SCORED, Role};
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind, whole};
use crate::registry::{Problem, ProblemKey, to_toml};
use crate::settings::Misfit;
use crate::synthetic::microstructure;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Border, Convolution, Extension, Operator, interpolate};
use std::time::Instant;
use tch::Tensor;

/// Superresolution of grey images.
pub struct Superresolution;

/// Rows and columns of a drawn image: those of the slices that it stands for.
const PHANTOM_SIDE: i64 = 600;

/// How the image is extended where the blur kernel looks beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Periodically, on the right and at the bottom only.
    WrapAfter,
    /// Not at all: only where the whole kernel lies within the image.
    Valid,
    /// By reflection on all sides.
    Reflect,
}

impl Form {
    /// The extension for a kernel of `kernel` pixels a side.
    pub fn extension(self, kernel: i64) -> Extension {
        match self {
            Self::WrapAfter => Extension::WrapAfter,
            Self::Valid => Extension::Valid,
            Self::Reflect => Extension::Reflect { before: (kernel - 1) / 2, after: kernel / 2 },
        }
    }
}

/// The forward operator, its noise and the protocol.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Side of the kernel in pixels, 1 to 63.
    #[garde(range(min = 1, max = 63))]
    pub kernel_size: i64,
    /// Standard deviation of the Gaussian in pixels, 0.05 to 30.
    #[garde(range(min = 0.05, max = 30.0))]
    pub sigma: f64,
    /// Distance of observed pixels in image pixels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub stride: i64,
    /// What lies beyond the image.
    #[garde(skip)]
    pub form: Form,
    /// Standard deviation of the white Gaussian noise, 0 to 1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub noise: f64,
    /// Pixels cut from every side before an image is scored, 0 to 10,000.
    #[garde(range(min = 0, max = 10_000))]
    pub crop: i64,
    /// Images are cut to their central square of so many pixels, 8 to 100,000; whole where not given.
    #[serde(default)]
    #[garde(inner(range(min = 8, max = 100_000)))]
    pub size: Option<i64>,
}

impl Problem for Superresolution {
    const KEY: ProblemKey = ProblemKey::Superresolution;
    const NAME: &'static str = "superresolution";
    const TITLE: &'static str = "Superresolution";
    type Settings = Settings;

    fn check(settings: &Settings) -> std::result::Result<(), Misfit> {
        let &Settings { size, stride, crop, .. } = settings;
        let Some(size) = size else { return Ok(()) };
        if size % stride != 0 {
            return Err(("size".into(), format!("{size} is not a multiple of the stride {stride}")));
        }
        if size < 2 * crop + LEAST_SCORED {
            let problem = format!("a crop of {crop} leaves too little of {size} pixels to score");
            return Err(("size".into(), problem));
        }
        Ok(())
    }

    fn instrument(settings: &Settings) -> Result<Box<dyn Instrument>> {
        Ok(Box::new(Camera(settings.clone())))
    }
}

/// A camera that sees images blurred and coarse.
struct Camera(Settings);

impl Camera {
    fn operator(&self, domain: Space) -> Result<Convolution> {
        let Settings { kernel_size, sigma, stride, form, .. } = self.0;
        Convolution::superresolution(domain, kernel_size, sigma, stride, form.extension(kernel_size))
    }

    /// The largest space of images that are observed as `range`.
    fn observed_as(&self, range: Space) -> Space {
        let Settings { kernel_size, stride, form, .. } = self.0;
        let along = |n: i64| match form {
            Form::WrapAfter | Form::Reflect => n * stride,
            Form::Valid => n * stride + kernel_size - 1,
        };
        Space::image(range.channels, along(range.height), along(range.width))
    }
}

impl Instrument for Camera {
    fn key(&self) -> ProblemKey {
        ProblemKey::Superresolution
    }

    fn identity(&self) -> String {
        to_toml(&self.0)
    }

    fn domain(&self) -> Option<Space> {
        self.0.size.map(|size| Space::image(1, size, size))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let truth = centre(name, image, self.0.size)?;
        // What does not fit the operator or the protocol is said here.
        let domain = Space::of(name, &truth)?;
        self.operator(domain)?;
        if domain.height.min(domain.width) < 2 * self.0.crop + LEAST_SCORED {
            let least = 2 * self.0.crop + LEAST_SCORED;
            let expected = format!(
                "at least {least} x {least} pixels, of which a crop of {} leaves something",
                self.0.crop
            );
            return Err(Error::shape(name, expected, truth.size()));
        }
        Ok(truth)
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let exact = self.operator(Space::of("image", truth)?)?.apply(truth)?;
        let noise = seed.at("observation noise", 0).normal(&exact.size());
        Ok(exact.f_add(&(noise.f_to_device(truth.device())? * self.0.noise))?)
    }

    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem> {
        let range = Space::of(name, observation)?;
        let operator = self.operator(domain.unwrap_or_else(|| self.observed_as(range)))?;
        operator.range().check(name, observation)?;
        let clock = Instant::now();
        let border = if self.0.form == Form::WrapAfter { Border::Periodic } else { Border::Clamp };
        let image = interpolate(observation, operator.grid(), operator.domain(), border)?;
        let seconds = clock.elapsed().as_secs_f64();
        let wanted = whole(operator.domain());
        Ok(InverseProblem {
            name: name.to_owned(),
            operator: Box::new(operator),
            noise: Noise::Gaussian { sigma: self.0.noise },
            observation: observation.shallow_clone(),
            start: Start { image, kind: StartKind::Interpolation, seconds },
            range: Range::UNIT,
            wanted,
        })
    }

    fn phantom(&self, _role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        microstructure(PHANTOM_SIDE, PHANTOM_SIDE, seed, index)
    }

    fn is_published_protocol(&self) -> bool {
        self.0.size.is_none()
    }

    fn range(&self) -> Range {
        Range::UNIT
    }

    fn scored(&self, domain: Space) -> Vec<(i64, i64)> {
        let crop = self.0.crop;
        vec![(crop, domain.height - 2 * crop), (crop, domain.width - 2 * crop)]
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let Settings { kernel_size, sigma, stride, form, noise, crop, size } = self.0;
        let beyond = match form {
            Form::WrapAfter => "image extended periodically on the right and at the bottom",
            Form::Valid => "only where the whole kernel lies within the image",
            Form::Reflect => "image extended by reflection",
        };
        let images = match size {
            Some(size) => format!("cut to the central {size} × {size} px"),
            None => "whole".to_owned(),
        };
        vec![
            (
                "Operator",
                format!(
                    "{kernel_size} × {kernel_size} Gaussian blur, σ = {sigma} px, every {stride}th pixel; {beyond}"
                ),
            ),
            ("Noise", format!("white, Gaussian, σ = {noise}, on values in [0, 1]")),
            ("Images", images),
            ("Score", format!("PSNR (range 1) and SSIM (7 × 7 uniform window) without the outer {crop} px")),
        ]
    }
}

/// The central square of `size` pixels of an image, or all of it.
pub(super) fn centre(name: &str, image: &Tensor, size: Option<i64>) -> Result<Tensor> {
    let Some(size) = size else { return Ok(image.shallow_clone()) };
    let Space { height, width, .. } = Space::of(name, image)?;
    if height.min(width) < size {
        return Err(Error::shape(name, format!("at least {size} x {size} pixels"), image.size()));
    }
    Ok(image.f_narrow(2, (height - size) / 2, size)?.f_narrow(3, (width - size) / 2, size)?.f_contiguous()?)
}
