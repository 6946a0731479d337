//! WPPNet: a network from observations to images that was trained by the Wasserstein patch prior, without pairs.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{PrecisionChoice, SettingFault, to_toml};
use crate::trained::Trained;
use crate::wpp_training::{CropTrainingSettings, downsampling};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use smalti_flows::Precision;
use smalti_solvers::{AcNet, WppNetGenerator};
use std::time::Instant;

/// WPPNet.
#[derive(Debug)]
pub struct WppNet;

/// Bytes of activations at a time when a network is applied to a whole image.
const MEMORY: usize = 1 << 30;

/// The network `G` is [`AcNet`]; `mean (A G(y) - y)^2 + lambda W_2^2(patches of all G(y) of a batch, patches of the reference)` is
/// minimised over its weights ([`WppNetGenerator`]).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct WppNetSettings {
    /// The training.
    #[garde(dive)]
    pub training: CropTrainingSettings,
    /// The dtype of convolutions in the training.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

impl Method for WppNet {
    const KEY: &'static str = "wppnet";
    const TITLE: &'static str = "WPPNet";
    const PAPERS: &'static [&'static str] = &[
        "F. Altekrüger, J. Hertrich. WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution. SIAM \
         Journal on Imaging Sciences 16(3), 2023.",
    ];
    const LEARNS: Learns = Learns::Observations;
    type Settings = WppNetSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        let factor = downsampling(instrument)?.factor;
        let mut left = factor;
        for prime in [2, 3] {
            while left > 1 && left % prime == 0 {
                left /= prime;
            }
        }
        if left != 1 || !(2..=64).contains(&factor) {
            return Err(format!("it enlarges by products of twos and threes, 2 to 64, not by {factor}"));
        }
        Ok(())
    }

    fn check(
        settings: &WppNetSettings,
        _instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.training.check()
    }

    fn prepare(settings: &WppNetSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let inputs = settings.training.inputs(from, run)?;
        let precision = settings.precision.on(run.device);
        let identity =
            format!("{} {} {} {precision:?}", inputs.hash()?, to_toml(settings), inputs.instrument);
        let Trained { model: net, seconds, .. } = run.once("wppnet", &identity, |run| {
            let seed = run.seed_of(Self::TITLE);
            let net = AcNet::new(inputs.downsampling.factor, seed)?.to(run.device)?;
            let generator = WppNetGenerator { net, precision };
            let Trained { model, curve, seconds } = settings.training.train(generator, &inputs, seed, run)?;
            Ok(Trained { model: model.net, curve, seconds })
        })?;
        let loss = net.provenance.get("validation_loss").and_then(|loss| loss.parse::<f64>().ok());
        let loss = loss.map_or_else(String::new, |loss| format!(", validation loss {loss:.6}"));
        let convolutions = match precision {
            Precision::Full => "float32",
            Precision::Bf16 => "bfloat16",
        };
        let note = format!(
            "trained once: {} steps of {} crops in {seconds:.0} s{loss}; convolutions of the training in {convolutions}",
            inputs.steps, inputs.batch
        );
        let learned = Learned { identity, curve: None, note };
        Prepared::ready(Network { net: net.to(run.device)?, learned })
    }
}

struct Network {
    net: AcNet,
    learned: Learned,
}

impl Reconstructor for Network {
    fn reconstruct(&self, problem: &InverseProblem, _run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let image = self.net.infer(&problem.observation, MEMORY)?;
        problem.domain().check("image of a WPPNet", &image)?;
        Ok(Estimate::of(image, clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
