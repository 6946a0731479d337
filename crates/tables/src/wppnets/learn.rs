//! Training a network of the table, or taking it from the state of an interrupted run.

use super::material::{crops, operator, validation};
use crate::data::DataSource;
use crate::experiment::settings::Schedule as ScheduleChoice;
use crate::experiment::wppnets::{Length, Network, Training};
use crate::methods::precision;
use crate::run::RunOptions;
use crate::state::State;
use smalti_base::checkpoint::data_hash;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Result, Space};
use smalti_flows::Precision;
use smalti_operators::Operator;
use smalti_priors::WppSettings;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{AcNet, Budget, Iteration, Schedule, WppNetData, WppNetSettings, WppNetTraining, run};
use std::path::Path;

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

/// The network `name`.
pub(super) fn learn(
    name: &str,
    network: &Network,
    training: &Training,
    data: &DataSource,
    options: &RunOptions,
    state: &State,
) -> Result<Learned> {
    let crops = crops(network, data)?;
    let size = [crops.size()[2], crops.size()[3]];
    let reference = data.load(&network.reference)?;
    let validation = validation(network, data, size, training.validation_crops, options.seed)?;
    let precision = precision(training.precision, options.device);
    let batch = training.batch.min(crops.size()[0].max(1) as usize);
    let epoch = (crops.size()[0] as u64 / batch as u64).max(1);
    let steps = match training.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs * epoch,
    };
    let hash = data_hash(&[&crops, &reference, &validation])?;
    let seed = options.seed.derive(&format!("WPPNet {name}"), 0);
    let identity = format!("{hash} {network:?} {training:?} {precision:?} seed {}", options.seed.value());
    let learned = |net: AcNet, seconds: f64| -> Result<Learned> {
        let validation = net.provenance.get("validation_loss").and_then(|v| v.parse().ok());
        let net = net.to(options.device)?;
        Ok(Learned {
            net,
            name: name.to_owned(),
            steps,
            batch,
            seconds,
            validation: validation.unwrap_or(f64::NAN),
            precision,
        })
    };
    let kept = format!("wppnet {name}");
    if let Some(file) = state.finished(&kept, &identity)? {
        let seconds = file.meta_parsed("seconds")?;
        return learned(AcNet::from_checkpoint(file, Path::new("state of the run"))?, seconds);
    }
    let settings = WppNetSettings {
        steps,
        batch,
        lambda: training.lambda,
        rate: training.learning_rate,
        schedule: match training.schedule {
            ScheduleChoice::Constant => Schedule::Constant,
            ScheduleChoice::Cosine => Schedule::Cosine { warmup: training.warmup_steps },
        },
        validate_every: training.validation_every,
        precision,
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
    let (operator, validation): (&dyn Operator, _) = (&operator, Some(&validation));
    let inputs = WppNetData { operator, crops: &crops, validation, reference: &reference, prior: &prior };
    let mut net = AcNet::new(network.factor, seed)?.to(options.device)?;
    net.provenance.insert("operator".into(), format!("{:?}", network.operator));
    let events = EventFile::create(&options.folder.join("tensorboard").join(name))?;
    let mut iteration = WppNetTraining::new(net, inputs, settings, seed)?.with_events(events);
    let summary = run(&mut iteration, Budget::steps(steps), &state.observer(&kept, &identity))?;
    state.go_on(&summary)?;
    let net = iteration.finish()?.net;
    let seconds = summary.elapsed.as_secs_f64();
    let mut file = net.to_checkpoint();
    file.set_meta("seconds", seconds);
    net.save(&options.folder.join(format!("{name}.safetensors")))?;
    state.finish(&kept, &identity, file)?;
    learned(net, seconds)
}
