//! Experiment files: TOML as written, then checked, and only the checked form runs.
//!
//! An experiment file describes one table of a paper: its data, its operator, the published rows, and three
//! profiles (smoke < quick < paper) that say which methods run on which images with which settings.

mod check;
pub mod ct;
pub mod diagnose;
pub mod langevin;
mod parse;
mod profiles;
mod raw;
pub mod samplers;
pub mod settings;
pub mod wppflow;
pub mod wppnets;

pub use check::{EvaluationSet, Experiment, Profile};
pub use diagnose::{Failure, FileError};

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
    /// Superresolution of grey images by a known blur and stride.
    Superresolution,
    /// Superresolution of synthetic volumes by a known blur and stride.
    Volume,
    /// Networks trained by the Wasserstein patch prior; [`wppnets::WppNets`] reads these.
    Wppnets,
    /// Posterior sampling by a WPPFlow; [`wppflow::WppFlowTable`] reads these.
    Wppflow,
    /// Computed tomography; [`ct::Ct`] reads these.
    Ct,
    /// Flows on Gaussian mixtures; [`samplers::Samplers`] reads these.
    Mixture,
    /// Flows for scatterometry; [`samplers::Samplers`] reads these.
    Scatterometry,
    /// Posterior sampling by Langevin chains; [`langevin::LangevinTable`] reads these.
    Langevin,
}

/// A reconstruction method that this program can run, as a row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Bicubic interpolation at the right pixel centres.
    Bicubic,
    /// Least squares with total variation.
    L2Tv,
    /// MAP with the patch normalizing flow regularizer.
    Patchnr,
    /// The same with the settings of its authors for the reconstruction.
    PatchnrAuthors,
    /// MAP with the Wasserstein patch prior.
    Wpp,
    /// The same with the settings of its authors for the reconstruction.
    WppAuthors,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Bicubic, Self::L2Tv, Self::Patchnr, Self::PatchnrAuthors, Self::Wpp, Self::WppAuthors];

    /// The name in experiment files, in `table.csv` and in file names.
    pub fn key(self) -> &'static str {
        match self {
            Self::Bicubic => "bicubic",
            Self::L2Tv => "l2_tv",
            Self::Patchnr => "patchnr",
            Self::PatchnrAuthors => "patchnr_authors",
            Self::Wpp => "wpp",
            Self::WppAuthors => "wpp_authors",
        }
    }

    /// The name of the method in published tables.
    pub fn published_key(self) -> &'static str {
        match self {
            Self::PatchnrAuthors => Self::Patchnr.key(),
            Self::WppAuthors => Self::Wpp.key(),
            other => other.key(),
        }
    }

    /// The name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bicubic => "bicubic",
            Self::L2Tv => "L2-TV",
            Self::Patchnr => "patchNR",
            Self::PatchnrAuthors => "patchNR, authors' settings",
            Self::Wpp => "WPP",
            Self::WppAuthors => "WPP, authors' settings",
        }
    }
}
