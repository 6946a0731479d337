//! The table of WPPNets: trains every network of a profile, then scores it on its test images beside bicubic
//! interpolation.

mod learn;
pub(crate) mod material;

use crate::data::DataSource;
use crate::experiment::wppnets::{Network, Profile, Test, WppNets};
use crate::outcome::{Figure, Figures, Outcome, Restored, Row, Shown};
use crate::report::{Facts, how};
use crate::run::RunOptions;
use learn::{Learned, check, learn};
use material::{Seen, observe};
use smalti_base::metrics::{crop, psnr, ssim};
use smalti_base::{Result, Space};
use smalti_operators::{Border, interpolate};
use std::time::Instant;
use tch::Tensor;

/// The key of WPPNets in `table.csv`.
pub const KEY: &str = "wppnet";

/// The key of bicubic interpolation, and its name for readers.
pub(crate) const BICUBIC: &str = "bicubic";

/// Their name for readers.
pub const TITLE: &str = "WPPNet";

/// Bytes of activations at a time when a network is applied to a whole image.
const MEMORY: usize = 1 << 30;

/// Trains the networks of `profile` and tests them. Trained networks are written to the folder of results as
/// `NAME.safetensors`, and their trainings can be watched in `tensorboard/NAME`.
///
/// # Errors
/// What loading, training and scoring meet.
pub fn run(
    experiment: &WppNets,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    let run = options.to_run();
    let mut outcome = Outcome::default();
    // What is wrong with any file is said before the first training, not after it.
    for (name, network) in experiment.networks(profile) {
        for test in &network.tests {
            let seen = observe(test, network, data, options)?;
            score(&seen.truth, &seen.truth, experiment.crop)?;
        }
        check(name, network, &profile.training, data, options)?;
    }
    for (name, network) in experiment.networks(profile) {
        let learned = learn(name, network, &profile.training, data, options, &run)?;
        for (i, test) in network.tests.iter().enumerate() {
            run.check()?;
            let seen = observe(test, network, data, options)?;
            let results = restore(&learned, &seen)?;
            let label = format!("{name}: {}", seen.label);
            for border in [0, experiment.crop] {
                for (key, x, seconds) in &results {
                    let note = if *key == KEY { learned.note() } else { String::new() };
                    let ours = score(x, &seen.truth, border)?;
                    let published = match data {
                        DataSource::Synthetic => Figures::default(),
                        _ if *key == KEY => published(test, border),
                        _ => Figures::default(),
                    };
                    let part = if border == 0 { "whole".to_owned() } else { format!("{border} px crop") };
                    outcome.rows.push(Row {
                        method: (*key).into(),
                        title: if *key == KEY { TITLE } else { BICUBIC }.into(),
                        images: 1,
                        ours,
                        seconds_mean: Some(*seconds),
                        published,
                        distance: None,
                        data: format!("{label}, {part}"),
                        note,
                    });
                }
            }
            if i == 0 {
                outcome.shown.push(shown(seen, results, experiment.crop)?);
            }
        }
    }
    Ok(outcome)
}

/// What every method makes of an observation, by key, with the seconds that it took.
fn restore(learned: &Learned, seen: &Seen) -> Result<[(&'static str, Tensor, f64); 2]> {
    let start = Instant::now();
    let bicubic = bicubic(seen)?;
    let first = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let image = learned.net.infer(&seen.observation, MEMORY)?;
    Ok([(BICUBIC, bicubic, first), (KEY, image, start.elapsed().as_secs_f64())])
}

/// Bicubic interpolation at the operator's pixel centres.
pub(crate) fn bicubic(seen: &Seen) -> Result<Tensor> {
    let Seen { truth, observation, grid, .. } = seen;
    let domain = Space::of("test image", truth)?;
    let observed = Space::of("observation", observation)?;
    let wraps = |n: i64, m: i64, spacing: f64| (m as f64 * spacing - n as f64).abs() < 1e-6;
    let periodic = wraps(domain.height, observed.height, grid.spacing.0)
        && wraps(domain.width, observed.width, grid.spacing.1);
    let border = if periodic { Border::Periodic } else { Border::Clamp };
    interpolate(observation, *grid, domain, border)
}

/// PSNR and SSIM without the outer `border` pixels.
pub(crate) fn score(x: &Tensor, truth: &Tensor, border: i64) -> Result<Figures> {
    let (x, truth) = (crop(x, border)?, crop(truth, border)?);
    let figure = |value: f64| Figure::over(&[value]);
    Ok(Figures { psnr: figure(psnr(&x, &truth, 1.0)?), ssim: figure(ssim(&x, &truth, 1.0)?), lpips: None })
}

/// The part of an image without its outer `border` pixels.
pub(crate) fn scored(truth: &Tensor, border: i64) -> Result<[(i64, i64); 2]> {
    let Space { height, width, .. } = Space::of("test image", truth)?;
    Ok([(border, height - 2 * border), (border, width - 2 * border)])
}

/// The published figures of a test image.
pub(crate) fn published(test: &Test, border: i64) -> Figures {
    let figure = |value: Option<f64>| Some(Figure { mean: value?, std: None });
    match border {
        0 => Figures { psnr: figure(test.published_psnr), ssim: figure(test.published_ssim), lpips: None },
        _ => Figures { psnr: figure(test.published_psnr_crop), ..Figures::default() },
    }
}

fn shown(seen: Seen, results: [(&'static str, Tensor, f64); 2], border: i64) -> Result<Shown> {
    let mut restored = Vec::new();
    for (key, image, _) in results {
        let figures = score(&image, &seen.truth, border)?;
        let mean = |figure: Option<Figure>| figure.map_or(f64::NAN, |f| f.mean);
        let title = if key == KEY { TITLE } else { BICUBIC };
        let (key, title) = (key.to_owned(), title.to_owned());
        restored.push(Restored { key, title, image, psnr: mean(figures.psnr), ssim: mean(figures.ssim) });
    }
    let Seen { truth, observation, grid, label } = seen;
    let name = label.trim_end_matches(" (synthetic)").to_owned();
    let scored = scored(&truth, border)?;
    let observation = Some((observation, grid));
    Ok(Shown { name, truth, observation, scored, results: restored, maps: Vec::new() })
}

/// What the report says about the run.
pub fn facts<'a>(
    experiment: &'a WppNets,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Facts<'a> {
    let mut protocol = vec![
        ("Experiment", format!("{}, profile {}", experiment.name, options.profile)),
        (
            "Score",
            format!(
                "PSNR (range 1) and SSIM (7 × 7 uniform window) of the whole image and without the outer {} px",
                experiment.crop
            ),
        ),
        ("Learned from", "observed crops and one reference image; no pairs".to_owned()),
    ];
    protocol.extend(how(options));
    let networks: std::collections::BTreeMap<&str, &Network> = experiment.networks(profile).collect();
    let settings = [toml::to_string(profile), toml::to_string(&networks)].map(Result::unwrap_or_default);
    Facts {
        title: &experiment.title,
        window: [0.0, 1.0],
        data,
        sources: vec!["single images, measured from the published results of the authors".to_owned()],
        protocol,
        settings: settings.join("\n"),
    }
}
