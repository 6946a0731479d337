//! `experiments/wppflow_*.toml`: what a WPPFlow learns from, how it is trained, and how many samples are drawn.

use super::diagnose::{Failure, FileError};
use super::parse;
use super::profiles::Profiles;
use super::wppnets::{Length, Network};
use super::{ExperimentKind, ProfileName};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_methods::problems::superresolution::Form;
use smalti_methods::settings::Schedule;
use std::path::Path;

/// A checked experiment file of this kind.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WppFlowTable {
    /// The name: that of the file without `.toml`.
    #[serde(skip)]
    #[garde(skip)]
    pub name: String,
    /// The title of the report.
    #[garde(length(min = 1))]
    pub title: String,
    /// What it is about: [`ExperimentKind::Wppflow`].
    #[garde(skip)]
    pub kind: ExperimentKind,
    /// Pixels cut from every side before an image is scored for the second time, 0 to 10,000; credible intervals and
    /// standard deviations are measured without them.
    #[garde(range(min = 0, max = 10_000))]
    pub crop: i64,
    /// Standard deviation of the noise of the observations, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub noise: f64,
    /// The data, as for a network of [`super::wppnets::WppNets`].
    #[garde(dive)]
    pub data: Network,
    #[garde(dive)]
    profile: Profiles<Profile>,
}

/// What runs.
#[derive(Debug, Clone, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// Samples drawn for a test image, 3 to 1000.
    #[garde(range(min = 3, max = 1000))]
    pub draws: i64,
    /// Whether a last layer brings the samples as near to the data as the noise is
    /// ([`smalti_flows::DataConsistency::scaled_to_noise`]); not where not given.
    #[serde(default)]
    #[garde(skip)]
    pub consistency: bool,
    /// The architecture.
    #[garde(dive)]
    pub flow: Flow,
    /// How it is trained.
    #[garde(dive)]
    pub training: Training,
}

/// The architecture of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Blocks of a level, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub blocks: usize,
    /// Hidden channels of a subnet, 1 to 1024.
    #[garde(range(min = 1, max = 1024))]
    pub hidden: i64,
    /// Where the interpolated condition has the pixels of the observation.
    #[garde(skip)]
    pub centres: Centres,
}

/// Pixel centres of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Centres {
    /// Those of the operator.
    Operator,
    /// `(factor - 1)/2`, as in the authors' code, whatever the operator.
    Authors,
}

/// Training of a flow.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How long.
    #[garde(dive)]
    pub length: Length,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: usize,
    /// How a Gaussian blur continues the samples of crops.
    #[garde(skip)]
    pub form: Form,
    /// Weight of the squared Wasserstein distance against half of the summed squared residual of a crop, 0 to 1e6.
    #[garde(range(min = 0.0, max = 1e6))]
    pub lambda: f64,
    /// Learning rate after the warm-up, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
    /// Steps over which the learning rate grows before it follows the cosine; 0 where not given.
    #[serde(default)]
    #[garde(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// Largest norm of a gradient, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub clip: f64,
    /// The validation loss is measured every so many steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub validation_every: u64,
    /// Validation crops, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub validation_crops: usize,
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Distance of neighbouring patches of a sample in pixels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub patch_stride: i64,
    /// Patches of the reference image, drawn once, 1 to 10 million.
    #[garde(range(min = 1, max = 10_000_000))]
    pub reference_patches: usize,
    /// Supergradient steps of size 1 in the potentials for a batch, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub psi_steps: usize,
}

impl WppFlowTable {
    /// Reads the experiment file at `path`, where it is of this kind.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        parse::of_kind(path, "wppflow", Self::parse)
    }

    /// Checks the text of an experiment file; `file` is what errors call it.
    ///
    /// # Errors
    /// [`FileError`] naming file, line and column, as [`super::Experiment::parse`].
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Self, Box<FileError>> {
        parse::parse(file, text, |experiment: Self| match experiment.misfit() {
            Some((path, problem)) => Err((path, problem)),
            None => Ok(Self { name: name.to_owned(), ..experiment }),
        })
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &Profile {
        self.profile.of(name)
    }

    /// A path in the file and what does not fit there.
    fn misfit(&self) -> Option<(String, String)> {
        let fault = |path: &str, problem: &str| Some((path.to_owned(), problem.to_owned()));
        if self.kind != ExperimentKind::Wppflow {
            return fault("kind", "not wppflow");
        }
        if !matches!(self.data.factor, 2 | 4 | 8 | 16) {
            return fault("data.factor", "not 2, 4, 8 or 16");
        }
        if let Some(file) = self.data.outside() {
            return fault("data", &format!("{file:?} is not a name inside of the data folder"));
        }
        for (which, profile) in self.profile.all() {
            if profile.training.warmup_steps > 0 && profile.training.schedule == Schedule::Constant {
                let path = format!("{which}.training.warmup_steps");
                return fault(&path, "only the cosine schedule has a warm-up");
            }
        }
        None
    }
}
