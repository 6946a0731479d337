//! Experiment files: TOML as written, then checked, and only the checked form runs.
//!
//! An experiment file describes one table of a paper: its data, its problem, the published rows, and three profiles
//! (smoke < quick < paper) that say which methods run on which images with which settings. A row is a configured method of
//! [`smalti_methods::METHODS`], a problem one of [`smalti_methods::PROBLEMS`].

mod check;
mod data;
pub mod diagnose;
mod kind;
mod parse;
mod profiles;
mod raw;
pub mod samplers;
mod scene;
mod set;

pub use check::{Experiment, Profile, RowSpec};
pub use data::{Data, LearnsFrom, Observations};
pub use diagnose::{Failure, FileError};
pub use kind::{ExperimentKind, ProfileName};
pub use scene::{ObservationModel, Scene};
pub use set::EvaluationSet;
