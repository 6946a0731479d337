//! `smalti simulate`: what an instrument sees of an image; and `smalti phantom`: images to try it with.

use crate::arguments::{Phantom, PhantomKind, Simulate};
use crate::context::Context;
use crate::fault::{Fault, usage};
use crate::images::{Depth, Measured, Place, Units, Written, check_writable, units};
use crate::problem::{self, Known, Purpose};
use crate::settings::SettingsFile;
use crate::work::start;
use serde_json::json;
use smalti_base::lodopab::Part;
use smalti_base::value_range::Stored;
use smalti_base::{Error, Result, Seed};
use smalti_methods::{ProblemKey, synthetic};

/// Noise that is added where none is given.
const NOISE: f64 = 0.01;

/// Runs `smalti simulate`.
pub(crate) fn run(options: &Simulate, context: &Context) -> Result<(), Fault> {
    check_writable(&options.output, options.force)?;
    let file = options.problem.config.as_deref().map(SettingsFile::read).transpose()?;
    let entry = problem::entry(&options.problem, file.as_ref())?;
    let folder = problem::data_folder(&options.problem);
    let image = Measured::read(&Place::parse(&options.image))?;
    let volume = entry.key == ProblemKey::Volume;
    if (image.size().len() == 3) != volume {
        let expected = if volume { "a volume [D, H, W]" } else { "one image [H, W]" };
        return Err(Error::shape(image.place.label(), expected, image.size()).into());
    }
    let of_image = units(options.values.range, image.stored.kind, &[&image])?;
    let layers = problem::written(entry, &options.problem, file.as_ref());
    let projections = entry.key == ProblemKey::Tomography;
    let noise = (!projections && !layers.has("noise")).then_some(NOISE);
    let known = Known { purpose: Purpose::Simulated, size: image.size(), noise, method: None };
    let chosen = problem::choose(entry, layers, &known, file.as_ref(), &folder)?;
    let device = start(&options.run)?;
    let name = image.place.label();
    let truth = chosen.instrument.truth(&name, &image.in_units(&of_image)?.f_to_device(device)?)?;
    let observed = chosen.instrument.observe(&truth, Seed::new(options.run.seed))?;
    let (of_result, stored) = match projections {
        true => (Units::as_stored("float"), Stored::FLOAT),
        false => (of_image.clone(), image.stored),
    };
    let written = Written::like(&options.output, &of_result, stored, options.depth)?;
    let cut = written.write(&observed)?;
    if cut > 1e-3 {
        tracing::warn!(
            "{:.1} % of the values lie beyond what the type holds, and were cut: --depth float keeps them",
            100.0 * cut
        );
    }
    let size = observed.size().split_off(2);
    let shown: Vec<String> = size.iter().map(ToString::to_string).collect();
    for (key, value) in chosen.instrument.protocol().into_iter().filter(|(key, _)| *key != "Score") {
        context.say(&format!("{:12} {value}", key.to_lowercase()));
    }
    context.say(&format!("{:12} {} pixels: {}", "observation", shown.join(" x "), written.line()));
    context.answer(&options.output.display().to_string(), || {
        json!({
            "image": name,
            "output": options.output.display().to_string(),
            "size": size,
            "problem": entry.name,
            "settings": chosen.layers.lines(),
            "units": of_image,
            "seed": options.run.seed,
            "clipped": cut,
        })
    })
}

/// Runs `smalti phantom`.
pub(crate) fn phantom(options: &Phantom, context: &Context) -> Result<(), Fault> {
    check_writable(&options.output, options.force)?;
    let (size, seed) = (options.size, Seed::new(options.seed));
    let image = match options.kind {
        PhantomKind::Microstructure => synthetic::microstructure(size, size, seed, 0)?,
        PhantomKind::Chest => synthetic::chest(size, size, seed, Part::Test, 0)?,
        PhantomKind::Volume => {
            if crate::images::end(&options.output) != "npy" {
                return Err(usage(format!("{}: a volume is written as .npy", options.output.display())));
            }
            synthetic::microstructure_volume(size, (size as f64 / 4.0).max(4.0), seed, 0)?.f_unsqueeze(0)?
        }
    };
    let stored = Stored::unsigned(16);
    let units = Units { values: "uint16".into(), low: 0.0, high: stored.unit, from: "the type".into() };
    let (units, stored) = match crate::images::end(&options.output).as_str() {
        "npy" => (Units::as_stored("float"), Stored::FLOAT),
        _ if options.depth == Some(Depth::Eight) => {
            (Units { values: "uint8".into(), high: 255.0, ..units }, Stored::unsigned(8))
        }
        _ => (units, stored),
    };
    Written::like(&options.output, &units, stored, options.depth)?.write(&image)?;
    context.answer(&options.output.display().to_string(), || {
        json!({ "output": options.output.display().to_string(), "size": image.size().split_off(2), "seed": options.seed })
    })
}
