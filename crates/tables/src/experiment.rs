//! Experiment files: TOML as written, then checked, and only the checked form runs.
//!
//! An experiment file describes one table of a paper: its data, its problem, the published rows, and three profiles
//! (smoke < quick < paper) that say which methods run on which images with which settings. A row is a configured method of
//! [`smalti_methods::METHODS`], a problem one of [`smalti_methods::PROBLEMS`].

mod check;
pub mod diagnose;
mod parse;
mod profiles;
mod raw;
pub mod samplers;
mod scene;
mod set;

pub use check::{Experiment, LearnsFrom, Profile, RowSpec};
pub use diagnose::{Failure, FileError};
pub use scene::{Data, Observations, Observer, Scene};
pub use set::EvaluationSet;

use serde::{Deserialize, Serialize};
use std::fmt;

/// How much work a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, clap::ValueEnum)]
pub enum ProfileName {
    /// Under a minute: shows that everything works, says nothing about quality.
    Smoke,
    /// Minutes on a laptop: figures near the published ones.
    #[default]
    Quick,
    /// The authors' settings: hours to days.
    Paper,
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Paper => "paper",
        })
    }
}

/// What an experiment is about; it decides which runner reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExperimentKind {
    /// Images reconstructed from observations; [`Experiment`] reads these.
    Reconstruction,
    /// Flows on Gaussian mixtures; [`samplers::Samplers`] reads these.
    Mixture,
    /// Flows for scatterometry; [`samplers::Samplers`] reads these.
    Scatterometry,
}
