//! One experiment from its checked file to published results.

use crate::data::DataSource;
use crate::experiment::{Experiment, ExperimentKind, Profile, ProfileName};
use crate::outcome::Outcome;
use crate::publish::Staged;
use crate::{report, superres, table, volume};
use smalti_base::{Result, Seed};
use smalti_solvers::Cancel;
use std::path::PathBuf;
use tch::Device;

/// How a run was asked for.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The profile that runs.
    pub profile: ProfileName,
    /// The seed of everything random.
    pub seed: Seed,
    /// Where tensors are computed.
    pub device: Device,
    /// Threads that compute.
    pub threads: usize,
    /// A request to stop.
    pub cancel: Cancel,
    /// The folder of this run's results and checkpoints, `OUT/NAME/PROFILE`.
    pub folder: PathBuf,
    /// The command as it was typed, for the report.
    pub command_line: String,
}

/// Runs `experiment` and writes `table.csv`, `table.md`, `report.html` and `images/` into
/// [`RunOptions::folder`]: all of them or, on an error, none.
///
/// # Errors
/// What the methods meet, and [`smalti_base::Error::File`] where the results cannot be written.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    // A folder that cannot be written is found before the work, not after it.
    let mut staged = Staged::beside(&options.folder)?;
    let outcome = match experiment.kind {
        ExperimentKind::Superresolution => superres::run(experiment, profile, data, options)?,
        ExperimentKind::Volume => volume::run(experiment, profile, data, options)?,
    };
    staged.add("table.csv", table::csv(&outcome.rows).as_bytes())?;
    let markdown = format!("{}\n\n{}", data.sentence(), table::markdown(&outcome.rows));
    staged.add("table.md", markdown.as_bytes())?;
    report::add(&mut staged, &report::Facts { experiment, profile, data, options }, &outcome)?;
    staged.publish()?;
    crate::state::State::of(options).discard();
    Ok(outcome)
}
