//! A U-Net that corrects the simple estimate, such as a filtered back-projection, after a training on pairs.

use crate::estimate::{Estimate, TrainingCurve};
use crate::instrument::{Instrument, Role, TrainingData, two_dimensional};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::pairs::observed_pair;
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{PrecisionChoice, SettingFault, to_toml};
use crate::supervised::train;
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Seed, Space};
use smalti_solvers::{Pair, PairedDataset, SupervisedTrainingSettings, UNet, UNetSettings};
use std::time::Instant;
use tch::Tensor;

/// A U-Net after the simple estimate.
#[derive(Debug)]
pub struct FbpUnet;

/// Where pairs to learn from come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairSource {
    /// Phantoms and the reference images, observed here.
    #[default]
    Generated,
    /// The training part of the published data set of the problem, such as LoDoPaB-CT.
    Published,
}

/// The network, and its training by the mean squared error.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct FbpUnetSettings {
    /// Channels on the scales, from the finest on.
    #[garde(length(min = 1, max = 8), inner(range(min = 1, max = 1024)))]
    pub channels: Vec<i64>,
    /// Where the pairs come from.
    #[serde(default)]
    #[garde(skip)]
    pub pairs: PairSource,
    /// Phantoms that are drawn, observed and reconstructed beside the reference images, 0 to 100,000.
    #[garde(range(min = 0, max = 100_000))]
    pub synthetic_pairs: i64,
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: i64,
    /// Side of a crop in pixels, 16 to 4096.
    #[garde(range(min = 16, max = 4096))]
    pub crop: i64,
    /// Learning rate at the start, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// Learning rate at the end, which a cosine leads to, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub final_learning_rate: f64,
    /// The dtype of convolutions.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

impl Method for FbpUnet {
    const KEY: &'static str = "fbp_unet";
    const TITLE: &'static str = "FBP+UNet";
    const PAPERS: &'static [&'static str] = &[
        "K. H. Jin, M. T. McCann, E. Froustey, M. Unser. Deep convolutional neural network for inverse problems in imaging. \
         IEEE Transactions on Image Processing 26(9), 2017.",
    ];
    const LEARNS: Learns = Learns::Pairs;
    type Settings = FbpUnetSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        two_dimensional(instrument)
    }

    fn check(
        settings: &FbpUnetSettings,
        _instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        match domain.map(|domain| domain.height.min(domain.width)) {
            Some(side) if settings.crop > side => {
                Err(("crop".into(), format!("larger than the images of {side} pixels")))
            }
            _ => Ok(()),
        }
    }

    fn prepare(settings: &FbpUnetSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let published = match settings.pairs {
            PairSource::Generated => None,
            PairSource::Published => match from.instrument.published_pairs(from.folder)? {
                Ok(pairs) => Some(pairs),
                Err(problem) => return Ok(Prepared::Missing(problem)),
            },
        };
        let (pairs, of) = match &published {
            Some((name, published)) => (published.count().unwrap_or_default(), *name),
            None => {
                let generated = settings.synthetic_pairs + from.references.len() as i64;
                (generated as u64, "phantoms and the training slices")
            }
        };
        let hash = data_hash(&from.references.iter().chain(&from.validation).collect::<Vec<&Tensor>>())?;
        let folder = from.folder.filter(|_| published.is_some());
        let identity = format!(
            "{hash} {folder:?} {} {} {:?}",
            to_toml(settings),
            from.instrument.identity(),
            settings.precision.on(run.device)
        );
        let Trained { model: net, seconds, .. } = run.once("fbp unet", &identity, |run| {
            settings.train(published.as_ref().map(|(_, pairs)| pairs.as_ref()), from, run)
        })?;
        let note = format!("{} steps on {pairs} pairs of {of} in {seconds:.0} s", settings.steps);
        let learned = Learned { identity, curve: None, note };
        Prepared::ready(Corrector { net: net.to(run.device)?, learned })
    }
}

impl FbpUnetSettings {
    fn train(
        &self,
        published: Option<&dyn PairedDataset>,
        from: &TrainingData<'_>,
        run: &Run,
    ) -> Result<Trained<UNet>> {
        let seed: Seed = run.seed.derive("FBP+UNet", 0);
        let validation = (from.validation.iter().enumerate())
            .map(|(k, truth)| observed_pair(from, truth, seed.derive("validation", k as u64)))
            .collect::<Result<Vec<Pair>>>()?;
        let generated: Vec<Pair>;
        let pairs = match published {
            Some(published) => published,
            None => {
                generated = self.generate(from, seed, run)?;
                &generated
            }
        };
        let wanted = SupervisedTrainingSettings::default()
            .with_steps(self.steps)
            .with_batch(self.batch)
            .with_crop(self.crop)
            .with_rate(self.learning_rate)
            .with_last_rate(self.final_learning_rate)
            .with_validate_every((self.steps / 10).max(1))
            .with_precision(self.precision.on(run.device));
        let shape = UNetSettings::fbp_unet().with_channels(self.channels.clone());
        let net = UNet::new(shape, seed)?.to(run.device)?;
        let trained = train(net, pairs, &validation, wanted, seed, run)?;
        Ok(Trained { curve: TrainingCurve::default(), ..trained })
    }

    /// Observations of phantoms, and of every reference image.
    fn generate(&self, from: &TrainingData<'_>, seed: Seed, run: &Run) -> Result<Vec<Pair>> {
        let mut pairs = Vec::with_capacity(self.synthetic_pairs as usize + from.references.len());
        tracing::info!("scanning {} phantoms and {} slices", self.synthetic_pairs, from.references.len());
        for k in 0..self.synthetic_pairs as u64 {
            run.check()?;
            let truth = from.instrument.phantom(Role::Training, seed, k)?;
            pairs.push(observed_pair(from, &truth, seed.derive("phantom", k))?);
        }
        for (k, truth) in from.references.iter().enumerate() {
            pairs.push(observed_pair(from, truth, seed.derive("slice", k as u64))?);
        }
        Ok(pairs)
    }
}

struct Corrector {
    net: UNet,
    learned: Learned,
}

impl Reconstructor for Corrector {
    fn reconstruct(&self, problem: &InverseProblem, _run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let image = self.net.infer(&problem.start.image)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
