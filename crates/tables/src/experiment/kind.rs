//! Kinds of experiments, and how much work they are.

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
    /// More rows and images than quick, which it is where a file says nothing else: an hour or more.
    Table,
    /// The authors' settings: hours to days.
    Paper,
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Table => "table",
            Self::Paper => "paper",
        })
    }
}

/// What an experiment is about; it decides which runner reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExperimentKind {
    /// Images reconstructed from observations; [`crate::experiment::Experiment`] reads these.
    Reconstruction,
    /// Flows on Gaussian mixtures; [`crate::experiment::samplers::Samplers`] reads these.
    Mixture,
    /// Flows for scatterometry; [`crate::experiment::samplers::Samplers`] reads these.
    Scatterometry,
}
