//! ALR: a local adversarial regularizer, by MAP estimation that is stopped early.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::map::{map, patch_prior, patches_fit};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Descent, PatchChoice, SettingFault, Weight, to_toml};
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Space};
use smalti_priors::{PatchCritic, PatchCriticShape};
use smalti_solvers::{AdamSettings, CriticTraining, CriticTrainingSettings};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Tensor;

/// Patches of the validation image that measure the training.
const VALIDATION_PATCHES: i64 = 10_000;

/// ALR.
#[derive(Debug)]
pub struct Alr;

/// Some iterations of Adam on `sum nll(A x, y) - lambda mean_i D(P_i x)`, `D` a critic ([`PatchCritic`]) that tells patches of reference images
/// from blurred and noisy ones.
///
/// The regularizer is lower for blurred images than for true ones: `iterations` and `learning_rate`, which end the descent before the
/// minimum, are a part of the method.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct AlrSettings {
    /// The critic: a file, or how one is trained.
    #[garde(dive)]
    pub critic: CriticSettings,
    /// Weight of the mean over patches.
    #[garde(dive)]
    pub weight: Weight,
    /// Pixels that the image is continued by on all sides, by reflection, before its patches are taken; 0 to 64, 0 where not given.
    #[serde(default)]
    #[garde(range(min = 0, max = 64))]
    pub padding: i64,
    /// Which patches an iteration looks at; all where not given.
    #[serde(default)]
    #[garde(dive)]
    pub patches: PatchChoice,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub descent: Descent,
}

/// A critic.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct CriticSettings {
    /// Side of a patch in pixels, 5 to 16.
    #[garde(range(min = 5, max = 16))]
    pub patch_size: i64,
    /// A trained critic to use instead of training one, relative to the folder of the data: a `.safetensors` file of this program, or a
    /// `.pth` file as `ALR_material_p6.pth`.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub weights: Option<String>,
    /// How it is trained where no file is given.
    #[serde(default)]
    #[garde(dive)]
    pub training: Option<CriticTrainingChoice>,
}

/// Training of a critic on patches of reference images, see [`CriticTraining`].
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct CriticTrainingChoice {
    /// Channels after the first and the second convolution, each 1 to 4096; 64 and 128 where not given.
    #[serde(default = "channels")]
    #[garde(inner(range(min = 1, max = 4096)))]
    pub channels: [i64; 2],
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Patches in a step, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub batch: i64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// Largest standard deviation of the blur of damaged patches, in pixels, 0.001 to 10; 0.3 where not given.
    #[serde(default = "blur")]
    #[garde(range(min = 1e-3, max = 10.0))]
    pub blur: f64,
    /// Largest standard deviation of the noise of damaged patches, in grey values, 0 to 10; 0.2 where not given.
    #[serde(default = "noise")]
    #[garde(range(min = 0.0, max = 10.0))]
    pub noise: f64,
    /// The validation loss is measured every so many steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub validation_every: u64,
}

fn channels() -> [i64; 2] {
    PatchCriticShape::default().widths
}

fn blur() -> f64 {
    CriticTrainingSettings::default().blur.1
}

fn noise() -> f64 {
    CriticTrainingSettings::default().noise
}

impl Method for Alr {
    const KEY: &'static str = "alr";
    const TITLE: &'static str = "ALR";
    const PAPERS: &'static [&'static str] = &[
        "J. Prost, A. Houdard, A. Almansa, N. Papadakis. Learning local regularization for variational image restoration. Scale Space and \
         Variational Methods in Computer Vision, 2021.",
    ];
    const LEARNS: Learns = Learns::PatchDensity;
    const STARTS: bool = true;
    type Settings = AlrSettings;

    fn check(
        settings: &AlrSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        match (&settings.critic.weights, &settings.critic.training) {
            (None, None) => return Err(("critic".into(), "needs weights or training".into())),
            (Some(_), Some(_)) => {
                return Err((
                    "critic.training".into(),
                    "not used where weights are given; leave one out".into(),
                ));
            }
            _ => {}
        }
        let patch_size = settings.critic.patch_size;
        patches_fit(domain, (patch_size, "critic.patch_size"), (settings.padding, "padding"))
    }

    fn prepare(settings: &AlrSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let critic = &settings.critic;
        let trained = match (&critic.weights, &critic.training) {
            (Some(file), _) => {
                let path = from.folder.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
                if !path.exists() {
                    let remedy = "`cargo xtask fetch-data --only weights` brings those that can be fetched";
                    return Ok(Prepared::Missing(format!("{} is not there; {remedy}", path.display())));
                }
                Trained::given(critic.given(&path, from)?)
            }
            (None, Some(training)) => training.train(critic, from, run)?,
            (None, None) => return Err(Error::value("critic of ALR", "weights or training", "neither")),
        };
        let Trained { model, curve, seconds } = trained;
        let note = match (&critic.weights, curve.training.last()) {
            (None, Some(&(steps, _))) => {
                let loss = curve.validation.last().map(|&(_, value)| format!(", validation loss {value:.3}"));
                format!("critic trained once: {steps} steps in {seconds:.0} s{}", loss.unwrap_or_default())
            }
            (file, _) => {
                let path = Path::new(file.as_deref().unwrap_or("a file"));
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                format!("critic of {name}, trained before this run")
            }
        };
        let learned = Learned { identity: model.hash()?, curve: None, note };
        let critic = model.to(run.device)?;
        Prepared::ready(WithCritic { settings: settings.clone(), critic, learned })
    }
}

/// Axes of the patches of the material.
fn axes(from: &TrainingData<'_>) -> i64 {
    from.references.first().map_or(2, |image| image.dim() as i64 - 2)
}

impl CriticSettings {
    /// A critic that was trained before, on patches of the size of the settings.
    fn given(&self, path: &Path, from: &TrainingData<'_>) -> Result<PatchCritic> {
        let pytorch = path.extension().is_some_and(|extension| extension == "pth" || extension == "pt");
        let critic = if pytorch {
            PatchCritic::import_pytorch(path, self.patch_size)?
        } else {
            PatchCritic::load(path)?
        };
        let shape = critic.shape();
        if shape.patch_size != self.patch_size {
            let problem =
                format!("is a critic of patches of {}, not of {}", shape.patch_size, self.patch_size);
            return Err(Error::content(path, problem, "give its patch_size, or another file"));
        }
        if shape.axes != axes(from) {
            let problem = format!("is a critic of patches with {} axes, not with {}", shape.axes, axes(from));
            return Err(Error::content(path, problem, "give another file, or train one"));
        }
        Ok(critic)
    }
}

impl CriticTrainingChoice {
    /// A critic, trained on the patches of the references of `from`.
    fn train(
        &self,
        critic: &CriticSettings,
        from: &TrainingData<'_>,
        run: &Run,
    ) -> Result<Trained<PatchCritic>> {
        let references = from.dequantised(run.seed)?;
        let hash = data_hash(&references.iter().chain(&from.validation).collect::<Vec<&Tensor>>())?;
        run.once("alr", &format!("{hash} {}", to_toml(critic)), |run| {
            let channels = references.first().map_or(1, |image| image.size()[1]);
            let shape = PatchCriticShape::default()
                .with_patch_size(critic.patch_size)
                .with_channels(channels)
                .with_axes(axes(from))
                .with_widths(self.channels);
            let seed = run.seed_of("ALR");
            let start = PatchCritic::new(shape, seed)?.to(run.device)?;
            let published = CriticTrainingSettings::default();
            let settings = published
                .with_adam(AdamSettings::constant(self.steps, self.learning_rate))
                .with_batch(self.batch)
                .with_damage((published.blur.0.min(self.blur), self.blur), self.noise)
                .with_validate_every(self.validation_every)
                .with_validation_patches(VALIDATION_PATCHES);
            let training = CriticTraining::new(start, &references, from.validation.as_ref(), settings, seed)?;
            let (trained, summary) = run.iterate("training", self.steps, training)?;
            run.publish(&format!("{}.safetensors", run.row()), |path| trained.critic.save(path))?;
            let (curve, seconds) = (trained.curve.as_slice().into(), summary.elapsed.as_secs_f64());
            Ok(Trained { model: trained.critic, curve, seconds })
        })
    }
}

struct WithCritic {
    settings: AlrSettings,
    critic: PatchCritic,
    learned: Learned,
}

impl Reconstructor for WithCritic {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let AlrSettings { weight, padding, patches, descent, .. } = self.settings;
        let weight = weight.against(&problem.noise)?;
        let seed = run.seed.derive(&problem.name, 0);
        let mut prior = patch_prior(&self.critic, problem.domain(), padding, patches, seed)?;
        let image = map(problem, prior.as_mut(), weight, descent, run)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
