//! A residual network that corrects the simple estimate, trained on pairs made from the reference images alone.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData, two_dimensional};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::pairs::{ObservedCrops, check_sizes, observed_pair, symmetries};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{PrecisionChoice, SettingFault, to_toml};
use crate::supervised::{in_orientations, train};
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Seed, Space};
use smalti_solvers::{Pair, RateRule, ResidualNet, ResidualNetSettings, SupervisedTrainingSettings};
use std::time::Instant;
use tch::Tensor;

/// A network from one image.
#[derive(Debug)]
pub struct OneImageNet;

/// The network ([`ResidualNet`], at the resolution of the observation) and its training by the mean squared error: an estimate of the
/// mean of all images that the observation allows, by what the reference images show of the material.
///
/// Pairs are made by the instrument during the training: each of a reference image in one of eight orientations, with fresh noise.
/// Training takes crops of them.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct OneImageNetSettings {
    /// Channels, 1 to 1024.
    #[garde(range(min = 1, max = 1024))]
    pub channels: i64,
    /// Residual blocks, 1 to 256.
    #[garde(range(min = 1, max = 256))]
    pub blocks: i64,
    /// Side of the squares of pixels that the network sees as one, 1 to 16; where not given, that of the observed pixels, and 1 where
    /// the observation is no image whose grid divides that of the result (tomography; the forms `valid` and `reflect-by`).
    #[serde(default)]
    #[garde(inner(range(min = 1, max = 16)))]
    pub factor: Option<i64>,
    /// Crops that are taken of an observation before the next one is made, with fresh noise, 1 to 10,000: more save time, fewer
    /// show more of the noise.
    #[garde(range(min = 1, max = 10_000))]
    pub crops_of_observation: u64,
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: i64,
    /// Side of a crop in pixels of the image, 16 to 4096.
    #[garde(range(min = 16, max = 4096))]
    pub crop: i64,
    /// Pixels along each side of a crop, and of the validation image, that do not count, 0 to 1024; less than half of the crop.
    #[garde(range(min = 0, max = 1024))]
    pub border: i64,
    /// Learning rate after the warm-up, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// Steps in which the learning rate rises linearly, up to 100 million; none where not given.
    #[serde(default)]
    #[garde(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// Learning rate at the end, which a cosine leads to, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub final_learning_rate: f64,
    /// The largest norm of a gradient, above 0; longer ones are shortened.
    #[garde(range(min = 1e-12, max = 1e12))]
    pub clip: f64,
    /// Whether an estimate is the mean over those of the eight orientations of the input that the instrument does not tell from
    /// each other; so where not given.
    #[serde(default = "yes")]
    #[garde(skip)]
    pub ensemble: bool,
    /// The dtype of convolutions.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

fn yes() -> bool {
    true
}

impl Method for OneImageNet {
    const KEY: &'static str = "one_image_net";
    const TITLE: &'static str = "network from one image";
    const PAPERS: &'static [&'static str] = &[
        "B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee. Enhanced deep residual networks for single image super-resolution. CVPR \
         workshops, 2017.",
    ];
    const LEARNS: Learns = Learns::Pairs;
    type Settings = OneImageNetSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        two_dimensional(instrument)
    }

    fn check(
        settings: &OneImageNetSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        let &OneImageNetSettings { crop, border, .. } = settings;
        let factor = settings.factor(instrument);
        if crop % factor != 0 {
            return Err(("crop".into(), format!("not a multiple of the factor {factor}")));
        }
        if 2 * border >= crop {
            return Err(("border".into(), format!("not less than half of the crop of {crop}")));
        }
        match domain.map(|domain| domain.height.min(domain.width)) {
            Some(side) if crop > side => {
                Err(("crop".into(), format!("larger than the images of {side} pixels")))
            }
            _ => Ok(()),
        }
    }

    fn check_material(settings: &OneImageNetSettings, from: &TrainingData<'_>) -> Result<()> {
        check_sizes(from, settings.crop, settings.border)
    }

    fn prepare(settings: &OneImageNetSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        check_sizes(from, settings.crop, settings.border)?;
        let turns = settings.turns(from, run)?;
        let hash = data_hash(&from.references.iter().chain(&from.validation).collect::<Vec<&Tensor>>())?;
        let precision = settings.precision.on(run.device);
        let identity = format!("{hash} {} {} {precision:?}", to_toml(settings), from.instrument.identity());
        let Trained { model: net, curve, seconds } =
            run.once("one image net", &identity, |run| settings.train(from, &turns, run))?;
        let count = from.references.len();
        let images = if count == 1 { "one image".to_owned() } else { format!("{count} images") };
        let note = format!("trained once on {images}: {} steps in {seconds:.0} s", settings.steps);
        let learned = Learned { identity, curve: Some(curve), note };
        Prepared::ready(Corrector { net: net.to(run.device)?, turns, learned })
    }
}

impl OneImageNetSettings {
    fn factor(&self, instrument: &dyn Instrument) -> i64 {
        self.factor.or_else(|| Some(instrument.downsampling()?.factor)).unwrap_or(1)
    }

    fn seed(run: &Run) -> Seed {
        run.seed.derive("network from one image", 0)
    }

    /// The orientations of an input that an estimate is the mean over: those that the instrument does not tell from each other.
    fn turns(&self, from: &TrainingData<'_>, run: &Run) -> Result<Vec<usize>> {
        let [first, ..] = &from.references[..] else { return Ok(vec![0]) };
        if !self.ensemble {
            return Ok(vec![0]);
        }
        let factor = self.factor(from.instrument);
        let truth = from.instrument.truth("reference image", first)?;
        symmetries(from.instrument, &truth, factor, self.border, Self::seed(run).derive("symmetries", 0))
    }

    fn train(&self, from: &TrainingData<'_>, turns: &[usize], run: &Run) -> Result<Trained<ResidualNet>> {
        let seed = Self::seed(run);
        let validation = (from.validation.iter().enumerate())
            .map(|(k, truth)| observed_pair(from, truth, seed.derive("validation", k as u64)))
            .collect::<Result<Vec<Pair>>>()?;
        let factor = self.factor(from.instrument);
        let wanted = SupervisedTrainingSettings::default()
            .with_steps(self.steps)
            .with_batch(self.batch)
            .with_border(self.border)
            .with_clip(self.clip)
            .with_rate(self.learning_rate)
            .with_last_rate(self.final_learning_rate)
            .with_rate_rule(RateRule::Cosine { warmup: self.warmup_steps })
            .with_validate_every((self.steps / 10).max(1))
            .with_precision(self.precision.on(run.device));
        let shape = ResidualNetSettings::default()
            .with_factor(factor)
            .with_channels(self.channels)
            .with_blocks(self.blocks);
        let make = |image: &Tensor, seed: Seed| observed_pair(from, image, seed);
        // Inputs as estimates see them: borders are turned with them.
        let pairs = ObservedCrops::new(&from.references, &make, self.crop, factor, seed)
            .with_of_observation(self.crops_of_observation)
            .with_turns(if turns.len() > 1 { turns } else { &[] });
        let net = ResidualNet::new(shape, seed)?.to(run.device)?;
        train(net, &pairs, &validation, wanted, seed, run)
    }
}

struct Corrector {
    net: ResidualNet,
    turns: Vec<usize>,
    learned: Learned,
}

impl Reconstructor for Corrector {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let start = &problem.start.image;
        let mut sum = start.f_zeros_like()?;
        for image in in_orientations(&self.net, start, &self.turns, run)? {
            sum += image;
        }
        let image = sum / self.turns.len() as f64;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
