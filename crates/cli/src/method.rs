//! The method: settings from a preset, a file and the command line, and what it learns from.

use crate::arguments::{MethodOptions, ProblemOptions};
use crate::fault::{Fault, usage};
use crate::images::Measured;
use crate::presets::{self, Work};
use crate::problem::ChosenProblem;
use crate::settings::{Layers, Origin, SettingsFile};
use smalti_base::{Error, Result, Space};
use smalti_methods::{ConfiguredMethod, Learns, METHODS, MethodEntry};
use std::path::Path;
use std::rc::Rc;

/// A method with its settings.
pub(crate) struct ChosenMethod {
    pub(crate) entry: &'static MethodEntry,
    pub(crate) layers: Layers,
    pub(crate) configured: Rc<dyn ConfiguredMethod>,
    pub(crate) work: Option<Work>,
}

/// The method that is asked for, or else the one called `default`.
///
/// # Errors
/// Where there is none of that name, or it has nothing to learn from.
pub(crate) fn entry(options: &MethodOptions, default: &str) -> Result<&'static MethodEntry, Fault> {
    let keys = || METHODS.iter().map(|entry| entry.key).collect::<Vec<_>>().join(", ");
    let name = options.method.as_deref().unwrap_or(default);
    let entry = MethodEntry::find(name)
        .ok_or_else(|| usage(format!("there is no method {name}: choose one of {}", keys())))?;
    let nothing = options.references.is_empty() && !options.from_observation;
    if entry.learns != Learns::Nothing && nothing {
        return Err(usage(format!(
            "{} learns from images: give --reference IMAGE, an image of the material as fine as the result, or --from-observation; \
             tv needs none (--method tv)",
            entry.key
        )));
    }
    if entry.learns == Learns::Nothing && !nothing {
        tracing::warn!("{} learns from nothing: the references are not used", entry.key);
    }
    Ok(entry)
}

/// The settings of a method for observations of `observed` values, read and checked against the problem.
///
/// # Errors
/// What is missing or wrong, where it was written; a method that makes no sense for the problem.
pub(crate) fn choose(
    entry: &'static MethodEntry,
    (options, problem_options): (&MethodOptions, &ProblemOptions),
    file: Option<&SettingsFile>,
    problem: &ChosenProblem,
    (observed, domain): (i64, Option<Space>),
    folder: &Path,
) -> Result<ChosenMethod, Fault> {
    (entry.applies)(problem.instrument.as_ref()).map_err(|reason| {
        let fits: Vec<&str> = METHODS
            .iter()
            .filter(|other| (other.applies)(problem.instrument.as_ref()).is_ok())
            .map(|other| other.key)
            .collect();
        usage(format!("{} on {}: {reason}; choose one of {}", entry.key, problem.entry.name, fits.join(", ")))
    })?;
    let mut layers = Layers::of_method(entry.key);
    let work = presets::apply(&mut layers, entry.key, options.budget, problem.entry.name);
    layers.substitute(&problem.numbers(observed));
    let preset = layers.lines();
    if let Some(file) = file {
        layers.merge(&file.section("methods", entry.key), &Origin::File);
    }
    for setting in &problem_options.set {
        match setting.key.split_once('.') {
            Some((method, key)) if method == entry.key => {
                layers.put(key, setting.value.clone(), Origin::Option(setting.text.clone()));
            }
            Some((other, _)) if MethodEntry::find(other).is_some() => {
                return Err(usage(format!(
                    "--set {}: the method is {}; --method {other} chooses that one",
                    setting.text, entry.key
                )));
            }
            _ => {}
        }
    }
    // What is known of the work holds for the preset.
    let work = work.filter(|_| preset == layers.lines());
    let configured = layers.read(entry.read, |method| method.out_of_range(), file)?;
    configured
        .check(problem.instrument.as_ref(), domain)
        .map_err(|(key, misfit)| layers.fault(&key, &misfit, file))?;
    for (key, name) in configured.files() {
        // Weights are relative to the current folder, or to that of the data.
        let there = [folder.join(&name), name.clone().into()].iter().any(|path| path.is_file());
        if !there {
            let problem = format!("{name} is not there; --data names the folder that it is relative to");
            return Err(layers.fault(key, &problem, file));
        }
    }
    Ok(ChosenMethod { entry, layers, configured, work })
}

/// Whether patches fit into the references.
///
/// # Errors
/// [`Error::Shape`] for the first that is too small.
pub(crate) fn check_references(method: &ChosenMethod, references: &[Measured]) -> Result<()> {
    for (key, side) in method.layers.numbers_called("patch_size") {
        for reference in references {
            if reference.size().iter().any(|&n| (n as f64) < side) {
                let what = format!("reference {}", reference.place.label());
                let expected = format!(
                    "at least {side} x {side} pixels, the patches to learn ({}{key})",
                    method.layers.prefix()
                );
                return Err(Error::shape(what, expected, reference.size()));
            }
        }
    }
    Ok(())
}
