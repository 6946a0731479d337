//! The methods of the superresolution table.

pub(crate) mod counted;
pub(crate) mod wpp;

use crate::data::DataSource;
use crate::experiment::settings::{self, ClampChoice, Form, PrecisionChoice};
use crate::experiment::{Experiment, Method, Profile};
use crate::outcome::{TrainingCurve, Transport};
use crate::run::RunOptions;
use crate::state::{Reconstruction, State};
use garde::Validate;
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, Precision, SoftClamp};
use smalti_operators::{Border, Convolution, Gaussian, Operator, interpolate};
use smalti_priors::{PatchPrior, Sampling, weight};
use smalti_solvers::{
    AdamSettings, Budget, Iteration, Map, Observer, PatchNrTraining, Problem, Schedule, TrainingSettings,
    TvPrimalDual, run,
};
use std::fmt::Debug;
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// One image to reconstruct.
pub struct Task<'a> {
    /// Its name.
    pub name: &'a str,
    /// The forward operator.
    pub operator: &'a Convolution,
    /// The observation, `[1, 1, h, w]`.
    pub observation: &'a Tensor,
}

/// A patchNR flow trained for the run.
pub struct Prior {
    pub(crate) flow: PatchNr,
    /// Hash of the weights, and the precision that they compute in.
    pub(crate) identity: String,
    /// Training and validation loss over the steps.
    pub curve: TrainingCurve,
    /// Seconds of the training.
    pub seconds: f64,
    /// The dtype of its matrix products.
    pub precision: Precision,
}

impl Prior {
    fn new(
        flow: PatchNr,
        curve: TrainingCurve,
        seconds: f64,
        options: &RunOptions,
        precision: Precision,
    ) -> Result<Self> {
        let identity = format!("{} {precision:?}", data_hash(&[flow.flat_parameters()])?);
        Ok(Self { flow: placed(flow, options, precision)?, identity, curve, seconds, precision })
    }

    /// What the seconds of a row do not hold.
    pub fn note(&self) -> String {
        let Some(&(steps, _)) = self.curve.training.last() else { return "trained before this run".into() };
        let nll = self.curve.validation.last().map(|&(_, value)| format!(", validation NLL {value:.1}"));
        let products = match self.precision {
            Precision::Full => "float32",
            Precision::Bf16 => "bfloat16 between hidden layers",
        };
        let (seconds, nll) = (self.seconds, nll.unwrap_or_default());
        format!("trained once: {steps} steps in {seconds:.0} s{nll}; products in {products}")
    }
}

/// The methods with what they learned before the first image.
pub struct Methods<'a> {
    experiment: &'a Experiment,
    profile: &'a Profile,
    options: &'a RunOptions,
    state: State,
    /// The trained prior, where the profile needs one.
    pub prior: Option<Prior>,
    /// The Wasserstein patch prior, where the profile needs it.
    wpp: Option<wpp::Learned<'a>>,
}

impl<'a> Methods<'a> {
    /// Trains what the methods of the profile need.
    ///
    /// # Errors
    /// Those of the data and of the training.
    pub fn prepare(
        experiment: &'a Experiment,
        profile: &'a Profile,
        data: &DataSource,
        options: &'a RunOptions,
    ) -> Result<Self> {
        let state = State::of(options);
        let needed = |methods: [Method; 2]| {
            profile.sets.iter().any(|set| set.methods.iter().any(|m| methods.contains(m)))
        };
        // Before the training: it says soon what is wrong with the reference image.
        let wpp = match &profile.wpp {
            Some(settings) if needed([Method::Wpp, Method::WppAuthors]) => {
                Some(wpp::Learned::load(settings, experiment, data, options)?)
            }
            _ => None,
        };
        let prior = match &profile.patchnr {
            Some(settings) if needed([Method::Patchnr, Method::PatchnrAuthors]) => {
                let load = |name: &str| data.load(name);
                let reference = vec![load(&experiment.data.reference)?];
                let validation = load(&experiment.data.validation)?;
                Some(train(settings, reference, Some(validation), options, &state)?)
            }
            _ => None,
        };
        Ok(Self { experiment, profile, options, state, prior, wpp })
    }

    /// Reconstructs one image.
    ///
    /// # Errors
    /// Those of the method; [`Error::Cancelled`] on request.
    pub fn reconstruct(&self, method: Method, task: &Task<'_>) -> Result<Reconstruction> {
        self.state.check()?;
        let start = Instant::now();
        let plain = |image| Reconstruction { image, seconds: start.elapsed().as_secs_f64(), transport: None };
        if method == Method::Bicubic {
            return Ok(plain(self.bicubic(task)?));
        }
        let name = format!("{} {}", method.key(), task.name);
        let identity = self.identity(method, task)?;
        let size = task.operator.domain().batch(1);
        if let Some(mut done) = self.state.reconstruction(&name, &identity, &size)? {
            done.image = done.image.to_device(self.options.device);
            return Ok(done);
        }
        let observer = self.state.observer(&name, &identity);
        tracing::info!("{} of {}", method.title(), task.name);
        let (patchnr, wpp) = (self.profile.patchnr.as_ref(), self.profile.wpp.as_ref());
        let done = match method {
            Method::Bicubic => plain(self.bicubic(task)?),
            Method::L2Tv => plain(self.l2_tv(task, &observer)?),
            Method::Patchnr => plain(self.patchnr(task, patchnr.map(|p| &p.map), &observer)?),
            Method::PatchnrAuthors => {
                plain(self.patchnr(task, patchnr.and_then(|p| p.authors.as_ref()), &observer)?)
            }
            Method::Wpp => self.wpp(task, wpp.map(|w| &w.map), &observer)?,
            Method::WppAuthors => self.wpp(task, wpp.and_then(|w| w.authors.as_ref()), &observer)?,
        };
        self.state.keep_reconstruction(&name, &identity, &done)?;
        Ok(done)
    }

    /// How far the patches of `image` are from those of the reference image; none where no method of the profile
    /// has the Wasserstein patch prior.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where the image is not `[1, 1, H, W]`, too small or not finite.
    pub fn distance(&self, image: &Tensor) -> Result<Option<Transport>> {
        self.wpp.as_ref().map(|prior| prior.measure(image, &[])).transpose()
    }

    /// All that a reconstruction depends on.
    fn identity(&self, method: Method, task: &Task<'_>) -> Result<String> {
        let Profile { l2_tv, patchnr, wpp, .. } = self.profile;
        let settings = match method {
            Method::Bicubic => String::new(),
            Method::L2Tv => format!("{l2_tv:?}"),
            Method::Patchnr | Method::PatchnrAuthors => {
                let learned = self.prior.as_ref().map_or("", |prior| prior.identity.as_str());
                format!("{patchnr:?} {learned}")
            }
            Method::Wpp | Method::WppAuthors => {
                let learned = self.wpp.as_ref().map_or("", |prior| prior.identity.as_str());
                format!("{wpp:?} {learned}")
            }
        };
        let (hash, seed) = (data_hash(&[task.observation])?, self.options.seed.value());
        Ok(format!("{hash} {settings} {:?} seed {seed}", self.experiment.operator))
    }

    /// Bicubic interpolation at the operator's pixel centres; the other methods start from it.
    fn bicubic(&self, task: &Task<'_>) -> Result<Tensor> {
        let border = match self.experiment.operator.form {
            Form::WrapAfter => Border::Periodic,
            _ => Border::Clamp,
        };
        interpolate(task.observation, task.operator.grid(), task.operator.domain(), border)
    }

    fn l2_tv(&self, task: &Task<'_>, observer: &Observer) -> Result<Tensor> {
        let settings = self.profile.l2_tv.as_ref().ok_or_else(|| missing("l2_tv"))?;
        let start = self.bicubic(task)?;
        let mut tv =
            TvPrimalDual::new(task.operator, task.observation, settings.weight, settings.tolerance, &start)?;
        self.state.go_on(&run(&mut tv, Budget::steps(settings.iterations), observer)?)?;
        tv.finish()
    }

    fn patchnr(
        &self,
        task: &Task<'_>,
        settings: Option<&settings::Map>,
        observer: &Observer,
    ) -> Result<Tensor> {
        let settings = settings.ok_or_else(|| missing("patchnr"))?;
        let prior = self.prior.as_ref().ok_or_else(|| missing("patchnr"))?;
        let sampling = Sampling::from(settings.patches);
        let seed = self.options.seed.derive(task.name, 0);
        let mut regularizer = PatchPrior::new(&prior.flow, task.operator.domain(), sampling, seed)?;
        // The noise level only sets the scale of the objective: published weights refer to |F(x) - y|^2.
        let sigma = self.experiment.operator.noise.max(1e-3);
        let likelihood = Gaussian::new(sigma)?;
        let n = (settings.lambda_size / self.experiment.operator.stride).max(1).pow(2);
        let problem = Problem {
            operator: task.operator,
            likelihood: &likelihood,
            observation: task.observation,
            prior: &mut regularizer,
            weight: weight::from_squared_error_sum(settings.lambda, n, sigma)?,
        };
        let adam = AdamSettings {
            steps: settings.iterations,
            rate: settings.learning_rate,
            schedule: schedule(settings.schedule, 0),
        };
        let mut map = Map::new(problem, &self.bicubic(task)?, adam)?;
        self.state.go_on(&run(&mut map, Budget::steps(settings.iterations), observer)?)?;
        map.finish()
    }

    fn wpp(
        &self,
        task: &Task<'_>,
        settings: Option<&settings::WppMap>,
        observer: &Observer,
    ) -> Result<Reconstruction> {
        let settings = settings.ok_or_else(|| missing("wpp"))?;
        let prior = self.wpp.as_ref().ok_or_else(|| missing("wpp"))?;
        let initial = self.bicubic(task)?;
        prior.reconstruct(settings, task, &self.experiment.operator, &initial, &self.state, observer)
    }
}

pub(crate) fn missing(section: &str) -> Error {
    Error::value(format!("profile section {section}"), "one, for the method is in a set", "none")
}

pub(crate) fn schedule(choice: settings::Schedule, warmup: u64) -> Schedule {
    match choice {
        settings::Schedule::Constant => Schedule::Constant,
        settings::Schedule::Cosine => Schedule::Cosine { warmup },
    }
}

/// What a choice of the dtype of products means on `device`.
pub(crate) fn precision(choice: PrecisionChoice, device: tch::Device) -> Precision {
    match choice {
        PrecisionChoice::Float32 => Precision::Full,
        PrecisionChoice::Bfloat16 => Precision::Bf16,
        PrecisionChoice::Auto => Precision::fastest(device),
    }
}

/// Patches of the validation image that measure the training.
const VALIDATION_PATCHES: usize = 10_000;

/// A flow trained on the patches of `references`, each `[1, 1, H, W]`.
///
/// # Errors
/// Those of the training; [`Error::Cancelled`] on request.
pub(crate) fn train<M: Validate<Context = ()> + Debug>(
    settings: &settings::PatchNr<M>,
    references: Vec<Tensor>,
    validation: Option<Tensor>,
    options: &RunOptions,
    state: &State,
) -> Result<Prior> {
    let hash = data_hash(&references.iter().chain(&validation).collect::<Vec<&Tensor>>())?;
    let precision = precision(settings.precision, options.device);
    // What the training depends on: not how images are reconstructed, which may change without a new training.
    let settings::PatchNr { patch_size, blocks, hidden, clamp, clamp_form, weights, training, .. } = settings;
    let of_flow = format!("{patch_size} {blocks} {hidden} {clamp} {clamp_form:?} {weights:?} {training:?}");
    let identity = format!("{hash} {of_flow} {precision:?} seed {}", options.seed.value());
    if let Some(file) = state.finished("patchnr", &identity)? {
        return restored(file, options, precision);
    }
    let form = match settings.clamp_form {
        ClampChoice::AlphaAtan => ClampForm::AlphaAtan,
        ClampChoice::AtanOverAlpha => ClampForm::AtanOverAlpha,
    };
    let clamp = SoftClamp::new(form, settings.clamp)?;
    if let Some(file) = &settings.weights {
        let flow = given(Path::new(file), clamp, settings.patch_size)?;
        return Prior::new(flow, TrainingCurve::default(), 0.0, options, precision);
    }
    let (patch_size, hidden) = (settings.patch_size, settings.hidden);
    let shape = PatchNrShape { patch_size, axes: 2, blocks: settings.blocks.max(1) as usize, hidden, clamp };
    let seed: Seed = options.seed.derive("patchNR", 0);
    let flow = placed(PatchNr::new(shape, seed)?, options, precision)?;
    let training = &settings.training;
    let wanted = TrainingSettings {
        steps: training.steps,
        batch: training.batch.max(1) as usize,
        rate: training.learning_rate,
        schedule: schedule(training.schedule, training.warmup_steps),
        validate_every: training.validation_every,
        validation_patches: VALIDATION_PATCHES,
        early_stop: training.early_stop_after.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
    };
    let mut iteration = PatchNrTraining::new(flow, &references, validation.as_ref(), wanted, seed)?;
    let observer = state.observer("patchnr", &identity);
    let summary = run(&mut iteration, Budget::steps(training.steps), &observer)?;
    state.go_on(&summary)?;
    let trained = iteration.finish()?;
    let seconds = summary.elapsed.as_secs_f64();
    let mut curve = TrainingCurve::default();
    for point in &trained.curve {
        curve.training.push((point.step, point.train));
        curve.validation.extend(point.validation.map(|value| (point.step, value)));
    }
    let mut file = trained.flow.to_checkpoint();
    file.set_meta("seconds", seconds);
    for (name, points) in [("curve.training", &curve.training), ("curve.validation", &curve.validation)] {
        let flat: Vec<f64> = points.iter().flat_map(|&(step, value)| [step as f64, value]).collect();
        file.set_meta(name, points.len());
        file.tensors.insert(name.into(), Tensor::from_slice(&flat));
    }
    trained.flow.save(&options.folder.join("patchnr.safetensors"))?;
    state.finish("patchnr", &identity, file)?;
    Prior::new(trained.flow, curve, seconds, options, precision)
}

/// The prior of a run that was interrupted after its training.
fn restored(
    mut file: smalti_base::checkpoint::Checkpoint,
    options: &RunOptions,
    precision: Precision,
) -> Result<Prior> {
    let mut points = |name: &str| -> Result<Vec<(u64, f64)>> {
        let n: i64 = file.meta_parsed(name)?;
        let flat = Vec::<f64>::try_from(file.take(name, &[2 * n], Kind::Double)?)?;
        Ok(flat.chunks_exact(2).map(|p| (p[0] as u64, p[1])).collect())
    };
    let curve =
        TrainingCurve { training: points("curve.training")?, validation: points("curve.validation")? };
    let seconds = file.meta_parsed("seconds")?;
    let flow = PatchNr::from_checkpoint(file, Path::new("state of the run"))?;
    Prior::new(flow, curve, seconds, options, precision)
}

/// The flow on the device of the run, computing in its precision.
fn placed(mut flow: PatchNr, options: &RunOptions, precision: Precision) -> Result<PatchNr> {
    flow.to(options.device, Kind::Float)?;
    flow.set_precision(precision)?;
    Ok(flow)
}

/// A flow that was trained before, on patches of the given size.
fn given(path: &Path, clamp: SoftClamp, patch_size: i64) -> Result<PatchNr> {
    let state_dict = path.extension().is_some_and(|e| e == "pth" || e == "pt");
    let flow = if state_dict { PatchNr::import_freia(path, clamp)? } else { PatchNr::load(path)? };
    flow.expect_patches(patch_size, 2, path)?;
    Ok(flow)
}
