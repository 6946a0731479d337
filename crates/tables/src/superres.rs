//! The superresolution table: observes every image, runs every method on it, scores what comes back.

use crate::data::DataSource;
use crate::experiment::settings::{Form, Operator as OperatorSettings};
use crate::experiment::{EvaluationSet, Experiment, Method, Profile};
use crate::outcome::{Figure, Figures, Outcome, Restored, Row, Shown};
use crate::run::RunOptions;
use smalti_base::metrics::{crop, psnr, ssim};
use smalti_base::{Error, Result, Space};
use smalti_operators::{Border, Convolution, Extension, Operator, interpolate};
use std::time::Instant;
use tch::Tensor;

/// Runs the sets of `profile`.
///
/// # Errors
/// What loading, observing and the methods meet.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for set in &profile.sets {
        evaluate(set, experiment, profile, data, options, &mut outcome)?;
    }
    Ok(outcome)
}

fn evaluate(
    set: &EvaluationSet,
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
    outcome: &mut Outcome,
) -> Result<()> {
    let names = data.names(&set.images, set.take)?;
    let label = data.label(&names);
    let mut scores = vec![Vec::new(); set.methods.len()];
    for (i, name) in names.iter().enumerate() {
        let truth = centre(&data.load(name)?, profile.size)?.to_device(options.device);
        let operator = operator(&experiment.operator, Space::of(name, &truth)?)?;
        let exact = operator.apply(&truth)?;
        let noise = options.seed.derive(name, 0).at("observation noise", 0).normal(&exact.size());
        let observation = exact + noise.to_device(options.device) * experiment.operator.noise;
        let mut results = Vec::new();
        for (k, &method) in set.methods.iter().enumerate().filter(|&(_, &m)| m == Method::Bicubic) {
            let start = Instant::now();
            let border = match experiment.operator.form {
                Form::WrapAfter => Border::Periodic,
                _ => Border::Clamp,
            };
            let image = interpolate(&observation, operator.grid(), operator.domain(), border)?;
            let seconds = start.elapsed().as_secs_f64();
            let (x, t) = (crop(&image, experiment.crop)?, crop(&truth, experiment.crop)?);
            let (psnr, ssim) = (psnr(&x, &t, 1.0)?, ssim(&x, &t, 1.0)?);
            scores[k].push([psnr, ssim, seconds]);
            results.push(Restored { method, image, psnr, ssim });
        }
        if i < set.show {
            let name = name.clone();
            outcome.shown.push(Shown { name, truth, observation, grid: operator.grid(), results });
        }
    }
    for (&method, scores) in set.methods.iter().zip(scores) {
        let over = |k: usize| Figure::over(&scores.iter().map(|s| s[k]).collect::<Vec<f64>>());
        outcome.rows.push(Row {
            method: method.key().into(),
            images: scores.len(),
            ours: Figures { psnr: over(0), ssim: over(1), lpips: None },
            seconds_mean: over(2).map(|f| f.mean),
            published: set.published(method),
            data: label.clone(),
            note: if scores.is_empty() {
                "not run: there is no solver for it yet".into()
            } else {
                String::new()
            },
        });
    }
    Ok(())
}

/// The central square of `size` pixels of an image, or all of it.
fn centre(image: &Tensor, size: Option<i64>) -> Result<Tensor> {
    let Some(size) = size else { return Ok(image.shallow_clone()) };
    let Space { height, width, .. } = Space::of("image", image)?;
    if height.min(width) < size {
        return Err(Error::shape("image", format!("at least {size} x {size} pixels"), image.size()));
    }
    Ok(image.f_narrow(2, (height - size) / 2, size)?.f_narrow(3, (width - size) / 2, size)?.f_contiguous()?)
}

fn operator(settings: &OperatorSettings, domain: Space) -> Result<Convolution> {
    let OperatorSettings { kernel_size: k, sigma, stride, form, .. } = *settings;
    let extension = match form {
        Form::WrapAfter => Extension::WrapAfter,
        Form::Valid => Extension::Valid,
        Form::Reflect => Extension::Reflect { before: (k - 1) / 2, after: k / 2 },
    };
    Convolution::superresolution(domain, k, sigma, stride, extension)
}
