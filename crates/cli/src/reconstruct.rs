//! `smalti reconstruct`: results from measured images.

use crate::arguments::{MethodOptions, ProblemOptions, Reconstruct};
use crate::context::{Context, json};
use crate::fault::{Fault, usage};
use crate::images::{Measured, Place, RangeChoice, Units, Written, check_writable, expand};
use crate::material::Material;
use crate::method::{self, ChosenMethod};
use crate::noise;
use crate::plan::Plan;
use crate::problem::{self, ChosenProblem, Known, Purpose};
use crate::report::{self, Shown};
use crate::settings::SettingsFile;
use crate::work::{Folders, device_name, start};
use serde_json::json;
use smalti_base::checkpoint::data_hash;
use smalti_base::value_range::Stored;
use smalti_base::{Error, Result, Seed};
use smalti_methods::{Estimate, InverseProblem, Prepared, Run, TrainingData};
use smalti_tables::plan::{about, product_time};
use smalti_tables::streams::command_line;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use tch::{Device, Tensor};

/// Everything that is read and checked before the work.
pub(crate) struct Task {
    pub(crate) references: Vec<Tensor>,
    pub(crate) validation: Option<Tensor>,
    pub(crate) grey_step: f64,
    pub(crate) problem: ChosenProblem,
    /// The method for each observation; those with the same settings learn once.
    pub(crate) methods: Vec<ChosenMethod>,
    /// The problem of each observation.
    pub(crate) posed: Vec<Posed>,
    pub(crate) folder: PathBuf,
    pub(crate) plan: Plan,
}

/// The problem of an observation.
pub(crate) struct Posed {
    pub(crate) name: String,
    pub(crate) problem: InverseProblem,
    /// The part of the estimate that is the result.
    pub(crate) part: Vec<(i64, i64)>,
    /// The units of the result, and the type of its stored values.
    pub(crate) units: Units,
    pub(crate) stored: Stored,
}

/// Runs the command.
pub(crate) fn run(options: &Reconstruct, context: &Context) -> Result<(), Fault> {
    let places = expand(&options.observations)?;
    let outputs = outputs(options, &places)?;
    if !options.dry_run {
        outputs.iter().chain(&options.report).try_for_each(|path| check_writable(path, options.force))?;
    }
    let device = start(&options.run)?;
    let asked = Asked {
        method: &options.method,
        default: METHOD,
        problem: &options.problem,
        range: options.values.range,
    };
    let mut task = prepare_task(asked, &places, device)?;
    let written: Vec<Written> = outputs
        .iter()
        .zip(&task.posed)
        .map(|(path, posed)| Written::like(path, &posed.units, posed.stored, options.depth))
        .collect::<Result<_, _>>()?;
    task.plan.outputs = written.iter().map(Written::line).collect();
    let folders = Folders::beside(&outputs[0], options.state.as_deref());
    task.plan.state =
        options.state.as_ref().map(|folder| format!("{}: what is learned is kept there", folder.display()));
    if options.dry_run {
        return context.answer(&task.plan.text(true), || json!({ "plan": json(&task.plan), "done": false }));
    }
    context.say(task.plan.text(context.verbose).trim_end());
    let held = folders.hold()?;
    let seed = Seed::new(options.run.seed);
    let [learning, working] = held.runs(seed, device, context.signals.cancel());
    let clock = Instant::now();
    let mut shown = Vec::new();
    let made = reconstruct_all(
        &task,
        (options.method.from_observation, &learning, &working),
        |k, estimate, learned| {
            let posed = &task.posed[k];
            let image = cut(&estimate.image, &posed.part)?;
            let clipped = written[k].write(&image)?;
            if clipped > CLIPPED {
                tracing::warn!(
                    "{}: {:.1} % of its values lie beyond what its type holds, and were cut",
                    outputs[k].display(),
                    100.0 * clipped
                );
            }
            for said in [learned, &estimate.note].into_iter().filter(|said| !said.is_empty()) {
                tracing::info!("{}: {said}", posed.name);
            }
            if options.report.is_some() && shown.len() < SHOWN && image.dim() == 4 {
                let before = cut(&posed.problem.start.image, &posed.part)?;
                let range = posed.problem.range;
                let note = format!(
                    "{} in {:.1} s. {learned} {}",
                    outputs[k].display(),
                    estimate.seconds,
                    estimate.note
                );
                shown.push(Shown::of(&posed.name, [&before, &image], [range.low, range.high], note)?);
            }
            context.say(&format!("{}: {} in {:.1} s", posed.name, outputs[k].display(), estimate.seconds));
            Ok(json!({
                "observation": posed.name,
                "output": outputs[k].display().to_string(),
                "size": image.size().split_off(2),
                "seconds": estimate.seconds,
                "figures": estimate.figures,
                "learned": learned,
                "note": estimate.note,
                "clipped": clipped,
            }))
        },
    );
    let made = match made {
        Ok(made) => made,
        Err(fault) => {
            held.leave();
            return Err(fault);
        }
    };
    if let Some(path) = &options.report {
        report::write(path, &task.plan, &shown, &command_line())?;
        context.say(&format!("report in {}", path.display()));
    }
    held.done(&learning, &working)?;
    let seconds = clock.elapsed().as_secs_f64();
    let lines: Vec<String> = outputs.iter().map(|path| path.display().to_string()).collect();
    context.answer(
        &lines.join("\n"),
        || json!({ "plan": json(&task.plan), "done": true, "seconds": seconds, "results": made }),
    )
}

/// Results on the page of a report, at most.
const SHOWN: usize = 10;

/// The share of cut values that is worth a warning.
const CLIPPED: f64 = 1e-3;

/// Where the results go.
fn outputs(options: &Reconstruct, places: &[Place]) -> Result<Vec<PathBuf>, Fault> {
    let to = &options.output;
    if places.len() == 1 && !to.is_dir() && !to.to_string_lossy().ends_with('/') {
        return Ok(vec![to.clone()]);
    }
    if !crate::images::end(to).is_empty() && !to.is_dir() {
        return Err(usage(format!(
            "{}: there are {} observations, so --output is a folder; give a name without an end",
            to.display(),
            places.len()
        )));
    }
    let mut outputs: Vec<PathBuf> = Vec::new();
    for place in places {
        let end = match crate::images::end(&place.path).as_str() {
            "png" => "png",
            "npy" | "npz" | "h5" | "hdf5" => "npy",
            _ => "tif",
        };
        let path = to.join(format!("{}.{end}", place.stem()));
        if outputs.contains(&path) {
            return Err(usage(format!(
                "{}: two observations have this name; reconstruct them one by one",
                path.display()
            )));
        }
        outputs.push(path);
    }
    Ok(outputs)
}

/// The method where none is asked for.
pub(crate) const METHOD: &str = "patchnr";

/// What a command asks for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a MethodOptions,
    /// The method where none is named.
    pub(crate) default: &'a str,
    pub(crate) problem: &'a ProblemOptions,
    pub(crate) range: RangeChoice,
}

/// Reads everything, and says what is wrong with any of it.
///
/// # Errors
/// Whatever is wrong with options, files and images.
pub(crate) fn prepare_task(options: Asked<'_>, places: &[Place], device: Device) -> Result<Task, Fault> {
    let file = options.problem.config.as_deref().map(SettingsFile::read).transpose()?;
    let file = file.as_ref();
    let entry = problem::entry(options.problem, file)?;
    let method_entry = method::entry(options.method, options.default)?;
    let folder = problem::data_folder(options.problem);
    let material = Material::read(entry, method_entry, options.method, places, options.range)?;
    let seen = material.seen()?;
    if !material.projections {
        compare_brightness(&seen, &material.learned_from()?)?;
    }
    let layers = problem::written(entry, options.problem, file);
    let given = layers.number("noise");
    let noise = match (given, material.projections) {
        (None, false) => Some(estimated_noise(&seen)?),
        _ => None,
    };
    let observations = &material.observations;
    let size = observations.first().map(Measured::size).unwrap_or_default();
    let known = Known { purpose: Purpose::Measured, size, noise, method: Some(method_entry) };
    let problem = problem::choose(entry, layers, &known, file, &folder)?;
    let (mut posed, mut methods): (Vec<Posed>, Vec<ChosenMethod>) = (Vec::new(), Vec::new());
    for (image, seen) in observations.iter().zip(seen) {
        let name = image.place.label();
        let y = seen.f_to_device(device)?;
        let problem_of = problem.instrument.pose(&name, &y, None)?;
        let domain = problem_of.domain();
        let chosen = method::choose(
            method_entry,
            (options.method, options.problem),
            file,
            &problem,
            (y.numel() as i64, Some(domain)),
            &folder,
        )?;
        method::check_references(&chosen, &material.references)?;
        if options.method.from_observation && problem.instrument.surroundings(&y)?.is_empty() {
            return Err(Error::value(
                name,
                "room for patches to learn from, around what is reconstructed",
                "none",
            )
            .into());
        }
        let part = problem::seen(problem_of.grid, domain, &image.size());
        let (units, stored) = material.of_result(image);
        posed.push(Posed { name, problem: problem_of, part, units, stored });
        methods.push(chosen);
    }
    let (learned_from, validated) = material.for_instrument(problem.instrument.as_ref())?;
    let grey_step = material.grey_step();
    let mut plan = Plan {
        observations: observations.iter().map(Measured::describe).collect::<Result<_>>()?,
        references: material.references.iter().map(Measured::describe).collect::<Result<_>>()?,
        validation: material.validation.as_ref().map(Measured::describe).transpose()?,
        units: material.units.clone(),
        problem: problem.entry.title.to_owned(),
        described: problem.described(),
        problem_settings: problem.layers.lines(),
        noise: noise_line(&problem, given, noise),
        device: device_name(device),
        ..Plan::default()
    };
    if let (Some(method), Some(first)) = (methods.first(), posed.first()) {
        let preset = if crate::presets::has(method.entry.key) {
            format!(", budget {}", options.method.budget)
        } else {
            String::new()
        };
        plan.method = format!("{} ({}){preset}", method.entry.title, method.entry.key);
        plan.method_settings =
            method.layers.lines().into_iter().map(|line| format!("{}.{line}", method.entry.key)).collect();
        plan.result = result_line(first);
        plan.time = time(&methods, &posed, device)?;
    }
    Ok(Task {
        references: learned_from,
        validation: validated,
        grey_step,
        problem,
        methods,
        posed,
        folder,
        plan,
    })
}

/// The standard deviation of the noise, the median over observations.
fn estimated_noise(seen: &[Tensor]) -> Result<f64> {
    let mut all = seen.iter().map(noise::estimate).collect::<Result<Vec<f64>>>()?;
    all.sort_by(f64::total_cmp);
    let found = all.get(all.len() / 2).copied().unwrap_or_default();
    // Two digits are more than it is worth.
    let digits = 10_f64.powf(2.0 - found.max(1e-5).log10().ceil());
    Ok(((found * digits).round() / digits).max(LEAST_NOISE))
}

/// Without any noise, problems that need some could not be posed.
const LEAST_NOISE: f64 = 1e-4;

fn noise_line(problem: &ChosenProblem, given: Option<f64>, estimated: Option<f64>) -> String {
    match (given, estimated) {
        (Some(sigma), _) => format!("white, standard deviation {sigma} of the range of values"),
        (None, Some(sigma)) => {
            format!(
                "white, standard deviation {sigma} of the range of values, estimated from the observation (--noise SIGMA gives it)"
            )
        }
        (None, None) => {
            let said = problem.instrument.protocol().into_iter().find(|(key, _)| *key == "Noise");
            said.map(|(_, text)| text).unwrap_or_default()
        }
    }
}

/// The size of a result, and where observed pixels lie in it.
fn result_line(posed: &Posed) -> String {
    let size: Vec<String> = posed.part.iter().map(|(_, length)| length.to_string()).collect();
    let size = format!("{} pixels", size.join(" x "));
    let Some(grid) = posed.problem.grid.filter(|grid| grid.spacing != (1.0, 1.0)) else { return size };
    let rows = posed.part.len() - 2;
    let (first_row, first) = (posed.part[rows].0 as f64, posed.part[rows + 1].0 as f64);
    format!(
        "{size}; observed pixel (i, j) lies at ({} + {} i, {} + {} j) of it",
        grid.origin.0 - first_row,
        grid.spacing.0,
        grid.origin.1 - first,
        grid.spacing.1
    )
}

/// About how long it takes here, where that is known.
fn time(methods: &[ChosenMethod], posed: &[Posed], device: Device) -> Result<Option<String>> {
    let Some([learning, _]) = methods.first().and_then(|method| method.work) else { return Ok(None) };
    let product = product_time(device)?;
    let each: f64 = methods
        .iter()
        .zip(posed)
        .filter_map(|(method, posed)| Some(method.work?[1] * posed.problem.domain().len() as f64 / 360_000.0))
        .sum();
    let learning = if learning > 0.0 {
        format!("about {} to learn, ", about(product.mul_f64(learning)))
    } else {
        String::new()
    };
    let images =
        if posed.len() == 1 { "for the image".to_owned() } else { format!("for {} images", posed.len()) };
    Ok(Some(format!("{learning}{} {images}", about(product.mul_f64(each)))))
}

/// Warns where observations and references do not look like images in the same units.
fn compare_brightness(observations: &[Tensor], references: &[Tensor]) -> Result<()> {
    let mean = |images: &[Tensor]| -> Result<f64> {
        let means = images.iter().map(|image| Ok(image.f_mean(tch::Kind::Double)?.double_value(&[])));
        Ok(means.collect::<Result<Vec<f64>>>()?.iter().sum::<f64>() / images.len().max(1) as f64)
    };
    if observations.is_empty() || references.is_empty() {
        return Ok(());
    }
    let (seen, known) = (mean(observations)?, mean(references)?);
    if (seen - known).abs() > DIFFERENT {
        tracing::warn!(
            "the observation has the mean {seen:.2} and the reference {known:.2}, in the units that are taken: are both in the same units? \
             --range LOW,HIGH says which values are 0 and 1 in both"
        );
    }
    Ok(())
}

/// Means that differ by more are hardly those of one material.
const DIFFERENT: f64 = 0.2;

/// Reconstructs one observation after the other; methods with the same settings learn once.
pub(crate) fn reconstruct_all<T>(
    task: &Task,
    (from_observation, learning, working): (bool, &Run, &Run),
    mut made: impl FnMut(usize, Estimate, &str) -> Result<T>,
) -> Result<Vec<T>, Fault> {
    let mut learned: BTreeMap<String, Prepared> = BTreeMap::new();
    let mut results = Vec::new();
    for (k, (posed, method)) in task.posed.iter().zip(&task.methods).enumerate() {
        working.check()?;
        let settings = method.configured.to_toml();
        let own = if from_observation { format!("{settings} {}", posed.name) } else { settings.clone() };
        if !learned.contains_key(&own) {
            let material = TrainingData {
                folder: Some(&task.folder),
                grey_step: task.grey_step,
                ..TrainingData::none(task.problem.instrument.as_ref())
            };
            let (material, run) = if from_observation {
                let around = task.problem.instrument.surroundings(&posed.problem.observation)?;
                let references =
                    around.iter().map(|t| Ok(t.f_to_device(Device::Cpu)?)).collect::<Result<Vec<_>>>()?;
                let run =
                    learning.for_row(method.entry.key).part(&posed.name, "learned from the observation");
                (TrainingData { references, ..material }, run)
            } else {
                let references = task.references.iter().map(Tensor::shallow_clone).collect();
                let validation = task.validation.as_ref().map(Tensor::shallow_clone);
                (TrainingData { references, validation, ..material }, learning.for_row(method.entry.key))
            };
            learned.insert(own.clone(), method.configured.prepare(&material, &run)?);
        }
        let reconstructor = match learned.get(&own) {
            Some(Prepared::Ready(reconstructor)) => reconstructor,
            Some(Prepared::Missing(why)) => {
                return Err(Fault::Missing(format!("{}: {why}", method.entry.key)));
            }
            None => continue,
        };
        let (identity_of_learned, note) = match reconstructor.learned() {
            Some(learned) => (learned.identity.as_str(), learned.note.as_str()),
            None => ("", ""),
        };
        let identity = format!(
            "{} {settings} {identity_of_learned} {}",
            data_hash(&[&posed.problem.observation, &posed.problem.start.image])?,
            task.problem.instrument.identity()
        );
        let run = working.for_row(method.entry.key);
        let estimate = if reconstructor.instant() {
            reconstructor.reconstruct(&posed.problem, &run)?
        } else {
            run.once(&format!("{} {}", method.entry.key, posed.name), &identity, |run| {
                reconstructor.reconstruct(&posed.problem, run)
            })?
        };
        results.push(made(k, estimate, note)?);
    }
    Ok(results)
}

/// A part of images or volumes.
pub(crate) fn cut(image: &Tensor, part: &[(i64, i64)]) -> Result<Tensor> {
    let mut cut = image.shallow_clone();
    for (axis, &(first, length)) in part.iter().enumerate() {
        cut = cut.f_narrow(axis as i64 + 2, first, length)?;
    }
    Ok(cut.f_contiguous()?)
}
