//! The table of Langevin chains: poses a problem, learns a patch density, finds the mode of the posterior, draws from it, and says
//! whether the draws can be trusted.
//!
//! Reading order: `posed`, `sampling`, `said`, [`run`].

mod posed;
mod said;
mod sampling;

use crate::data::DataSource;
use crate::experiment::langevin::{Inverse, LangevinTable, Profile};
use crate::methods::train;
use crate::outcome::{Figure, Outcome, Restored, Row, Shown};
use crate::report::{Facts, how};
use crate::run::RunOptions;
use crate::state::State;
use posed::Posed;
use sampling::Target;
use smalti_base::Result;
use std::time::Instant;
use tch::Kind;

/// Keys in `table.csv` and titles.
const FILL_IN: (&str, &str) = ("fill_in", "smooth fill-in");
const MODE: (&str, &str) = ("patchnr_map", "patchNR, MAP");
const MEAN: (&str, &str) = ("patchnr_mean", "patchNR, posterior mean");
const DRAWS: [(&str, &str); 3] = [
    ("patchnr_draw", "patchNR, one draw"),
    ("patchnr_draw_2", "patchNR, second draw"),
    ("patchnr_draw_3", "patchNR, third draw"),
];

/// The name of a row for readers.
pub(crate) fn title(key: &str) -> Option<&'static str> {
    let all = [&FILL_IN, &MODE, &MEAN].into_iter().chain(&DRAWS);
    all.into_iter().find(|(known, _)| *known == key).map(|(_, title)| *title)
}

/// Runs `profile`. The trained flow is written to the folder of results as `patchnr.safetensors`.
///
/// # Errors
/// What loading, training, the iteration and the chains meet; a chain that diverges is one.
pub fn run(
    experiment: &LangevinTable,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    let state = State::of(options);
    let clock = Instant::now();
    // What is wrong with the problem is said before the training, not after it.
    let mut posed = Posed::new(experiment, profile, data, options)?;
    let first = clock.elapsed().as_secs_f64();
    let references = std::mem::take(&mut posed.references);
    let prior = train(&profile.patchnr, references, None, options, &state)?;
    let target =
        Target { posed: &posed, prior: &prior, posterior: profile.patchnr.map, options, state: &state };
    let mode = target.mode()?;
    let drawn = target.draws(&mode.image, &profile.chains)?;
    let found = &drawn.samples;
    let mean = found.mean.to_kind(Kind::Float).to_device(options.device);
    // Single draws are the last ones of different chains, then those before.
    let [chains, kept] = [0, 1].map(|d| found.samples.size()[d]);
    let draw = |i: i64| found.samples.get(i % chains).narrow(0, (kept - 1 - i / chains).max(0), 1);
    let start_title = crate::ct::title(posed.start_key).or(title(posed.start_key)).unwrap_or(posed.start_key);
    let said = format!("{}; {}", prior.note(), said::note(&posed, &profile.chains, found)?);
    let mut results = vec![
        ((posed.start_key, start_title), posed.start.shallow_clone(), first, String::new()),
        (MODE, mode.image, mode.seconds, String::new()),
        (MEAN, mean, drawn.seconds, said),
    ];
    for (i, named) in DRAWS.into_iter().enumerate() {
        results.push((named, draw(i as i64), 0.0, String::new()));
    }
    let mut outcome = Outcome { curve: Some(prior.curve), ..Outcome::default() };
    let mut restored = Vec::new();
    for ((key, title), image, seconds, note) in results {
        let figures = posed.score(&image)?;
        let value = |figure: Option<Figure>| figure.map_or(f64::NAN, |f| f.mean);
        tracing::info!("{title}: {:.2} dB, SSIM {:.3}", value(figures.psnr), value(figures.ssim));
        if !DRAWS[1..].iter().any(|(other, _)| *other == key) {
            outcome.rows.push(Row {
                method: key.into(),
                images: 1,
                ours: figures,
                seconds_mean: (key != DRAWS[0].0).then_some(seconds),
                data: posed.label.clone(),
                note,
                ..Row::default()
            });
        }
        restored.push(Restored { key, title, image, psnr: value(figures.psnr), ssim: value(figures.ssim) });
    }
    outcome.plots = said::plots(&posed, profile.chains.thin, found)?;
    outcome.shown.push(Shown {
        name: posed.label.clone(),
        maps: said::maps(found, experiment.window)?,
        truth: posed.truth,
        observation: posed.seen,
        results: restored,
    });
    Ok(outcome)
}

/// What the report says about the run.
pub fn facts<'a>(
    experiment: &'a LangevinTable,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Facts<'a> {
    let posterior = profile.patchnr.map;
    let (problem, score) = match profile.problem {
        Inverse::Ct(settings) => {
            let (scan, noise) = (settings.scan, settings.noise);
            let problem = format!(
                "parallel beam, {} of {} directions over 180°, {} detector pixels; slice of {3} × {3} px on {4} × {4} m, \
                 simulated on {5} × {5} px; Poisson noise, {6} photons",
                scan.angles - 2 * scan.missing,
                scan.angles,
                scan.detectors,
                scan.size,
                scan.extent,
                scan.simulation_size,
                noise.photons
            );
            (problem, "of the whole slice; range: that of its truth")
        }
        Inverse::Inpainting(settings) => {
            let (part, hole) = (settings.part, settings.hole);
            let problem = format!(
                "hole of {} × {} px in a part of {} × {} px; white Gaussian noise of σ = {} on what is seen",
                hole.height, hole.width, part.height, part.width, settings.noise
            );
            (problem, "of the hole; range 1")
        }
    };
    let learned = match profile.problem {
        Inverse::Inpainting(settings) if settings.neighbourhood.is_some() => {
            "what is seen around the hole".to_owned()
        }
        _ => data.label(&data.names(&experiment.data.train, None).unwrap_or_default()),
    };
    let mut protocol = vec![
        ("Experiment", format!("{}, profile {}", experiment.name, options.profile)),
        ("Problem", problem),
        (
            "Posterior",
            format!(
                "density exp(−E), E = negative log-likelihood (a sum) + {} × mean negative log-density of all patches",
                posterior.lambda
            ),
        ),
        ("Score", format!("PSNR and SSIM (7 × 7 uniform window) {score}; intervals likewise")),
        ("Prior learned from", learned),
    ];
    protocol.extend(how(options));
    Facts {
        title: &experiment.title,
        crop: 0,
        window: experiment.window,
        data,
        sources: Vec::new(),
        protocol,
        settings: toml::to_string(profile).unwrap_or_default(),
    }
}
