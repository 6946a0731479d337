//! `smalti sample`: draws of the posterior, their mean and their standard deviation.

use crate::arguments::Sample;
use crate::context::{Context, json};
use crate::fault::{Fault, usage};
use crate::images::{Depth, Place, Units, Written, check_writable};
use crate::reconstruct::{Asked, cut, prepare_task, reconstruct_all};
use crate::work::{Folders, start};
use serde_json::json;
use smalti_base::value_range::Stored;
use smalti_base::{Error, Seed};
use smalti_methods::METHODS;
use std::path::PathBuf;
use tch::Kind;

/// The method where none is asked for.
const METHOD: &str = "langevin";

/// Runs the command.
pub(crate) fn run(options: &Sample, context: &Context) -> Result<(), Fault> {
    let name = options.method.method.as_deref().unwrap_or(METHOD);
    if METHODS.iter().any(|method| method.key == name && !method.samples) {
        let those: Vec<&str> =
            METHODS.iter().filter(|method| method.samples).map(|method| method.key).collect();
        return Err(usage(format!(
            "{name} draws no samples: choose one of {} with --method",
            those.join(", ")
        )));
    }
    let place = Place::parse(&options.observation);
    let end = match crate::images::end(&place.path).as_str() {
        "png" => "png",
        "npy" | "npz" | "h5" | "hdf5" => "npy",
        _ => "tif",
    };
    let file = |name: &str| options.output.join(format!("{name}.{end}"));
    let draws: Vec<PathBuf> = (1..=options.draws).map(|k| file(&format!("draw-{k:02}"))).collect();
    let (mean, deviation) =
        (file("mean"), options.output.join(if end == "npy" { "std.npy" } else { "std.tif" }));
    if !options.dry_run {
        draws.iter().chain([&mean, &deviation]).try_for_each(|path| check_writable(path, options.force))?;
    }
    let device = start(&options.run)?;
    let asked = Asked {
        method: &options.method,
        default: METHOD,
        problem: &options.problem,
        range: options.values.range,
    };
    let mut task = prepare_task(asked, &[place], device)?;
    let Some(posed) = task.posed.first() else { return Ok(()) };
    let (units, stored) = (posed.units.clone(), posed.stored);
    task.plan.outputs = vec![format!("{}/: mean, std and {} draws", options.output.display(), options.draws)];
    if options.dry_run {
        return context.answer(&task.plan.text(true), || json!({ "plan": json(&task.plan), "done": false }));
    }
    context.say(task.plan.text(context.verbose).trim_end());
    let held = Folders::beside(&mean, options.state.as_deref()).hold()?;
    let [learning, working] = held.runs(Seed::new(options.run.seed), device, context.signals.cancel());
    let from_observation = options.method.from_observation;
    let made = reconstruct_all(&task, (from_observation, &learning, &working), |k, estimate, note| {
        let part = &task.posed[k].part;
        let Some(all) = &estimate.draws else {
            return Err(Error::value(name, "draws of the posterior", "an estimate without any"));
        };
        let all = cut(all, part)?;
        let like = |path: &PathBuf| Written::like(path, &units, stored, None);
        // Of many draws some, at equal distances.
        let number = all.size()[0];
        let mut files = vec![mean.display().to_string(), deviation.display().to_string()];
        let mut parts = vec![(&mean, cut(&estimate.image, part)?)];
        for (k, path) in (0..options.draws.min(number)).zip(&draws) {
            parts.push((path, all.f_narrow(0, k * number / options.draws.min(number), 1)?));
            files.push(path.display().to_string());
        }
        for (path, image) in parts {
            let written = like(path)
                .map_err(|fault| Error::value("file", "one that can be written", fault.render()))?;
            written.write(&image)?;
        }
        let spread = all.f_to_kind(Kind::Double)?.f_std_dim([0i64].as_slice(), true, true)?;
        // A difference of values has no zero of its own.
        let of_spread = Units { low: 0.0, high: units.high - units.low, ..units.clone() };
        let written = Written::like(&deviation, &of_spread, Stored::FLOAT, Some(Depth::Float))
            .map_err(|fault| Error::value("file", "one that can be written", fault.render()))?;
        written.write(&spread)?;
        for said in [note, &estimate.note].into_iter().filter(|said| !said.is_empty()) {
            tracing::info!("{said}");
        }
        Ok(json!({
            "draws": number,
            "files": files,
            "seconds": estimate.seconds,
            "figures": estimate.figures,
            "note": estimate.note,
            "mean_standard_deviation": spread.f_mean(Kind::Double)?.double_value(&[]) * (units.high - units.low),
        }))
    });
    let made = match made {
        Ok(made) => made,
        Err(fault) => {
            held.leave();
            return Err(fault);
        }
    };
    held.done(&learning, &working)?;
    context.answer(
        &options.output.display().to_string(),
        || json!({ "plan": json(&task.plan), "done": true, "results": made }),
    )
}
