//! What a reconstruction method is.

use crate::estimate::{Estimate, Metrics, TrainingCurve};
use crate::instrument::{Instrument, TrainingData};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{SettingFault, Settings};
use smalti_base::{Result, Space};
use tch::Tensor;

/// A reconstruction method. One file each; [`crate::registry::METHODS`] lists them.
pub trait Method: 'static {
    /// The name in files.
    const KEY: &'static str;
    /// The name for readers.
    const TITLE: &'static str;
    /// Where it comes from.
    const PAPERS: &'static [&'static str];
    /// What it learns from before the first problem.
    const LEARNS: Learns;
    /// Whether it goes on from the start of a problem, which then may be the estimate of another method.
    const STARTS: bool = false;
    /// Whether its estimates carry draws of the posterior ([`Estimate::draws`]).
    const SAMPLES: bool = false;
    /// Its settings.
    type Settings: Settings;

    /// Whether it makes sense for what an instrument observes; else why not.
    ///
    /// # Errors
    /// The reason, for readers.
    fn applies(_instrument: &dyn Instrument) -> std::result::Result<(), String> {
        Ok(())
    }

    /// Whether images of `domain`, observed by `instrument`, can be reconstructed with `settings`.
    ///
    /// # Errors
    /// The key that does not fit, and the problem.
    fn check(
        _settings: &Self::Settings,
        _instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        Ok(())
    }

    /// Files that learning reads besides its material, each with its key.
    fn files(_settings: &Self::Settings) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Whether it can learn from `from`: what is wrong with that and is seen without a training, which a table says before the first.
    ///
    /// # Errors
    /// What is wrong with images or their files.
    fn check_material(_settings: &Self::Settings, _from: &TrainingData<'_>) -> Result<()> {
        Ok(())
    }

    /// Learns what it needs.
    ///
    /// # Errors
    /// Those of the material and of the training; [`smalti_base::Error::Cancelled`] on request.
    fn prepare(settings: &Self::Settings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared>;
}

/// What a method learns from before it can reconstruct. What comes before [`Learns::Pairs`] only looks at its material: a table lets it
/// learn first, since it says what is wrong with that, and the others when their rows' turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Learns {
    /// Nothing.
    Nothing,
    /// Patches of reference images, which it only compares with.
    Patches,
    /// Pairs of images, by a training.
    Pairs,
    /// A density of patches of reference images, by a training.
    PatchDensity,
    /// Observed crops and patches of a reference image, by a training.
    Observations,
}

/// A method that has learned; or why it cannot run.
pub enum Prepared {
    /// It can reconstruct.
    Ready(Box<dyn Reconstructor>),
    /// What is missing, for readers.
    Missing(String),
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready(_) => f.debug_tuple("Ready").finish_non_exhaustive(),
            Self::Missing(what) => f.debug_tuple("Missing").field(what).finish(),
        }
    }
}

impl Prepared {
    /// A method that can reconstruct.
    pub fn ready(reconstructor: impl Reconstructor + 'static) -> Result<Self> {
        Ok(Self::Ready(Box::new(reconstructor)))
    }
}

/// A method with what it learned.
pub trait Reconstructor {
    /// Solves a problem.
    ///
    /// # Errors
    /// Those of the method; [`smalti_base::Error::Cancelled`] on request.
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate>;

    /// What it learned, where there is something to tell.
    fn learned(&self) -> Option<&Learned> {
        None
    }

    /// Whether estimates are so cheap that they are not worth keeping.
    fn instant(&self) -> bool {
        false
    }

    /// Figures of the truth that stand beside those of an estimate, e.g. its own distance to the reference patches.
    ///
    /// # Errors
    /// Those of measuring.
    fn assess(&self, _truth: &Tensor) -> Result<Metrics> {
        Ok(Metrics::new())
    }

    /// What the figures of all estimates of a row say that the table does not; empty where nothing. Each holds the estimate's own
    /// figures, its scores, and those of [`Reconstructor::assess`].
    fn summary(&self, _figures: &[Metrics]) -> String {
        String::new()
    }
}

/// What a method learned before the first problem.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// All that its estimates depend on besides the settings: a hash of the weights, say.
    pub identity: String,
    /// The training, where there was one.
    pub curve: Option<TrainingCurve>,
    /// What the seconds of a row do not hold.
    pub note: String,
}
