//! One experiment from its checked file to published results.

use crate::data::DataSource;
use crate::experiment::samplers::{MixtureProfile, Samplers, ScatterometryProfile};
use crate::experiment::{Experiment, Profile};
use crate::options::RunOptions;
use crate::outcome::ExperimentOutcome;
use crate::publish::Staged;
use crate::{evaluate, mixture, recorded, report, scatterometry, table};
use smalti_base::Result;

/// Runs `experiment` and writes `table.csv`, `table.md`, `run.toml`, `report.html` and `images/` into
/// [`RunOptions::folder`]: all of them or, on an error, none.
///
/// # Errors
/// What the methods meet, and [`smalti_base::Error::File`] where the results cannot be written.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    // A folder that cannot be written is found before the work, not after it.
    let staged = Staged::beside(&options.folder)?;
    let outcome = evaluate::run(profile, data, options)?;
    let staged = recorded::add(staged, &experiment.name, options)?;
    publish(staged, &evaluate::facts(experiment, profile, data, options)?, outcome)
}

/// The same for an experiment with Gaussian mixtures; beside the table it writes `distances.csv`.
///
/// # Errors
/// Those of [`run`].
pub fn run_mixture(
    experiment: &Samplers<MixtureProfile>,
    profile: &MixtureProfile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    let staged = Staged::beside(&options.folder)?;
    let outcome = mixture::run(experiment, profile, data, options)?;
    let staged = recorded::add(staged, &experiment.name, options)?;
    publish(staged, &mixture::facts(experiment, profile, data, options), outcome)
}

/// The same for scatterometry.
///
/// # Errors
/// Those of [`run`].
pub fn run_scatterometry(
    experiment: &Samplers<ScatterometryProfile>,
    profile: &ScatterometryProfile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    let staged = Staged::beside(&options.folder)?;
    let outcome = scatterometry::run(experiment, profile, data, options)?;
    let staged = recorded::add(staged, &experiment.name, options)?;
    publish(staged, &scatterometry::facts(experiment, profile, data, options), outcome)
}

/// Writes table and report, and drops the state of the run.
fn publish(
    mut staged: Staged,
    facts: &report::Facts<'_>,
    outcome: ExperimentOutcome,
) -> Result<ExperimentOutcome> {
    staged.add("table.csv", table::csv(&outcome.rows).as_bytes())?;
    if let Some(distances) = table::distances_csv(&outcome.rows) {
        staged.add("distances.csv", distances.as_bytes())?;
    }
    let markdown = format!("{}\n\n{}", facts.data.sentence(), table::markdown(&outcome.rows));
    staged.add("table.md", markdown.as_bytes())?;
    report::add(&mut staged, facts, &outcome)?;
    staged.publish()?;
    if let Some(run) = &outcome.run {
        run.discard_state();
    }
    Ok(outcome)
}
