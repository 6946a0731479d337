//! Training the flow of the table, or taking it from the state of an interrupted run.

use crate::data::DataSource;
use crate::experiment::wppflow::{Centres, Profile, WppFlowTable};
use crate::experiment::wppnets::Length;
use crate::run::RunOptions;
use crate::wppnets::material::{crops, operator, validation};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::{Result, Space};
use smalti_flows::{WppFlow, WppFlowShape};
use smalti_methods::{Persist, Run};
use smalti_operators::Operator;
use smalti_priors::WppSettings;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{WppFlowSettings, WppFlowTraining, WppNetData};
use std::path::Path;

/// A trained flow.
pub(super) struct Learned {
    pub(super) flow: WppFlow,
    steps: u64,
    batch: usize,
    seconds: f64,
}

impl Learned {
    /// What the seconds of a row do not hold.
    pub(super) fn note(&self) -> String {
        let Self { steps, batch, seconds, .. } = self;
        format!("trained once: {steps} steps of {batch} crops in {seconds:.0} s")
    }
}

/// The flow of `experiment`.
pub(super) fn learn(
    experiment: &WppFlowTable,
    profile: &Profile,
    source: &DataSource,
    options: &RunOptions,
    run: &Run,
) -> Result<Learned> {
    let (data, training) = (&experiment.data, &profile.training);
    let crops = crops(data, source)?;
    let size = [crops.size()[2], crops.size()[3]];
    let reference = source.load(&data.reference)?;
    let validation = validation(data, source, size, training.validation_crops, options.seed)?;
    let batch = training.batch.min(crops.size()[0].max(1) as usize);
    let steps = match training.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs * (crops.size()[0] as u64 / batch as u64).max(1),
    };
    let domain = Space::image(1, data.factor * size[0], data.factor * size[1]);
    let operator = operator(data, training.form, domain, source)?;
    let hash = data_hash(&[&crops, &reference, &validation])?;
    let seed = options.seed.derive("WPPFlow", 0);
    let (noise, flow) = (experiment.noise, profile.flow);
    let identity = format!(
        "{hash} {data:?} noise {noise} {flow:?} {training:?} {:?} seed {}",
        options.device,
        seed.value()
    );
    let shape = WppFlowShape {
        factor: data.factor,
        blocks: flow.blocks,
        hidden: flow.hidden,
        origin: match flow.centres {
            Centres::Operator => operator.grid().origin.0,
            Centres::Authors => (data.factor - 1) as f64 / 2.0,
        },
        ..WppFlowShape::altekrueger_2023_x4()?
    };
    let settings = WppFlowSettings {
        steps,
        batch,
        lambda: training.lambda,
        noise,
        rate: training.learning_rate,
        schedule: training.schedule.after(training.warmup_steps),
        clip: Some(training.clip),
        validate_every: training.validation_every,
    };
    let prior = WppSettings {
        patch_size: training.patch_size,
        stride: training.patch_stride,
        references: ReferencePatches::Random(training.reference_patches),
        dual: DualMethod::AveragedSgd { steps: training.psi_steps, step: 1.0 },
        ..WppFlowSettings::prior(data.centred)
    };
    let inputs = WppNetData {
        operator: &operator,
        crops: &crops,
        validation: Some(&validation),
        reference: &reference,
        prior: &prior,
    };
    let placed = |mut flow: WppFlow| {
        let kind = flow.kind();
        flow.to(options.device, kind)?;
        Ok::<_, smalti_base::Error>(flow)
    };
    let trained: Trained = run.once("wppflow", &identity, |run| {
        let mut flow = placed(WppFlow::new(shape, seed)?)?;
        flow.provenance.insert("operator".into(), format!("{:?}", data.operator));
        let mut training = WppFlowTraining::new(flow, inputs, settings, seed)?;
        if let Some(events) = run.events("training", &experiment.name)? {
            training = training.with_events(events);
        }
        let (trained, summary) = run.iterate("training", steps, training)?;
        run.publish("wppflow.safetensors", |path| trained.flow.save(path))?;
        Ok(Trained { flow: trained.flow, seconds: summary.elapsed.as_secs_f64() })
    })?;
    Ok(Learned { flow: placed(trained.flow)?, steps, batch, seconds: trained.seconds })
}

/// A trained flow and the seconds of its training.
struct Trained {
    flow: WppFlow,
    seconds: f64,
}

impl Persist for Trained {
    fn to_checkpoint(&self) -> Result<Checkpoint> {
        let mut file = self.flow.to_checkpoint();
        file.set_meta("seconds", self.seconds);
        Ok(file)
    }

    fn from_checkpoint(file: Checkpoint) -> Result<Self> {
        let seconds = file.meta_parsed("seconds")?;
        Ok(Self { flow: WppFlow::from_checkpoint(file, Path::new("state of the run"))?, seconds })
    }
}
