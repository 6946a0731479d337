//! The superresolution table: observes every image, runs every method on it, scores what comes back.

use crate::data::DataSource;
use crate::experiment::settings::{Form, Operator as OperatorSettings};
use crate::experiment::{EvaluationSet, Experiment, Method, Profile};
use crate::methods::{self, Methods, Prior, Task};
use crate::outcome::{Figure, Figures, Outcome, Restored, Row, Shown, Transport};
use crate::run::RunOptions;
use crate::state::Reconstruction;
use smalti_base::metrics::{self, Summary};
use smalti_base::{Error, Result, Space};
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
            let space = Space::of(&name, &truth)?;
            operator(&experiment.operator, space)?;
            if let Some(settings) = &profile.wpp
                && set.methods.iter().any(|m| matches!(m, Method::Wpp | Method::WppAuthors))
            {
                methods::wpp::check_size(settings, space)?;
            }
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

/// An image as an instrument sees it.
pub struct Observed {
    /// The image, `[1, 1, H, W]`.
    pub truth: Tensor,
    /// The forward operator.
    pub operator: Convolution,
    /// The observation, `[1, 1, h, w]`, with noise that depends on the seed of the run and the name of the image.
    pub observation: Tensor,
}

/// Observes the image `name` by the protocol of the table, on the device of the run.
///
/// # Errors
/// Those of loading, and of an image that does not fit the operator.
pub fn observe(
    name: &str,
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Observed> {
    let truth = centre(&data.load(name)?, profile.size)?.to_device(options.device);
    let operator = operator(&experiment.operator, Space::of(name, &truth)?)?;
    let exact = operator.apply(&truth)?;
    let noise = options.seed.derive(name, 0).at("observation noise", 0).normal(&exact.size());
    let observation = exact + noise.to_device(options.device) * experiment.operator.noise;
    Ok(Observed { truth, operator, observation })
}

/// How a reconstruction scores, by the protocol of the table: without the outer pixels.
#[derive(Debug, Clone, Copy)]
pub struct Score {
    /// PSNR in dB, range 1.
    pub psnr: f64,
    /// SSIM, 7 x 7 uniform window.
    pub ssim: f64,
    /// Blur effect of the reconstruction.
    pub blur: f64,
    /// Blur effect of the truth.
    pub blur_of_truth: f64,
}

impl Score {
    /// The score of `image` against `truth` without the outer `crop` pixels.
    ///
    /// # Errors
    /// Those of the metrics.
    pub fn of(image: &Tensor, truth: &Tensor, crop: i64) -> Result<Self> {
        let (x, t) = (metrics::crop(image, crop)?, metrics::crop(truth, crop)?);
        let (psnr, ssim) = (metrics::psnr(&x, &t, 1.0)?, metrics::ssim(&x, &t, 1.0)?);
        Ok(Self { psnr, ssim, blur: metrics::blur_effect(&x)?, blur_of_truth: metrics::blur_effect(&t)? })
    }
}

/// What a row adds up.
struct Entry {
    score: Score,
    seconds: f64,
    transport: Option<Transport>,
    /// The distance of the truth, for the rows that know their own.
    transport_of_truth: Option<Transport>,
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
    let mut columns: Vec<Vec<Entry>> = set.methods.iter().map(|_| Vec::new()).collect();
    for (i, name) in names.iter().enumerate() {
        let Observed { truth, operator, observation } = observe(name, experiment, profile, data, options)?;
        let task = Task { name, operator: &operator, observation: &observation };
        let transported = set.methods.iter().any(|m| matches!(m, Method::Wpp | Method::WppAuthors));
        let of_truth = if transported { methods.distance(&truth)? } else { None };
        let mut results = Vec::new();
        for (&method, column) in set.methods.iter().zip(&mut columns) {
            let Reconstruction { image, seconds, transport } = methods.reconstruct(method, &task)?;
            let score = Score::of(&image, &truth, experiment.crop)?;
            let Score { psnr, ssim, .. } = score;
            tracing::info!("{}: {} {psnr:.2} dB, SSIM {ssim:.3}", name, method.title());
            column.push(Entry { score, seconds, transport, transport_of_truth: of_truth });
            results.push(Restored { key: method.key(), title: method.title(), image, psnr, ssim });
        }
        if i < set.show {
            let (name, observation) = (name.clone(), Some((observation, operator.grid())));
            outcome.shown.push(Shown { name, truth, observation, results, maps: Vec::new() });
        }
    }
    // Published figures stand beside figures on whole images of the published data only.
    let comparable = !matches!(data, DataSource::Synthetic) && profile.size.is_none();
    for (&method, column) in set.methods.iter().zip(columns) {
        let over = |of: fn(&Entry) -> f64| Figure::over(&column.iter().map(of).collect::<Vec<f64>>());
        outcome.rows.push(Row {
            method: method.key().into(),
            images: column.len(),
            ours: Figures { psnr: over(|r| r.score.psnr), ssim: over(|r| r.score.ssim), lpips: None },
            seconds_mean: over(|r| r.seconds).map(|f| f.mean),
            published: if comparable { set.published(method) } else { Figures::default() },
            distance: None,
            data: label.clone(),
            note: note(method, methods, &column),
        });
    }
    Ok(())
}

/// What the figures of a row do not say.
fn note(method: Method, methods: &Methods<'_>, column: &[Entry]) -> String {
    match method {
        Method::Patchnr | Method::PatchnrAuthors => {
            methods.prior.as_ref().map_or_else(String::new, Prior::note)
        }
        Method::Wpp | Method::WppAuthors => transport(column),
        _ => String::new(),
    }
}

/// Distance and sharpness, means over the images.
fn transport(column: &[Entry]) -> String {
    let mean = |of: &dyn Fn(&Entry) -> f64| Summary::of(&column.iter().map(of).collect::<Vec<f64>>()).mean;
    let known: Vec<Transport> = column.iter().filter_map(|r| r.transport).collect();
    let over = |of: fn(&Transport) -> f64| Summary::of(&known.iter().map(of).collect::<Vec<f64>>()).mean;
    let (distance, evaluations) = (over(|t| t.distance.full()), over(|t| t.evaluations as f64));
    let (patches, references) = known.first().map_or((0, 0), |t| (t.patches, t.references));
    let truths: Vec<Transport> = column.iter().filter_map(|r| r.transport_of_truth).collect();
    let of_truth = Summary::of(&truths.iter().map(|t| t.distance.full()).collect::<Vec<f64>>()).mean;
    let gap = known.iter().chain(&truths).try_fold(0.0, |largest: f64, t| Some(largest.max(t.gap?)));
    let gap = gap.map_or("unknown".into(), |gap| format!("{:.2} %", 100.0 * gap));
    let (blur, truth) = (mean(&|r| r.score.blur), mean(&|r| r.score.blur_of_truth));
    format!(
        "W2^2 of {patches} of the result's patches to {references} reference patches {distance:.5}, of the truth's \
         {of_truth:.5} (cost |p - q|^2, scale 0, gap at most {gap}); {evaluations:.0} c-transforms in a reconstruction; blur effect {blur:.3}, of the truth \
         {truth:.3}"
    )
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
