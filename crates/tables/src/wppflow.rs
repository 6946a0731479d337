//! The table of a WPPFlow: trains the flow, draws samples for every test image, scores their mean and one of them beside
//! bicubic interpolation, and says how uncertain they are.

mod consistency;
mod learn;
mod samples;

use crate::data::DataSource;
use crate::experiment::wppflow::{Profile, WppFlowTable};
use crate::outcome::{Figures, Map, Outcome, Restored, Row, Shown};
use crate::report::{Facts, how};
use crate::run::RunOptions;
use crate::wppnets::material::{Seen, observe, operator};
use crate::wppnets::{BICUBIC, bicubic, published, score, scored};
use learn::learn;
use samples::Samples;
use smalti_base::{Result, Space};
use smalti_methods::problems::superresolution::Form;
use std::time::Instant;
use tch::Tensor;

/// Keys in `table.csv` and titles of the mean of the draws, and of the draws that the report shows.
const MEAN: (&str, &str) = ("wppflow", "WPPFlow, mean of draws");
const DRAWS: [(&str, &str); 3] = [
    ("wppflow_draw", "WPPFlow, one draw"),
    ("wppflow_draw_2", "WPPFlow, second draw"),
    ("wppflow_draw_3", "WPPFlow, third draw"),
];

/// The name of a row for readers.
fn title(key: &str) -> Option<&'static str> {
    std::iter::once(&MEAN).chain(&DRAWS).find(|(known, _)| *known == key).map(|(_, title)| *title)
}

/// Trains the flow of `profile` and draws its samples. It is written to the folder of results as
/// `wppflow.safetensors`; its training can be watched in `tensorboard`.
///
/// # Errors
/// What loading, training and scoring meet.
pub fn run(
    experiment: &WppFlowTable,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    let run = options.to_run();
    let mut outcome = Outcome::default();
    // What is wrong with a test image is said before the training, not after it.
    for test in &experiment.data.tests {
        let seen = observe(test, &experiment.data, data, options)?;
        score(&seen.truth, &seen.truth, experiment.crop)?;
        if profile.consistency {
            let domain = Space::of(&test.truth, &seen.truth)?;
            consistency::layer(&operator(&experiment.data, Form::WrapAfter, domain, data)?)?;
        }
    }
    let learned = learn(experiment, profile, data, options, &run)?;
    for (i, test) in experiment.data.tests.iter().enumerate() {
        run.check()?;
        let seen = observe(test, &experiment.data, data, options)?;
        let start = Instant::now();
        let interpolated = bicubic(&seen)?;
        let first = start.elapsed().as_secs_f64();
        let domain = Space::of(&test.truth, &seen.truth)?;
        let operator = |form| operator(&experiment.data, form, domain, data);
        let (periodic, trained) = (operator(Form::WrapAfter)?, operator(profile.training.form)?);
        let start = Instant::now();
        let mut stream = options.seed.derive("samples of the WPPFlow", i as u64).at("latents", 0);
        let drawn = learned.flow.sample(&seen.observation, profile.draws, &mut stream)?;
        let near = || {
            let (operators, seed) =
                ((&periodic, &trained), options.seed.derive("residual of the WPPFlow", i as u64));
            consistency::consistent(
                &learned.flow,
                &drawn,
                &seen.observation,
                operators,
                experiment.noise,
                seed,
            )
        };
        let consistent = profile.consistency.then(near).transpose()?;
        let samples = Samples::of(consistent.as_ref().unwrap_or(&drawn).shallow_clone())?;
        let seconds = start.elapsed().as_secs_f64();
        let before = consistent.is_some().then_some(&drawn);
        let said = samples.note(experiment, &seen.truth, &seen.observation, &periodic, before)?;
        let results = [
            (BICUBIC, interpolated, first),
            (MEAN.0, samples.mean.shallow_clone(), seconds),
            (DRAWS[0].0, samples.draw(0)?, seconds / profile.draws as f64),
        ];
        for border in [0, experiment.crop] {
            for (key, x, seconds) in &results {
                let note = if *key == MEAN.0 { format!("{}; {said}", learned.note()) } else { String::new() };
                let part = if border == 0 { "whole".to_owned() } else { format!("{border} px crop") };
                outcome.rows.push(Row {
                    method: (*key).into(),
                    title: title(key).unwrap_or(BICUBIC).into(),
                    images: 1,
                    ours: score(x, &seen.truth, border)?,
                    seconds_mean: Some(*seconds),
                    // The published images are single draws.
                    published: match data {
                        DataSource::Folder { .. } if *key == DRAWS[0].0 => published(test, border),
                        _ => Figures::default(),
                    },
                    distance: None,
                    data: format!("{}, {part}", seen.label),
                    note,
                });
            }
        }
        outcome.plots.push(samples.calibration(&seen.truth, experiment.crop, &seen.label)?);
        outcome.shown.push(shown(seen, &samples, &results[0].1, experiment.crop)?);
    }
    Ok(outcome)
}

fn shown(seen: Seen, samples: &Samples, bicubic: &Tensor, border: i64) -> Result<Shown> {
    let mut images = vec![(BICUBIC, BICUBIC, bicubic.shallow_clone())];
    for (i, (key, title)) in DRAWS.into_iter().enumerate() {
        images.push((key, title, samples.draw(i as i64)?));
    }
    images.push((MEAN.0, MEAN.1, samples.mean.shallow_clone()));
    let mut results = Vec::new();
    for (key, title, image) in images {
        let figures = score(&image, &seen.truth, border)?;
        let mean = |figure: Option<crate::outcome::Figure>| figure.map_or(f64::NAN, |f| f.mean);
        let (key, title) = (key.to_owned(), title.to_owned());
        results.push(Restored { key, title, image, psnr: mean(figures.psnr), ssim: mean(figures.ssim) });
    }
    let (image, scale) = samples.picture()?;
    let caption = format!("black 0, white {scale:.2} or more");
    let maps =
        vec![Map { key: "standard-deviation".into(), title: "Standard deviation".into(), caption, image }];
    let Seen { truth, observation, grid, label } = seen;
    let name = label.trim_end_matches(" (synthetic)").to_owned();
    let scored = scored(&truth, border)?;
    Ok(Shown { name, truth, observation: Some((observation, grid)), scored, results, maps })
}

/// What the report says about the run.
pub fn facts<'a>(
    experiment: &'a WppFlowTable,
    profile: &Profile,
    data: &'a DataSource,
    options: &RunOptions,
) -> Facts<'a> {
    let crop = experiment.crop;
    let mut protocol = vec![
        ("Experiment", format!("{}, profile {}", experiment.name, options.profile)),
        (
            "Score",
            format!(
                "PSNR (range 1) and SSIM (7 × 7 uniform window) of the whole image and without the outer {crop} px; \
                 uncertainty without them"
            ),
        ),
        ("Learned from", "observed crops and one reference image; no pairs".to_owned()),
    ];
    protocol.extend(how(options));
    let settings =
        [toml::to_string(profile), toml::to_string(&experiment.data)].map(Result::unwrap_or_default);
    Facts {
        title: &experiment.title,
        window: [0.0, 1.0],
        data,
        sources: vec!["single images, measured from the published results of the authors".to_owned()],
        protocol,
        settings: settings.join("\n"),
    }
}
