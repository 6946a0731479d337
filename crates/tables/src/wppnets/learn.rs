//! Training a network of the table, or taking it from the state of an interrupted run.

use super::material::{Affine, crops, operator, validation};
use crate::data::DataSource;
use crate::experiment::wppnets::{Length, Network, Training};
use crate::run::RunOptions;
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::{Result, Seed, Space};
use smalti_flows::Precision;
use smalti_methods::{Persist, Run};
use smalti_priors::WppSettings;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{AcNet, WppNetData, WppNetSettings, WppNetTraining};
use std::path::Path;
use tch::{Device, Tensor};

/// A trained network.
pub(super) struct Learned {
    pub(super) net: AcNet,
    name: String,
    /// Steps, crops a step, seconds of the training.
    steps: u64,
    batch: usize,
    seconds: f64,
    validation: f64,
    precision: Precision,
}

impl Learned {
    /// What the seconds of a row do not hold.
    pub(super) fn note(&self) -> String {
        let Self { name, steps, batch, seconds, validation, .. } = self;
        let products = match self.precision {
            Precision::Full => "float32",
            Precision::Bf16 => "bfloat16",
        };
        format!(
            "{name} trained once: {steps} steps of {batch} crops in {seconds:.0} s, validation loss {validation:.6}; \
             convolutions of the training in {products}"
        )
    }
}

/// What a training takes, loaded.
struct Inputs {
    crops: Tensor,
    validation: Tensor,
    reference: Tensor,
    operator: Affine,
    prior: WppSettings,
    settings: WppNetSettings,
}

impl Inputs {
    fn load(network: &Network, training: &Training, data: &DataSource, options: &RunOptions) -> Result<Self> {
        let crops = crops(network, data)?;
        let size = [crops.size()[2], crops.size()[3]];
        let reference = data.load(&network.reference)?;
        let validation = validation(network, data, size, training.validation_crops, options.seed)?;
        let count = crops.size()[0].max(1) as usize;
        let batch = training.batch.min(count);
        let steps = match training.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs * (count / batch) as u64,
        };
        let settings = WppNetSettings {
            steps,
            batch,
            lambda: training.lambda,
            rate: training.learning_rate,
            schedule: training.schedule.after(training.warmup_steps),
            validate_every: training.validation_every,
            precision: training.precision.on(options.device),
        };
        let prior = WppSettings {
            patch_size: training.patch_size,
            stride: training.patch_stride,
            references: ReferencePatches::Random(training.reference_patches),
            dual: DualMethod::AveragedSgd { steps: training.psi_steps, step: 1.0 },
            ..WppNetSettings::prior(network.centred)
        };
        let domain = Space::image(1, network.factor * size[0], network.factor * size[1]);
        let operator = operator(network, training.form, domain, data)?;
        Ok(Self { crops, validation, reference, operator, prior, settings })
    }

    /// The training of a new network.
    fn training(&self, network: &Network, seed: Seed, device: Device) -> Result<WppNetTraining<'_>> {
        let Self { crops, validation, reference, operator, prior, settings } = self;
        let inputs = WppNetData { operator, crops, validation: Some(validation), reference, prior };
        let mut net = AcNet::new(network.factor, seed)?.to(device)?;
        net.provenance.insert("operator".into(), format!("{:?}", network.operator));
        WppNetTraining::new(net, inputs, settings.clone(), seed)
    }
}

/// Whether the network `name` can be trained with these data.
///
/// # Errors
/// Those that data and settings cause in [`learn`] before its first step.
pub(super) fn check(
    name: &str,
    network: &Network,
    training: &Training,
    data: &DataSource,
    options: &RunOptions,
) -> Result<()> {
    let inputs = Inputs::load(network, training, data, options)?;
    inputs.training(network, seed(name, options), options.device).map(drop)
}

fn seed(name: &str, options: &RunOptions) -> Seed {
    options.seed.derive(&format!("WPPNet {name}"), 0)
}

/// The network `name`.
pub(super) fn learn(
    name: &str,
    network: &Network,
    training: &Training,
    data: &DataSource,
    options: &RunOptions,
    run: &Run,
) -> Result<Learned> {
    let inputs = Inputs::load(network, training, data, options)?;
    let WppNetSettings { steps, batch, precision, .. } = inputs.settings;
    let hash = data_hash(&[&inputs.crops, &inputs.reference, &inputs.validation])?;
    let identity = format!("{hash} {network:?} {training:?} {precision:?} seed {}", options.seed.value());
    let trained: Trained = run.once(&format!("wppnet {name}"), &identity, |run| {
        let mut training = inputs.training(network, seed(name, options), options.device)?;
        if let Some(events) = run.events("training", name)? {
            training = training.with_events(events);
        }
        let (trained, summary) = run.iterate("training", steps, training)?;
        run.publish(&format!("{name}.safetensors"), |path| trained.net.save(path))?;
        Ok(Trained { net: trained.net, seconds: summary.elapsed.as_secs_f64() })
    })?;
    let Trained { net, seconds } = trained;
    let validation = net.provenance.get("validation_loss").and_then(|v| v.parse().ok());
    Ok(Learned {
        net: net.to(options.device)?,
        name: name.to_owned(),
        steps,
        batch,
        seconds,
        validation: validation.unwrap_or(f64::NAN),
        precision,
    })
}

/// A trained network and the seconds of its training.
struct Trained {
    net: AcNet,
    seconds: f64,
}

impl Persist for Trained {
    fn to_checkpoint(&self) -> Result<Checkpoint> {
        let mut file = self.net.to_checkpoint();
        file.set_meta("seconds", self.seconds);
        Ok(file)
    }

    fn from_checkpoint(file: Checkpoint) -> Result<Self> {
        let seconds = file.meta_parsed("seconds")?;
        Ok(Self { net: AcNet::from_checkpoint(file, Path::new("state of the run"))?, seconds })
    }
}
