//! One experiment from its checked file to published results.

use crate::data::DataSource;
use crate::experiment::samplers::{MixtureProfile, Samplers, ScatterometryProfile};
use crate::experiment::{Experiment, Profile};
use crate::options::RunOptions;
use crate::outcome::ExperimentOutcome;
use crate::{evaluate, mixture, recorded, report, scatterometry, table};
use smalti_base::Result;

/// Runs `experiment` and writes `table.csv`, `table.md`, `run.toml`, `report.html` and `images/` into
/// [`RunOptions::results`], with what its rows have learned: all of it or, on an error, nothing.
///
/// # Errors
/// What the methods meet, and [`smalti_base::Error::File`] where the results cannot be written.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    let outcome = evaluate::run(profile, data, options)?;
    publish(&experiment.name, &evaluate::facts(experiment, profile, data, options)?, outcome, options)
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
    let outcome = mixture::run(experiment, profile, data, options)?;
    publish(&experiment.name, &mixture::facts(experiment, profile, data, options), outcome, options)
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
    let outcome = scatterometry::run(experiment, profile, data, options)?;
    publish(&experiment.name, &scatterometry::facts(experiment, profile, data, options), outcome, options)
}

/// Says where the results of another seed stand in the place of those that a run will make.
pub fn replaces(options: &RunOptions) -> Option<String> {
    let (folder, seed) = (options.results.folder(), options.seed.value());
    let old = recorded::seed(folder).filter(|&old| old != seed)?;
    let folder = folder.display();
    Some(format!(
        "{folder} has results of seed {old}, which those of seed {seed} will replace; --out DIR keeps both"
    ))
}

/// Writes table and report, and drops the state of the run.
fn publish(
    experiment: &str,
    facts: &report::Facts<'_>,
    outcome: ExperimentOutcome,
    options: &RunOptions,
) -> Result<ExperimentOutcome> {
    let results = &options.results;
    results.add("table.csv", table::csv(&outcome.rows).as_bytes())?;
    if let Some(distances) = table::distances_csv(&outcome.rows) {
        results.add("distances.csv", distances.as_bytes())?;
    }
    let markdown = format!("{}\n\n{}", facts.data.sentence(), table::markdown(&outcome.rows));
    results.add("table.md", markdown.as_bytes())?;
    recorded::add(results, experiment, facts.title, options)?;
    report::add(results, facts, &outcome)?;
    if let Some(run) = &outcome.run {
        run.deliver(&results.collected())?;
    }
    results.publish()?;
    if let Some(run) = &outcome.run {
        run.discard_state();
    }
    Ok(outcome)
}
