//! DPIR: half-quadratic splitting with a denoiser that was trained before.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::pairs::{SYMMETRIES, turned, turned_back};
use crate::problem::{InverseProblem, Noise};
use crate::run::Run;
use crate::settings::SettingFault;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use smalti_operators::{ConjugateGradients, DataStep, Weights};
use smalti_priors::{Denoiser, DnCnn, DruNet, FfdNet};
use smalti_solvers::{PlugAndPlay, PlugAndPlaySettings};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Tensor;

/// DPIR.
#[derive(Debug)]
pub struct Dpir;

/// For levels `sigma_k` that fall from the first to the last in equal ratios:
/// `x_k = argmin_x 1/2 sum w (A x - y)^2 + lambda / (2 sigma_k^2) |x - z_(k-1)|^2`, `z_k = D(x_k, sigma_k)` ([`PlugAndPlay`]).
///
/// `w` is the inverse variance of the observed values: of photon counts `mu_max^2` times the count, the curvature of their likelihood
/// where it is largest.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct DpirSettings {
    /// The denoiser, and its file.
    #[garde(dive)]
    pub denoiser: DenoiserChoice,
    /// Iterations, 1 to 1000.
    #[garde(range(min = 1, max = 1000))]
    pub iterations: u64,
    /// The first noise level of the denoiser, a share of the range of values that is shown from black to white: one that it is made for.
    #[garde(range(min = 1e-6, max = 1.0))]
    pub sigma_start: f64,
    /// The last one.
    #[garde(range(min = 1e-6, max = 1.0))]
    pub sigma_end: f64,
    /// What couples the image and the denoised one, above 0, at most 1000; 0.23 where not given.
    #[serde(default = "lambda")]
    #[garde(range(min = 1e-6, max = 1000.0))]
    pub lambda: f64,
    /// What the standard deviation of the noise is multiplied by in the weights of the data, 0.001 to 1000; 1 where not given.
    #[serde(default = "one")]
    #[garde(range(min = 1e-3, max = 1000.0))]
    pub noise_factor: f64,
    /// Whether iterations turn and mirror the image for the denoiser, each in another of eight ways; so where not given.
    #[serde(default = "yes")]
    #[garde(skip)]
    pub symmetries: bool,
    /// Steps of conjugate gradients at most where data steps have no closed form, 1 to 10,000; 50 where not given.
    #[serde(default = "steps")]
    #[garde(range(min = 1, max = 10_000))]
    pub conjugate_gradients: u64,
}

fn lambda() -> f64 {
    0.23
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn steps() -> u64 {
    50
}

/// A denoiser with its file, relative to the folder of the data.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum DenoiserChoice {
    /// [`FfdNet`], for levels up to 75/255: `FFDNet_gray.mat`.
    Ffdnet(#[garde(length(min = 1))] String),
    /// [`DnCnn`], for levels from 25/255 to 50/255: `dncnn_25.pth`.
    Dncnn(#[garde(length(min = 1))] String),
    /// [`DruNet`], for levels up to 50/255: `drunet_gray.pth`.
    Drunet(#[garde(length(min = 1))] String),
}

impl DenoiserChoice {
    fn file(&self) -> &str {
        let (Self::Ffdnet(file) | Self::Dncnn(file) | Self::Drunet(file)) = self;
        file
    }

    fn load(&self, path: &Path) -> Result<Box<dyn Denoiser>> {
        Ok(match self {
            Self::Ffdnet(_) => Box::new(FfdNet::load(path)?),
            Self::Dncnn(_) => Box::new(DnCnn::load(path)?),
            Self::Drunet(_) => Box::new(DruNet::load(path)?),
        })
    }

    /// What is wrong with a noise level, before the file is read.
    fn misfit(&self, sigma: f64) -> Option<String> {
        let levels = match self {
            Self::Ffdnet(_) => FfdNet::LEVELS,
            Self::Dncnn(_) => DnCnn::LEVELS,
            Self::Drunet(_) => DruNet::LEVELS,
        };
        let (low, high) = (levels.start(), levels.end());
        (!levels.contains(&sigma))
            .then(|| format!("{sigma} is no level of the denoiser: {low:.4} to {high:.4}"))
    }
}

impl Method for Dpir {
    const KEY: &'static str = "dpir";
    const TITLE: &'static str = "DPIR";
    const PAPERS: &'static [&'static str] = &[
        "K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte. Plug-and-play image restoration with deep denoiser prior. IEEE \
         Transactions on Pattern Analysis and Machine Intelligence 44(10), 2022.",
        "K. Zhang, W. Zuo, L. Zhang. FFDNet: toward a fast and flexible solution for CNN-based image denoising. IEEE Transactions on \
         Image Processing 27(9), 2018.",
    ];
    const LEARNS: Learns = Learns::Nothing;
    const STARTS: bool = true;
    type Settings = DpirSettings;

    fn check(
        settings: &DpirSettings,
        _instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        for (key, sigma) in [("sigma_start", settings.sigma_start), ("sigma_end", settings.sigma_end)] {
            if let Some(problem) = settings.denoiser.misfit(sigma) {
                return Err((key.into(), problem));
            }
        }
        Ok(())
    }

    fn prepare(settings: &DpirSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let file = settings.denoiser.file();
        let path = from.folder.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
        if !path.exists() {
            let remedy = "`cargo xtask fetch-data --only weights` brings those that can be fetched";
            return Ok(Prepared::Missing(format!("{} is not there; {remedy}", path.display())));
        }
        let mut denoiser = settings.denoiser.load(&path)?;
        denoiser.move_to(run.device)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let note = format!("denoiser {} of {name}, trained before this run", denoiser.name());
        let learned = Learned { identity: denoiser.hash()?, curve: None, note };
        Prepared::ready(WithDenoiser { settings: settings.clone(), denoiser, learned })
    }
}

struct WithDenoiser {
    settings: DpirSettings,
    denoiser: Box<dyn Denoiser>,
    learned: Learned,
}

impl WithDenoiser {
    /// `x` without its noise, as the denoiser sees it: plane by plane, black 0 and white 1; of volumes the planes across another axis
    /// in every iteration.
    fn denoise(&self, problem: &InverseProblem, x: &Tensor, sigma: f64, k: u64) -> Result<Tensor> {
        let (low, width) = (problem.range.low, problem.range.high - problem.range.low);
        let volume = x.dim() == 5;
        let across = if volume { 2 + (k % 3) as i64 } else { 1 };
        let front = x.f_transpose(1, across)?;
        let size = front.size();
        let [.., rows, columns] = size[..] else { return Ok(x.shallow_clone()) };
        let planes = front.f_reshape([-1, 1, rows, columns])?.f_sub_scalar(low)?.f_div_scalar(width)?;
        let way = if self.settings.symmetries { k as usize % SYMMETRIES } else { 0 };
        let denoised = turned_back(&self.denoiser.denoise(&turned(&planes, way)?, sigma / width)?, way)?;
        let back =
            denoised.f_mul_scalar(width)?.f_add_scalar(low)?.f_reshape(&size)?.f_transpose(1, across)?;
        let back = back.f_to_kind(x.kind())?.f_contiguous()?;
        Ok(if problem.range.nonnegative { back.f_clamp_min(0.0)? } else { back })
    }
}

impl Reconstructor for WithDenoiser {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let &DpirSettings {
            iterations,
            sigma_start,
            sigma_end,
            lambda,
            noise_factor,
            conjugate_gradients,
            ..
        } = &self.settings;
        let shrink = noise_factor.powi(-2);
        let weights = match &problem.noise {
            Noise::Gaussian { .. } => Weights::Uniform(shrink / problem.noise.scale().powi(2)),
            Noise::Poisson(photons) => {
                Weights::Each(photons.counts(&problem.observation)? * (photons.mu_max().powi(2) * shrink))
            }
        };
        let data = DataStep::new(&problem.operator, &problem.observation, weights)?;
        let width = problem.range.high - problem.range.low;
        let by = ConjugateGradients { max_iterations: conjugate_gradients, ..Default::default() };
        let settings = PlugAndPlaySettings::dpir(iterations, sigma_start * width, sigma_end * width)
            .with_lambda(lambda)
            .with_conjugate_gradients(by);
        let denoise = |x: &Tensor, sigma: f64, k: u64| self.denoise(problem, x, sigma, k);
        let splitting = PlugAndPlay::new(data, denoise, &problem.start.image, settings)?;
        let image = run.iterate("splitting", iterations, splitting)?.0;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
