//! Superresolution: a blur, every `stride`-th pixel, white noise.

use crate::instrument::{Coarse, Instrument, LEAST_SCORED, Region, Role};
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind, whole};
use crate::registry::{Problem, ProblemKey, to_toml};
use crate::settings::Misfit;
use crate::synthetic::microstructure;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Biased, Border, Convolution, Extension, LinearOperator, Operator, interpolate};
use std::path::{Path, PathBuf};
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

/// The forward operator `A x + b`, its noise and the protocol.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Side of a Gaussian kernel in pixels, 1 to 63.
    #[garde(inner(range(min = 1, max = 63)))]
    pub kernel_size: Option<i64>,
    /// Standard deviation of the Gaussian in pixels, 0.05 to 30.
    #[garde(inner(range(min = 0.05, max = 30.0)))]
    pub sigma: Option<f64>,
    /// In place of the Gaussian an operator that was estimated from a registered pair of images, periodic ([`Biased::load`]): a
    /// file of PyTorch with `kernel` and `bias`, relative to the data folder.
    #[garde(inner(length(min = 1)))]
    pub estimated: Option<String>,
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
    type Settings = Settings;

    fn check(settings: &Settings) -> std::result::Result<(), Misfit> {
        let &Settings { size, stride, crop, form, .. } = settings;
        let misfit = |key: &str, problem: &str| Err((key.to_owned(), problem.to_owned()));
        match (&settings.estimated, settings.kernel_size, settings.sigma) {
            (None, None, _) => return misfit("kernel_size", "missing field `kernel_size`"),
            (None, _, None) => return misfit("sigma", "missing field `sigma`"),
            (Some(_), None, None) if form != Form::WrapAfter => {
                return misfit("form", "not wrap-after, and an estimated operator is periodic");
            }
            (None, Some(_), Some(_)) | (Some(_), None, None) => {}
            (Some(_), ..) => return misfit("estimated", "stands in place of kernel_size and sigma"),
        }
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

    fn files(settings: &Settings) -> Vec<(&'static str, String)> {
        settings.estimated.iter().map(|file| ("estimated", file.clone())).collect()
    }

    fn instrument(settings: &Settings, folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        let blur = match (&settings.estimated, folder) {
            (Some(file), Some(folder)) => Blur::Estimated(folder.join(file)),
            (Some(_), None) => STAND_IN,
            (None, _) => {
                let missing =
                    || Error::value("blur kernel", "kernel_size and sigma, or estimated", "neither");
                let (size, sigma) = settings.kernel_size.zip(settings.sigma).ok_or_else(missing)?;
                Blur::Gaussian { size, sigma }
            }
        };
        Ok(Box::new(Camera { settings: settings.clone(), blur }))
    }
}

/// A blur kernel.
enum Blur {
    Gaussian {
        size: i64,
        sigma: f64,
    },
    /// In a file.
    Estimated(PathBuf),
}

/// Of a similar width as the published estimate.
const STAND_IN: Blur = Blur::Gaussian { size: 15, sigma: 1.0 };

/// A camera that sees images blurred and coarse.
struct Camera {
    settings: Settings,
    blur: Blur,
}

impl Camera {
    /// The operator on images that are continued as the settings say, and its bias.
    fn operator(&self, domain: Space) -> Result<Biased<Box<dyn LinearOperator>>> {
        self.operator_in(domain, self.settings.form)
    }

    fn operator_in(&self, domain: Space, form: Form) -> Result<Biased<Box<dyn LinearOperator>>> {
        let stride = self.settings.stride;
        Ok(match &self.blur {
            Blur::Estimated(file) => Biased::load(file, domain, stride)?.boxed(),
            &Blur::Gaussian { size, sigma } => {
                let blur = Convolution::superresolution(domain, size, sigma, stride, form.extension(size))?;
                Biased::new(blur, 0.0)?.boxed()
            }
        })
    }

    /// The largest space of images that are observed as `range`.
    fn observed_as(&self, range: Space) -> Space {
        let Settings { stride, form, .. } = self.settings;
        let along = |n: i64| match (form, &self.blur) {
            (Form::Valid, Blur::Gaussian { size, .. }) => n * stride + size - 1,
            _ => n * stride,
        };
        Space::image(range.channels, along(range.height), along(range.width))
    }
}

impl Instrument for Camera {
    fn key(&self) -> ProblemKey {
        ProblemKey::Superresolution
    }

    fn identity(&self) -> String {
        to_toml(&self.settings)
    }

    fn domain(&self) -> Option<Space> {
        self.settings.size.map(|size| Space::image(1, size, size))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let truth = centre(name, image, self.settings.size)?;
        // What does not fit the operator or the protocol is said here.
        let domain = Space::of(name, &truth)?;
        self.operator(domain)?;
        if domain.height.min(domain.width) < 2 * self.settings.crop + LEAST_SCORED {
            let least = 2 * self.settings.crop + LEAST_SCORED;
            let expected = format!(
                "at least {least} x {least} pixels, of which a crop of {} leaves something",
                self.settings.crop
            );
            return Err(Error::shape(name, expected, truth.size()));
        }
        Ok(truth)
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let exact = self.operator(Space::of("image", truth)?)?.apply(truth)?;
        let noise = seed.at("observation noise", 0).normal(&exact.size());
        Ok(exact.f_add(&(noise.f_to_device(truth.device())? * self.settings.noise))?)
    }

    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem> {
        let range = Space::of(name, observation)?;
        let biased = self.operator(domain.unwrap_or_else(|| self.observed_as(range)))?;
        let bias = biased.bias();
        let operator = biased.into_linear();
        operator.range().check(name, observation)?;
        let clock = Instant::now();
        let border = if self.settings.form == Form::WrapAfter { Border::Periodic } else { Border::Clamp };
        let image = interpolate(observation, operator.grid(), operator.domain(), border)?;
        let seconds = clock.elapsed().as_secs_f64();
        let wanted = whole(operator.domain());
        Ok(InverseProblem {
            name: name.to_owned(),
            operator,
            noise: Noise::Gaussian { sigma: self.settings.noise },
            observation: without(observation, bias)?,
            start: Start { image, kind: StartKind::Interpolation, seconds },
            range: Range::UNIT,
            wanted,
        })
    }

    fn coarse(&self) -> Option<Coarse> {
        let Settings { stride, form, noise, .. } = self.settings;
        (form != Form::Valid).then_some(Coarse { factor: stride, noise })
    }

    fn on_crops(&self, crops: &Tensor, form: Form) -> Result<(Tensor, Box<dyn LinearOperator>)> {
        let Space { channels, height, width, .. } = Space::of("observed crops", crops)?;
        let stride = self.settings.stride;
        let operator = self.operator_in(Space::image(channels, stride * height, stride * width), form)?;
        Ok((without(crops, operator.bias())?, operator.into_linear()))
    }

    fn phantom(&self, _role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        microstructure(PHANTOM_SIDE, PHANTOM_SIDE, seed, index)
    }

    fn is_published_protocol(&self) -> bool {
        self.settings.size.is_none()
    }

    fn range(&self) -> Range {
        Range::UNIT
    }

    fn scored(&self, domain: Space) -> Vec<(i64, i64)> {
        let crop = self.settings.crop;
        vec![(crop, domain.height - 2 * crop), (crop, domain.width - 2 * crop)]
    }

    fn regions(&self, domain: Space) -> Vec<Region> {
        let Settings { crop, score_whole, .. } = self.settings;
        let scored = |label: String| Region { label, axes: self.scored(domain) };
        if !score_whole || crop == 0 {
            return vec![scored(String::new())];
        }
        let axes = vec![(0, domain.height), (0, domain.width)];
        vec![Region { label: "whole".into(), axes }, scored(format!("{crop} px crop"))]
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let &Settings { stride, form, noise, crop, score_whole, size, .. } = &self.settings;
        let beyond = match form {
            Form::WrapAfter => "image extended periodically on the right and at the bottom",
            Form::Valid => "only where the whole kernel lies within the image",
            Form::Reflect => "image extended by reflection",
        };
        let operator = match &self.blur {
            Blur::Gaussian { size, sigma } => {
                format!("{size} × {size} Gaussian blur, σ = {sigma} px, every {stride}th pixel; {beyond}")
            }
            Blur::Estimated(_) => {
                let file = self.settings.estimated.as_deref().unwrap_or_default();
                format!("estimated in {file}, periodic, every {stride}th pixel")
            }
        };
        let images = match size {
            Some(size) => format!("cut to the central {size} × {size} px"),
            None => "whole".to_owned(),
        };
        let part = if score_whole { "of the whole image and " } else { "" };
        vec![
            ("Operator", operator),
            ("Noise", format!("white, Gaussian, σ = {noise}, on values in [0, 1]")),
            ("Images", images),
            (
                "Score",
                format!("PSNR (range 1) and SSIM (7 × 7 uniform window) {part}without the outer {crop} px"),
            ),
        ]
    }
}

/// Observed values without a bias.
fn without(observed: &Tensor, bias: f64) -> Result<Tensor> {
    Ok(if bias == 0.0 { observed.shallow_clone() } else { observed.f_sub_scalar(bias)? })
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
