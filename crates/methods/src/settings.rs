//! Settings that methods share, as they stand in files.
//!
//! Ranges are checked with [`garde`] when a file is read: every value that a method gets lies in the range that its
//! documentation names.

use crate::problem::{InverseProblem, Noise};
use garde::Validate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result};
use smalti_flows::Precision;
use smalti_operators::Boundary;
use smalti_priors::{Sampling, weight};
use smalti_solvers::AdamSettings;
use std::fmt::Debug;
use tch::Device;

/// What does not fit: the key within the settings, and the problem.
pub type SettingFault = (String, String);

/// The settings of a method or a problem: what a file says, with ranges that are checked.
pub trait Settings: DeserializeOwned + Serialize + Validate<Context = ()> + Debug + Clone + 'static {}

impl<T: DeserializeOwned + Serialize + Validate<Context = ()> + Debug + Clone + 'static> Settings for T {}

/// How a learning rate goes on over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleChoice {
    /// It stays.
    Constant,
    /// It falls to zero as half a cosine.
    Cosine,
}

impl ScheduleChoice {
    /// The schedule of a solver, after `warmup` steps in which the rate grows.
    pub fn with_warmup(self, warmup: u64) -> smalti_solvers::Schedule {
        match self {
            Self::Constant => smalti_solvers::Schedule::Constant,
            Self::Cosine => smalti_solvers::Schedule::Cosine { warmup },
        }
    }

    /// What is wrong with a warm-up of `warmup` out of `steps` steps.
    pub fn misfit(self, warmup: u64, steps: u64) -> Option<String> {
        match (warmup, self) {
            (0, _) => None,
            (_, Self::Constant) => Some("only the cosine schedule has a warm-up".into()),
            (warmup, _) if warmup >= steps => Some(format!("not less than all {steps} steps")),
            _ => None,
        }
    }
}

/// The dtype of matrix products or convolutions within a network; everything else is float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionChoice {
    /// float32.
    #[default]
    Float32,
    /// bfloat16 with float32 accumulation.
    Bfloat16,
    /// bfloat16 where the device is known to be faster in it ([`Precision::fastest`]), else float32.
    Auto,
}

impl PrecisionChoice {
    /// What it means on `device`.
    pub fn on(self, device: Device) -> Precision {
        match self {
            Self::Float32 => Precision::Full,
            Self::Bfloat16 => Precision::Bf16,
            Self::Auto => Precision::fastest(device),
        }
    }
}

/// Adam on an image.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Descent {
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate in grey values an iteration, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: ScheduleChoice,
}

impl From<Descent> for AdamSettings {
    fn from(Descent { iterations, learning_rate, schedule }: Descent) -> Self {
        Self::constant(iterations, learning_rate).with_schedule(schedule.with_warmup(0))
    }
}

/// The weight of a regularizer `R`, a mean, in one of the conventions of the literature. None of them depends on the size of the
/// image that it is used on: a published `lambda` against a sum over the observation is converted with the number of observation
/// values that it was chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// `w` in `1/n nll(A x, y) + w R(x)`, above 0, at most 1e12: a mean against a mean.
    Mean(#[garde(range(min = 1e-12, max = 1e12))] f64),
    /// `lambda` in `sum (A x - y)^2 + lambda R(x)`, without a factor 1/2; for Gaussian noise only.
    SquaredErrors(#[garde(dive)] Lambda),
    /// `lambda` in `sum nll(A x, y) + lambda R(x)`.
    Likelihood(#[garde(dive)] Lambda),
}

/// A weight against a sum over an observation.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Lambda {
    /// The weight, above 0, at most 1e12.
    #[garde(range(min = 1e-12, max = 1e12))]
    pub lambda: f64,
    /// The number of observation values that it was chosen for, 1 to 1e12.
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    pub observed: i64,
}

/// Why a weight against squared errors does not suit photon counts.
const NO_SQUARED_ERRORS: &str = "photon counts have no squared errors; take mean or likelihood";

impl Weight {
    /// Whether it is a weight for observations with `noise`, under the key `weight`.
    ///
    /// # Errors
    /// The key that does not suit it, and the problem.
    pub fn suits(self, noise: &Noise) -> std::result::Result<(), SettingFault> {
        match (self, noise) {
            (Self::SquaredErrors(_), Noise::Poisson(_)) => {
                Err(("weight.squared_errors".into(), NO_SQUARED_ERRORS.into()))
            }
            _ => Ok(()),
        }
    }

    /// `w` in `1/n nll(A x, y) + w R(x)`, for observations with `noise`.
    ///
    /// # Errors
    /// [`Error::Value`] for a weight against squared errors where the noise is not Gaussian.
    pub fn against(self, noise: &Noise) -> Result<f64> {
        match (self, noise) {
            (Self::Mean(w), _) => Ok(w),
            (Self::Likelihood(Lambda { lambda, observed }), _) => {
                weight::from_likelihood_sum(lambda, observed)
            }
            (Self::SquaredErrors(Lambda { lambda, observed }), Noise::Gaussian { .. }) => {
                weight::from_squared_error_sum(lambda, observed, noise.scale())
            }
            (Self::SquaredErrors(_), Noise::Poisson(_)) => {
                let expected = "mean or likelihood, for photon counts have no squared errors";
                Err(Error::value("weight of the regularizer", expected, "squared_errors"))
            }
        }
    }
}

/// The weight of a regularizer that is a sum over pixels, as a total variation is.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum TvWeight {
    /// `alpha` in `1/2 sum (A x - y)^2 + alpha R(x)`, above 0, at most 1e9; for Gaussian noise only.
    HalfSquaredErrors(#[garde(range(min = 1e-12, max = 1e9))] f64),
    /// `lambda` in `sum nll(A x, y) + lambda R(x)`.
    Likelihood(#[garde(dive)] Lambda),
}

impl TvWeight {
    /// Whether it is a weight for observations with `noise`, under the key `weight`.
    ///
    /// # Errors
    /// The key that does not suit it, and the problem.
    pub fn suits(self, noise: &Noise) -> std::result::Result<(), SettingFault> {
        match (self, noise) {
            (Self::HalfSquaredErrors(_), Noise::Poisson(_)) => {
                Err(("weight.half_squared_errors".into(), NO_SQUARED_ERRORS.into()))
            }
            _ => Ok(()),
        }
    }

    /// `w` in `1/n nll(A x, y) + w R(x)`, `R` being the mean over all pixels of `problem`.
    ///
    /// # Errors
    /// [`Error::Value`] for a weight against squared errors where the noise is not Gaussian.
    pub fn against(self, problem: &InverseProblem) -> Result<f64> {
        let pixels = problem.domain().len();
        match (self, &problem.noise) {
            (Self::Likelihood(Lambda { lambda, observed }), _) => weight::from_sums(lambda, pixels, observed),
            (Self::HalfSquaredErrors(alpha), Noise::Gaussian { .. }) => {
                let sigma = problem.noise.scale();
                weight::from_sums(alpha / (sigma * sigma), pixels, problem.observation.numel() as i64)
            }
            (Self::HalfSquaredErrors(_), Noise::Poisson(_)) => {
                let expected = "likelihood, for photon counts have no squared errors";
                Err(Error::value("weight of a sum over pixels", expected, "half_squared_errors"))
            }
        }
    }

    /// `alpha` in `1/2 sum (A x - y)^2 + alpha R(x)`, `R` a sum, for Gaussian noise.
    ///
    /// # Errors
    /// Those of [`TvWeight::against`].
    pub fn half_squared_errors(self, problem: &InverseProblem) -> Result<f64> {
        match self {
            Self::HalfSquaredErrors(alpha) => Ok(alpha),
            Self::Likelihood(_) => {
                let (n, sigma) = (problem.observation.numel() as f64, problem.noise.scale());
                Ok(self.against(problem)? * n / problem.domain().len() as f64 * sigma * sigma)
            }
        }
    }
}

/// Which patches of an image an iteration looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum PatchChoice {
    /// All of them.
    #[default]
    All,
    /// So many, drawn afresh in every iteration, 1 to 100 million.
    Random(#[garde(range(min = 1, max = 100_000_000))] i64),
    /// Those on a grid of this spacing in pixels; iterations go through its offsets in random order; 1 to 64.
    Grid(#[garde(range(min = 1, max = 64))] i64),
}

impl From<PatchChoice> for Sampling {
    fn from(patches: PatchChoice) -> Self {
        match patches {
            PatchChoice::All => Self::All,
            PatchChoice::Random(n) => Self::Random(n.max(1) as usize),
            PatchChoice::Grid(stride) => Self::Grid(stride),
        }
    }
}

/// A gap to reach, within limits; see `smalti_priors::wpp::DualMethod::Converge`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Converge {
    /// Gap to reach, relative to the upper bound, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub gap: f64,
    /// Most c-transforms of all patches to spend, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub evaluations: usize,
}

/// Whether the boundary of a blur is in its range, under the key `form`: reflected by 0 to 31 pixels.
///
/// # Errors
/// The key and the problem.
pub fn check_form(form: Boundary) -> std::result::Result<(), SettingFault> {
    match form {
        Boundary::ReflectBy(pixels) if !(0..=31).contains(&pixels) => {
            Err(("form.reflect-by".into(), format!("not 0 to 31 pixels, got {pixels}")))
        }
        _ => Ok(()),
    }
}

/// Settings as text: what identities are made of.
pub(crate) fn to_toml<S: Serialize>(settings: &S) -> String {
    // Settings are structs of numbers, names and lists, which TOML can hold.
    toml::to_string(settings).unwrap_or_default()
}
