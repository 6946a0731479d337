//! A network from observations to images that was trained on pairs.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::methods::wppnet::WppNet;
use crate::pairs::{Input, ObservedCrops, check_sizes, pair_with};
use crate::problem::InverseProblem;
use crate::reference_files::{load_references, plain_pattern};
use crate::run::Run;
use crate::settings::{PrecisionChoice, SettingFault, to_toml};
use crate::supervised::train;
use crate::trained::Trained;
use crate::wpp_training::downsampling;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed, Space};
use smalti_solvers::{AcNet, Pair, SupervisedTrainingSettings};
use std::path::Path;
use std::time::Instant;
use tch::Tensor;

/// The asymmetric CNN.
#[derive(Debug)]
pub struct Acnn;

/// Bytes of activations at a time when a network is applied to a whole image.
const MEMORY: usize = 1 << 30;

/// The network `G` is [`AcNet`], that of WPPNet; `mean (G(y) - x)^2` over pixels of pairs of images `x` and their observations `y` is
/// minimised over its weights by Adam: an estimate of the mean of all images that an observation allows.
///
/// Pairs are made by the instrument during the training: each of an image to learn from in one of eight orientations, with fresh
/// noise. Training takes crops of them. Observed pixel `(i, j)` belongs to the `f x f` pixels of the image from `(f i, f j)` on, `f` the
/// factor of the instrument: where its centre lies elsewhere, as with a kernel that is not centred, the network learns the
/// displacement, and `border` has to leave out what it cannot see.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct AcnnSettings {
    /// Images to learn from in place of the run's references: a folder, of which all PNG and TIFF files are taken, or a name or a
    /// pattern with one `*` in the file name; relative to the folder of the data.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub references: Option<String>,
    /// Crops that are taken of an observation before the next one is made, with fresh noise, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub crops_of_observation: u64,
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: i64,
    /// Side of a crop in pixels of the image, 16 to 4096: a multiple of the factor.
    #[garde(range(min = 16, max = 4096))]
    pub crop: i64,
    /// Pixels along each side of a crop, and of the validation image, that do not count, 0 to 1024; less than half of the crop.
    #[garde(range(min = 0, max = 1024))]
    pub border: i64,
    /// Learning rate at the start, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// Learning rate at the end, which a cosine leads to, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub final_learning_rate: f64,
    /// The largest norm of a gradient, above 0; longer ones are shortened. As they are where not given.
    #[serde(default)]
    #[garde(inner(range(min = 1e-12, max = 1e12)))]
    pub clip: Option<f64>,
    /// The dtype of convolutions in the training.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

impl Method for Acnn {
    const KEY: &'static str = "acnn";
    const TITLE: &'static str = "ACNN (supervised)";
    const PAPERS: &'static [&'static str] = &[
        "C. Tian, Y. Xu, W. Zuo, C.-W. Lin, D. Zhang. Asymmetric CNN for image superresolution. IEEE Transactions on Systems, Man, \
         and Cybernetics: Systems 52(6), 2022.",
    ];
    const LEARNS: Learns = Learns::Pairs;
    type Settings = AcnnSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        WppNet::applies(instrument)
    }

    fn check(
        settings: &AcnnSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        let &AcnnSettings { crop, border, .. } = settings;
        if let Some(pattern) = &settings.references {
            plain_pattern(pattern).map_err(|problem| ("references".to_owned(), problem))?;
        }
        let factor = downsampling(instrument).map_err(|problem| ("method".to_owned(), problem))?.factor;
        if crop % factor != 0 {
            return Err(("crop".into(), format!("not a multiple of the factor {factor}")));
        }
        if 2 * border >= crop {
            return Err(("border".into(), format!("not less than half of the crop of {crop}")));
        }
        match domain {
            Some(Space { height, width, .. }) if height % factor != 0 || width % factor != 0 => {
                let problem = format!("{height} x {width} pixels are no multiples of the factor {factor}");
                Err(("method".into(), problem))
            }
            _ => Ok(()),
        }
    }

    fn check_material(settings: &AcnnSettings, from: &TrainingData<'_>) -> Result<()> {
        settings.material(from).map(drop)
    }

    fn prepare(settings: &AcnnSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let material = settings.material(from)?;
        let Some(from) = &material else {
            let pattern = settings.references.as_deref().unwrap_or_default();
            return Ok(Prepared::Missing(format!("{pattern} is needed, and there is no folder of data")));
        };
        let factor = downsampling(from.instrument)
            .map_err(|problem| Error::value("problem of an ACNN", "observed images", problem))?
            .factor;
        let hash = data_hash(&from.references.iter().chain(&from.validation).collect::<Vec<&Tensor>>())?;
        let precision = settings.precision.on(run.device);
        let identity = format!("{hash} {} {} {precision:?}", to_toml(settings), from.instrument.identity());
        let Trained { model: net, curve, seconds } =
            run.once("acnn", &identity, |run| settings.train(from, factor, run))?;
        let images = match from.references.len() {
            1 => "one image".to_owned(),
            n => format!("{n} images"),
        };
        let note = format!(
            "trained once, supervised, on crops of {images}: {} steps of {} in {seconds:.0} s",
            settings.steps, settings.batch
        );
        let learned = Learned { identity, curve: Some(curve), note };
        Prepared::ready(Network { net: net.to(run.device)?, learned })
    }
}

impl AcnnSettings {
    /// What is learned from: the run's own images, or those of `references`; none where those would need a folder of data.
    fn material<'a>(&self, from: &TrainingData<'a>) -> Result<Option<TrainingData<'a>>> {
        let references = match (&self.references, from.folder) {
            (None, _) => from.references.iter().map(Tensor::shallow_clone).collect(),
            (Some(_), None) => return Ok(None),
            (Some(pattern), Some(folder)) => self.load(pattern, folder, from)?,
        };
        let validation = from.validation.as_ref().map(Tensor::shallow_clone);
        let own = TrainingData {
            references,
            validation,
            grey_step: from.grey_step,
            values: from.values,
            folder: from.folder,
            ..TrainingData::none(from.instrument)
        };
        check_sizes(&own, self.crop, self.border)?;
        own.check()?;
        Ok(Some(own))
    }

    fn load(&self, pattern: &str, folder: &Path, from: &TrainingData<'_>) -> Result<Vec<Tensor>> {
        let prepared = |(name, image): (String, Tensor)| from.instrument.reference(&name, &image);
        load_references(folder, pattern, from.values)?.into_iter().map(prepared).collect()
    }

    fn train(&self, from: &TrainingData<'_>, factor: i64, run: &Run) -> Result<Trained<AcNet>> {
        let seed: Seed = run.seed.derive("asymmetric CNN", 0);
        let validation = (from.validation.iter().enumerate())
            .map(|(k, truth)| pair_with(Input::Observation, from, truth, seed.derive("validation", k as u64)))
            .collect::<Result<Vec<Pair>>>()?;
        let wanted = SupervisedTrainingSettings::default()
            .with_steps(self.steps)
            .with_batch(self.batch)
            .with_border(self.border)
            .with_clip(self.clip)
            .with_rate(self.learning_rate)
            .with_last_rate(self.final_learning_rate)
            .with_validate_every((self.steps / 10).max(1))
            .with_precision(self.precision.on(run.device));
        let net = AcNet::new(factor, seed)?.to(run.device)?;
        let make = |image: &Tensor, seed: Seed| pair_with(Input::Observation, from, image, seed);
        let pairs = ObservedCrops::new(&from.references, &make, self.crop, factor, seed)
            .with_of_observation(self.crops_of_observation);
        train(net, &pairs, &validation, wanted, seed, run)
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
        problem.domain().check("image of an ACNN", &image)?;
        Ok(Estimate::of(image, clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
