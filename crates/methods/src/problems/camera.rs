//! The instrument of problems with a blur: a camera.

use crate::instrument::{Downsampling, Instrument, MIN_SCORED, Region, Role};
use crate::problem::{InverseProblem, Noise, ProblemKey, Range, Start, StartKind, whole};
use crate::settings::SettingFault;
use crate::synthetic::microstructure;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Biased, Boundary, Convolution, ImagingOperator, Operator, PixelGrid, interpolate};
use std::path::PathBuf;
use std::time::Instant;
use tch::Tensor;

/// Rows and columns of a drawn image: those of the slices that it stands for.
const PHANTOM_SIDE: i64 = 600;

/// A blur.
pub(super) enum Blur {
    /// By these weights, `[k, k]`.
    Kernel(Tensor),
    /// Periodic, in a file ([`Biased::load`]).
    Estimated(PathBuf),
}

/// A camera that sees images blurred and coarse, through white noise.
pub(super) struct Camera {
    pub(super) key: ProblemKey,
    /// All its settings.
    pub(super) identity: String,
    pub(super) blur: Blur,
    /// The blur, for readers.
    pub(super) description: String,
    /// Distance of observed pixels in image pixels.
    pub(super) stride: i64,
    /// What lies beyond the image.
    pub(super) form: Boundary,
    /// Standard deviation of the noise.
    pub(super) noise: f64,
    /// Pixels cut from every side before an image is scored.
    pub(super) crop: i64,
    /// Whether whole images are scored, too.
    pub(super) score_whole: bool,
    /// Side of the central square that images are cut to.
    pub(super) size: Option<i64>,
}

/// Whether the side of images, and the crop, suit each other and the stride.
pub(super) fn check_size(size: Option<i64>, stride: i64, crop: i64) -> std::result::Result<(), SettingFault> {
    let misfit = |problem: String| Err(("size".to_owned(), problem));
    match size {
        Some(size) if size % stride != 0 => {
            misfit(format!("{size} is not a multiple of the stride {stride}"))
        }
        Some(size) if size < 2 * crop + MIN_SCORED => {
            misfit(format!("a crop of {crop} leaves too little of {size} pixels to score"))
        }
        _ => Ok(()),
    }
}

impl Camera {
    /// The operator on images that are continued as the settings say, and its bias.
    fn operator(&self, domain: Space) -> Result<Biased<Box<dyn ImagingOperator>>> {
        self.operator_in(domain, self.form)
    }

    fn operator_in(&self, domain: Space, form: Boundary) -> Result<Biased<Box<dyn ImagingOperator>>> {
        let stride = self.stride;
        Ok(match &self.blur {
            Blur::Estimated(file) => Biased::load(file, domain, stride)?.boxed(),
            Blur::Kernel(weights) => {
                Biased::new(Convolution::new(domain, weights, form, stride)?, 0.0)?.boxed()
            }
        })
    }

    /// The largest space of images that are observed as `range`.
    fn observed_as(&self, range: Space) -> Space {
        let beyond = match (&self.blur, self.form) {
            (Blur::Kernel(weights), Boundary::Valid) => weights.size()[0] - 1,
            (Blur::Kernel(weights), Boundary::ReflectBy(pixels)) => weights.size()[0] - 1 - 2 * pixels,
            _ => 0,
        };
        let along = |n: i64| n * self.stride + beyond;
        Space::image(range.channels, along(range.height), along(range.width))
    }
}

impl Instrument for Camera {
    fn key(&self) -> ProblemKey {
        self.key
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn domain(&self) -> Option<Space> {
        self.size.map(|size| Space::image(1, size, size))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let truth = centre(name, image, self.size)?;
        // What does not fit the operator or the protocol is said here.
        let domain = Space::of(name, &truth)?;
        self.operator(domain)?;
        if domain.height.min(domain.width) < 2 * self.crop + MIN_SCORED {
            let least = 2 * self.crop + MIN_SCORED;
            let expected = format!(
                "at least {least} x {least} pixels, of which a crop of {} leaves something",
                self.crop
            );
            return Err(Error::shape(name, expected, truth.size()));
        }
        Ok(truth)
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let exact = self.operator(Space::of("image", truth)?)?.apply(truth)?;
        let noise = seed.at("observation noise", 0).normal(&exact.size());
        Ok(exact.f_add(&(noise.f_to_device(truth.device())? * self.noise))?)
    }

    fn surroundings(&self, observation: &Tensor) -> Result<Vec<Tensor>> {
        let range = Space::of("observation", observation)?;
        let bias = self.operator(self.observed_as(range))?.bias();
        Ok(vec![without(observation, bias)?])
    }

    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem> {
        let range = Space::of(name, observation)?;
        let biased = self.operator(domain.unwrap_or_else(|| self.observed_as(range)))?;
        let bias = biased.bias();
        let operator = biased.into_linear();
        operator.range().check(name, observation)?;
        let clock = Instant::now();
        let grid = operator.grid();
        let image = interpolate(observation, grid, operator.domain(), self.form)?;
        let seconds = clock.elapsed().as_secs_f64();
        let wanted = whole(operator.domain());
        Ok(InverseProblem {
            name: name.to_owned(),
            operator,
            grid: Some(grid),
            noise: self.noise(),
            observation: without(observation, bias)?,
            start: Start { image, kind: StartKind::Interpolation, seconds },
            range: Range::UNIT,
            wanted,
        })
    }

    fn downsampling(&self) -> Option<Downsampling> {
        let aligned = matches!(self.form, Boundary::Periodic | Boundary::Reflect);
        aligned.then_some(Downsampling { factor: self.stride, noise: self.noise })
    }

    fn on_crops(&self, crops: &Tensor, form: Boundary) -> Result<(Tensor, Box<dyn ImagingOperator>)> {
        let Space { channels, height, width, .. } = Space::of("observed crops", crops)?;
        let stride = self.stride;
        let operator = self.operator_in(Space::image(channels, stride * height, stride * width), form)?;
        Ok((without(crops, operator.bias())?, operator.into_linear()))
    }

    fn phantom(&self, _role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        microstructure(PHANTOM_SIDE, PHANTOM_SIDE, seed, index)
    }

    fn noise(&self) -> Noise {
        Noise::Gaussian { sigma: self.noise }
    }

    fn is_published_protocol(&self) -> bool {
        self.size.is_none()
    }

    fn range(&self) -> Range {
        Range::UNIT
    }

    fn scored(&self, domain: Space) -> Vec<(i64, i64)> {
        let crop = self.crop;
        vec![(crop, domain.height - 2 * crop), (crop, domain.width - 2 * crop)]
    }

    fn regions(&self, domain: Space) -> Vec<Region> {
        let &Self { crop, score_whole, .. } = self;
        let scored = |label: String| Region { label, axes: self.scored(domain) };
        if !score_whole || crop == 0 {
            return vec![scored(String::new())];
        }
        let axes = vec![(0, domain.height), (0, domain.width)];
        vec![Region { label: "whole".into(), axes }, scored(format!("{crop} px crop"))]
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let &Self { stride, form, noise, crop, score_whole, size, .. } = self;
        let beyond = match form {
            Boundary::Periodic => "image extended periodically on the right and at the bottom".to_owned(),
            Boundary::Valid => "only where the whole kernel lies within the image".to_owned(),
            Boundary::Reflect => "image extended by reflection".to_owned(),
            Boundary::ReflectBy(pixels) => format!("image extended by reflection, {pixels} px on every side"),
        };
        let every = if stride == 1 { String::new() } else { format!(", every {stride}th pixel") };
        let operator = match &self.blur {
            Blur::Kernel(_) => format!("{}{every}; {beyond}", self.description),
            Blur::Estimated(_) => format!("{}, periodic{every}", self.description),
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
fn centre(name: &str, image: &Tensor, size: Option<i64>) -> Result<Tensor> {
    let Some(size) = size else { return Ok(image.shallow_clone()) };
    let Space { height, width, .. } = Space::of(name, image)?;
    if height.min(width) < size {
        return Err(Error::shape(name, format!("at least {size} x {size} pixels"), image.size()));
    }
    Ok(image.f_narrow(2, (height - size) / 2, size)?.f_narrow(3, (width - size) / 2, size)?.f_contiguous()?)
}
