//! `smalti train`: learns from references, and keeps what was learned for `smalti reconstruct --state`.

use crate::arguments::Train;
use crate::context::{Context, json};
use crate::fault::{Fault, usage};
use crate::images::Measured;
use crate::material::Material;
use crate::method;
use crate::plan::Plan;
use crate::problem::{self, Known, Purpose};
use crate::settings::SettingsFile;
use crate::work::{Folders, device_name, start};
use serde_json::json;
use smalti_base::{Result, Seed};
use smalti_methods::{Learns, Prepared, ProblemKey, TrainingData};
use tch::Tensor;

/// The noise of a problem whose observations are not learned from: it changes nothing.
const ANY_NOISE: f64 = 0.01;

/// Runs the command.
pub(crate) fn run(options: &Train, context: &Context) -> Result<(), Fault> {
    let file = options.problem.config.as_deref().map(SettingsFile::read).transpose()?;
    let file = file.as_ref();
    let entry = problem::entry(&options.problem, file)?;
    let method_entry = method::entry(&options.method, crate::reconstruct::METHOD)?;
    if method_entry.learns == Learns::Nothing {
        return Err(usage(format!("{} learns nothing: reconstruct with it at once", method_entry.key)));
    }
    let folder = problem::data_folder(&options.problem);
    let device = start(&options.run)?;
    let material = Material::read(entry, method_entry, &options.method, &[], options.values.range)?;
    let mut layers = problem::written(entry, &options.problem, file);
    let observed = matches!(method_entry.learns, Learns::Pairs | Learns::Observations);
    if observed && !layers.has("noise") && entry.key != ProblemKey::Tomography {
        return Err(usage(format!(
            "{} learns how observations look: give their noise (--noise SIGMA; smalti inspect OBSERVATION estimates it)",
            method_entry.key
        )));
    }
    if !observed && options.problem.problem.is_none() {
        // Any instrument will do.
        layers.fill("stride", 1, "the command");
    }
    let noise = (entry.key != ProblemKey::Tomography).then_some(ANY_NOISE);
    let size = material.references.first().map(Measured::size).unwrap_or_default();
    let values = size.iter().product::<i64>().max(1);
    let known = Known { purpose: Purpose::Measured, size, noise, method: Some(method_entry) };
    let problem = problem::choose(entry, layers, &known, file, &folder)?;
    let chosen = method::choose(
        method_entry,
        (&options.method, &options.problem),
        file,
        &problem,
        (values, None),
        &folder,
    )?;
    method::check_references(&chosen, &material.references)?;
    let (references, validation) = material.for_instrument(problem.instrument.as_ref())?;
    let plan = Plan {
        references: material.references.iter().map(Measured::describe).collect::<Result<_>>()?,
        validation: material.validation.as_ref().map(Measured::describe).transpose()?,
        units: material.units.clone(),
        problem: if observed {
            entry.title.to_owned()
        } else {
            "any: what is learned does not depend on it".to_owned()
        },
        described: if observed { problem.described() } else { Vec::new() },
        method: format!("{} ({}), budget {}", chosen.entry.title, chosen.entry.key, options.method.budget),
        method_settings: chosen
            .layers
            .lines()
            .into_iter()
            .map(|line| format!("{}.{line}", chosen.entry.key))
            .collect(),
        device: device_name(device),
        state: Some(options.state.display().to_string()),
        ..Plan::default()
    };
    if options.dry_run {
        return context.answer(&plan.text(true), || json!({ "plan": json(&plan), "done": false }));
    }
    context.say(plan.text(context.verbose).trim_end());
    let held = Folders::beside(&options.state.join("training"), Some(&options.state)).hold()?;
    let [learning, working] = held.runs(Seed::new(options.run.seed), device, context.signals.cancel());
    let from = TrainingData {
        references: references.iter().map(Tensor::shallow_clone).collect(),
        validation,
        grey_step: material.grey_step(),
        folder: Some(&folder),
        ..TrainingData::none(problem.instrument.as_ref())
    };
    let note = match chosen.configured.prepare(&from, &learning.for_row(chosen.entry.key)) {
        Ok(Prepared::Ready(learned)) => {
            learned.learned().map(|learned| learned.note.clone()).unwrap_or_default()
        }
        Ok(Prepared::Missing(why)) => {
            held.leave();
            return Err(Fault::Missing(format!("{}: {why}", chosen.entry.key)));
        }
        Err(error) => {
            held.leave();
            return Err(error.into());
        }
    };
    held.done(&learning, &working)?;
    let remedy = format!(
        "smalti reconstruct OBSERVATION --state {} with the same references and settings takes it from there",
        options.state.display()
    );
    context.say(&format!("{note}\n{remedy}"));
    context.answer(&options.state.display().to_string(), || {
        json!({ "plan": json(&plan), "done": true, "learned": note, "state": options.state.display().to_string() })
    })
}
