//! A normalizing flow of patches, trained on reference images by forward KL.

use crate::estimate::TrainingCurve;
use crate::instrument::TrainingData;
use crate::map::patches_fit;
use crate::method::Learned;
use crate::run::Run;
use crate::settings::{PrecisionChoice, ScheduleChoice, SettingFault, to_toml};
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Space};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, Precision, SoftClamp};
use smalti_solvers::{AdamSettings, PatchNrTraining, PatchNrTrainingSettings};
use std::path::Path;
use tch::{Kind, Tensor};

/// Patches of the validation image that measure the training.
const VALIDATION_PATCHES: i64 = 10_000;

/// A flow and its training.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct PatchFlow {
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Number of coupling blocks, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub blocks: i64,
    /// Width of the subnets, 1 to 4096.
    #[garde(range(min = 1, max = 4096))]
    pub hidden: i64,
    /// Bound of the log-scale of a coupling, 0.1 to 10.
    #[garde(range(min = 0.1, max = 10.0))]
    pub clamp: f64,
    /// Which function of a subnet's output the log-scale is.
    #[serde(default)]
    #[garde(skip)]
    pub clamp_form: ClampChoice,
    /// A trained flow to use instead of training one: a `.safetensors` file of this program, or a `.pth` state
    /// dict as FrEIA names it (its clamp is the one given here). Relative to the current folder.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub weights: Option<String>,
    /// The dtype of matrix products between hidden layers.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
    /// How the flow is trained.
    #[garde(dive)]
    pub training: PatchFlowTraining,
}

/// The form of the soft clamp, see [`ClampForm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClampChoice {
    /// `s = 0.636 clamp atan(r)`, FrEIA 0.2 from PyPI.
    #[default]
    AlphaAtan,
    /// `s = 0.636 clamp atan(r / clamp)`, another build of it.
    AtanOverAlpha,
}

/// Training of a flow on patches of reference images, by Adam on the mean negative log-likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct PatchFlowTraining {
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Patches in a step, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub batch: i64,
    /// Learning rate after the warm-up, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: ScheduleChoice,
    /// Steps over which the learning rate grows linearly from zero before it follows the cosine; 0 where not
    /// given.
    #[serde(default)]
    #[garde(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// The validation loss is measured every so many steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub validation_every: u64,
    /// Stops after so many measurements of the validation loss without an improvement, where given; 1 to 1 million.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub early_stop_after: Option<u64>,
}

impl PatchFlow {
    /// Whether it is a flow for images of `domain` that are continued by `padding` pixels, under the key `key` of the settings.
    ///
    /// # Errors
    /// The key that does not fit, and the problem.
    pub(crate) fn check(
        &self,
        key: &str,
        domain: Option<Space>,
        padding: i64,
    ) -> std::result::Result<(), SettingFault> {
        let PatchFlowTraining { schedule, warmup_steps, steps, .. } = self.training;
        if let Some(problem) = schedule.misfit(warmup_steps, steps) {
            return Err((format!("{key}.training.warmup_steps"), problem));
        }
        patches_fit(domain, (self.patch_size, &format!("{key}.patch_size")), (padding, "padding"))
    }

    /// The flow, trained on the patches of the references of `from`.
    ///
    /// # Errors
    /// Those of the training; [`smalti_base::Error::Cancelled`] on request.
    pub(crate) fn learn(&self, from: &TrainingData<'_>, run: &Run) -> Result<LearnedFlow> {
        let precision = self.precision.on(run.device);
        let form = match self.clamp_form {
            ClampChoice::AlphaAtan => ClampForm::AlphaAtan,
            ClampChoice::AtanOverAlpha => ClampForm::AtanOverAlpha,
        };
        let clamp = SoftClamp::new(form, self.clamp)?;
        // Cubes of volumes, squares of images.
        let axes = from.references.first().map_or(2, |image| image.dim() - 2);
        let trained = match &self.weights {
            Some(file) => {
                let flow = given(Path::new(file), clamp, self.patch_size, axes)?;
                Trained::given(flow)
            }
            None => {
                let references = from.dequantised(run.seed)?;
                let hash = data_hash(&references.iter().chain(&from.validation).collect::<Vec<&Tensor>>())?;
                let identity = format!("{hash} {} {precision:?}", to_toml(self));
                run.once("patchnr", &identity, |run| {
                    self.train((clamp, axes), &references, from.validation.as_ref(), precision, run)
                })?
            }
        };
        LearnedFlow::new(trained, run, precision)
    }

    fn train(
        &self,
        (clamp, axes): (SoftClamp, usize),
        references: &[Tensor],
        validation: Option<&Tensor>,
        precision: Precision,
        run: &Run,
    ) -> Result<Trained<PatchNr>> {
        let (patch_size, hidden) = (self.patch_size, self.hidden);
        let shape = PatchNrShape::default()
            .with_patch_size(patch_size)
            .with_axes(axes as i64)
            .with_blocks(self.blocks)
            .with_hidden(hidden)
            .with_clamp(clamp);
        let seed = run.seed.derive("patchNR", 0);
        let flow = on_device(PatchNr::new(shape, seed)?, run, precision)?;
        let training = &self.training;
        let wanted = PatchNrTrainingSettings::default()
            .with_adam(
                AdamSettings::constant(training.steps, training.learning_rate)
                    .with_schedule(training.schedule.with_warmup(training.warmup_steps)),
            )
            .with_batch(training.batch)
            .with_validate_every(training.validation_every)
            .with_validation_patches(VALIDATION_PATCHES)
            .with_early_stop(training.early_stop_after.map(|n| u32::try_from(n).unwrap_or(u32::MAX)));
        let iteration = PatchNrTraining::new(flow, references, validation, wanted, seed)?;
        let (trained, summary) = run.iterate("training", training.steps, iteration)?;
        run.publish(&format!("{}.safetensors", run.row()), |path| trained.flow.save(path))?;
        let (curve, seconds) = (trained.curve.as_slice().into(), summary.elapsed.as_secs_f64());
        Ok(Trained { model: trained.flow, curve, seconds })
    }
}

/// A flow that is ready to be evaluated.
pub(crate) struct LearnedFlow {
    /// On the device of the run, computing in its precision.
    pub(crate) flow: PatchNr,
    /// What is said of it.
    pub(crate) learned: Learned,
}

impl LearnedFlow {
    fn new(trained: Trained<PatchNr>, run: &Run, precision: Precision) -> Result<Self> {
        let Trained { model: flow, curve, seconds } = trained;
        let identity = format!("{} {precision:?}", data_hash(&[flow.flat_parameters()])?);
        let note = note(&curve, seconds, precision);
        let flow = on_device(flow, run, precision)?;
        Ok(Self { flow, learned: Learned { identity, curve: Some(curve), note } })
    }
}

fn note(curve: &TrainingCurve, seconds: f64, precision: Precision) -> String {
    let Some(&(steps, _)) = curve.training.last() else { return "trained before this run".into() };
    let nll = curve.validation.last().map(|&(_, value)| format!(", validation NLL {value:.1}"));
    let products = match precision {
        Precision::Full => "float32",
        Precision::Bf16 => "bfloat16 between hidden layers",
    };
    let nll = nll.unwrap_or_default();
    format!("trained once: {steps} steps in {seconds:.0} s{nll}; products in {products}")
}

/// The flow on the device of the run, computing in `precision`.
fn on_device(mut flow: PatchNr, run: &Run, precision: Precision) -> Result<PatchNr> {
    flow.to(run.device, Kind::Float)?;
    flow.set_precision(precision)?;
    Ok(flow)
}

/// A flow that was trained before, on patches of the given size.
fn given(path: &Path, clamp: SoftClamp, patch_size: i64, axes: usize) -> Result<PatchNr> {
    let state_dict = path.extension().is_some_and(|e| e == "pth" || e == "pt");
    let flow = if state_dict { PatchNr::import_freia(path, clamp)? } else { PatchNr::load(path)? };
    flow.expect_patches(patch_size, axes as i64, path)?;
    Ok(flow)
}
