//! The superresolution table: observes every image, runs every method on it, scores what comes back.

use crate::data::DataSource;
use crate::experiment::settings::{Form, Operator as OperatorSettings};
use crate::experiment::{EvaluationSet, Experiment, Method, Profile};
use crate::methods::{Methods, Task};
use crate::outcome::{Figure, Figures, Outcome, Restored, Row, Shown};
use crate::run::RunOptions;
use crate::state::Reconstruction;
use smalti_base::metrics::{crop, psnr, ssim};
use smalti_base::{Error, Result, Space};
use smalti_flows::Precision;
use smalti_operators::{Convolution, Extension, Operator};
use tch::Tensor;

/// Trains what is needed, then runs the sets of `profile`. An image that stands in several sets is observed
/// with the same noise and reconstructed once.
///
/// # Errors
/// What loading, observing and the methods meet.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    // What is wrong with an image is said before the training, not after it.
    for set in &profile.sets {
        for name in data.names(&set.images, set.take)? {
            let truth = centre(&data.load(&name)?, profile.size)?;
            operator(&experiment.operator, Space::of(&name, &truth)?)?;
        }
    }
    let methods = Methods::prepare(experiment, profile, data, options)?;
    let mut outcome = Outcome::default();
    for set in &profile.sets {
        evaluate(set, &methods, experiment, profile, data, options, &mut outcome)?;
    }
    outcome.curve = methods.prior.map(|prior| prior.curve);
    Ok(outcome)
}

fn evaluate(
    set: &EvaluationSet,
    methods: &Methods<'_>,
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
        let task = Task { name, operator: &operator, observation: &observation };
        let mut results = Vec::new();
        for (&method, scores) in set.methods.iter().zip(&mut scores) {
            let Reconstruction { image, seconds } = methods.reconstruct(method, &task)?;
            let (x, t) = (crop(&image, experiment.crop)?, crop(&truth, experiment.crop)?);
            let (psnr, ssim) = (psnr(&x, &t, 1.0)?, ssim(&x, &t, 1.0)?);
            tracing::info!("{}: {} {psnr:.2} dB, SSIM {ssim:.3}", name, method.title());
            scores.push([psnr, ssim, seconds]);
            results.push(Restored { method, image, psnr, ssim });
        }
        if i < set.show {
            let (name, grid) = (name.clone(), operator.grid());
            outcome.shown.push(Shown { name, truth, observation, grid, results });
        }
    }
    // Published figures stand beside figures on whole images of the published data only.
    let comparable = !matches!(data, DataSource::Synthetic) && profile.size.is_none();
    for (&method, scores) in set.methods.iter().zip(scores) {
        let over = |k: usize| Figure::over(&scores.iter().map(|s| s[k]).collect::<Vec<f64>>());
        outcome.rows.push(Row {
            method: method.key().into(),
            images: scores.len(),
            ours: Figures { psnr: over(0), ssim: over(1), lpips: None },
            seconds_mean: over(2).map(|f| f.mean),
            published: if comparable { set.published(method) } else { Figures::default() },
            data: label.clone(),
            note: note(method, methods),
        });
    }
    Ok(())
}

/// What the seconds of a row do not hold.
fn note(method: Method, methods: &Methods<'_>) -> String {
    match (&methods.prior, method) {
        (Some(prior), Method::Patchnr | Method::PatchnrAuthors) if prior.curve.training.is_empty() => {
            "trained before this run".into()
        }
        (Some(prior), Method::Patchnr | Method::PatchnrAuthors) => {
            let nll = prior.curve.validation.last().map_or(f64::NAN, |&(_, value)| value);
            let steps = prior.curve.training.last().map_or(0, |&(step, _)| step);
            let products = match prior.precision {
                Precision::Full => "float32",
                Precision::Bf16 => "bfloat16 between hidden layers",
            };
            let seconds = prior.seconds;
            format!(
                "trained once: {steps} steps in {seconds:.0} s, validation NLL {nll:.1}; products in {products}"
            )
        }
        _ => String::new(),
    }
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
