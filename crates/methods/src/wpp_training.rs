//! Training by the Wasserstein patch prior on observed crops and one reference image, without pairs: what WPPNets and WPPFlows share.

use crate::estimate::TrainingCurve;
use crate::instrument::{Downsampling, Instrument, TrainingData};
use crate::run::Run;
use crate::settings::{ScheduleChoice, SettingFault, check_form};
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Boundary, ImagingOperator};
use smalti_priors::WppSettings;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{AdamSettings, Generator, WppTraining, WppTrainingData, WppTrainingSettings};
use tch::Tensor;

/// Side of the crops that are cut from observations of the references, in observed pixels; neighbours are half of it apart.
const CROP: i64 = 25;

/// A training.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct CropTrainingSettings {
    /// How long.
    #[garde(dive)]
    pub length: TrainingLength,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: i64,
    /// How the operator continues what is made of a crop; nothing is known beyond its edges.
    #[garde(skip)]
    pub form: Boundary,
    /// Weight of the squared Wasserstein distance, 0 to 1e6: against the mean squared residual for a WPPNet, against half of the
    /// summed squared residual of a crop for a WPPFlow.
    #[garde(range(min = 0.0, max = 1e6))]
    pub lambda: f64,
    /// Learning rate after the warm-up, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: ScheduleChoice,
    /// Steps over which the learning rate grows before it follows the cosine, 0 to 100 million; 0 where not given.
    #[serde(default)]
    #[garde(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// The validation loss is measured every so many steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub validation_every: u64,
    /// Validation crops, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub validation_crops: i64,
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Distance of neighbouring patches of a result in pixels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub patch_stride: i64,
    /// Whether patches are compared without their means.
    #[garde(skip)]
    pub centred: bool,
    /// Patches of the reference image, drawn once, 1 to 10 million.
    #[garde(range(min = 1, max = 10_000_000))]
    pub reference_patches: i64,
    /// Supergradient steps of size 1 in the potentials for a batch, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub psi_steps: i64,
}

/// How long a training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum TrainingLength {
    /// So many steps, 1 to 100 million.
    Steps(#[garde(range(min = 1, max = 100_000_000))] u64),
    /// So many times through all crops, 1 to 1 million.
    Epochs(#[garde(range(min = 1, max = 1_000_000))] u64),
}

impl CropTrainingSettings {
    /// Whether the settings fit together, under the key `training`.
    ///
    /// # Errors
    /// The key that does not fit, and the problem.
    pub(crate) fn check(&self) -> std::result::Result<(), SettingFault> {
        check_form(self.form).map_err(|(key, problem)| (format!("training.{key}"), problem))?;
        let steps = match self.length {
            TrainingLength::Steps(steps) => steps,
            TrainingLength::Epochs(_) => u64::MAX,
        };
        let problem = self.schedule.misfit(self.warmup_steps, steps);
        problem.map_or(Ok(()), |problem| Err(("training.warmup_steps".into(), problem)))
    }

    /// What is learned from.
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Shape`] where material and instrument do not suit such a training.
    pub(crate) fn inputs(&self, from: &TrainingData<'_>, run: &Run) -> Result<TrainingInputs> {
        let [reference] = &from.references[..] else {
            return Err(Error::value("reference images", "one", from.references.len()));
        };
        let downsampling = downsampling(from.instrument)
            .map_err(|got| Error::value("observations", "coarse images", got))?;
        let observed =
            |image: &Tensor, purpose: &str| from.instrument.observe(image, run.seed.derive(purpose, 0));
        let crops = match &from.observations {
            Some(crops) => crops.shallow_clone(),
            None => {
                let whole = observed(reference, "observation of the reference")?;
                let Space { height, width, .. } = Space::of("observation of the reference", &whole)?;
                let side = CROP.min(height).min(width);
                tiles(&whole, [side; 2], [(side / 2).max(1); 2])?
            }
        };
        let size = [crops.size()[2], crops.size()[3]];
        let validation = match (&from.validation_observations, &from.validation) {
            (Some(observations), _) => Some(observations.shallow_clone()),
            (None, Some(image)) => Some(observed(image, "observation of the validation image")?),
            (None, None) => None,
        };
        let validation = validation.map(|whole| self.chosen(&whole, size, run.seed)).transpose()?;
        let (crops, operator) = from.instrument.on_crops(&crops, self.form)?;
        let posed = |crops: Tensor| Ok::<_, Error>(from.instrument.on_crops(&crops, self.form)?.0);
        let count = crops.size()[0].max(1);
        let batch = self.batch.min(count);
        Ok(TrainingInputs {
            validation: validation.map(posed).transpose()?,
            crops,
            reference: reference.shallow_clone(),
            operator,
            prior: WppTrainingSettings::prior(self.centred)
                .with_patch_size(self.patch_size)
                .with_stride(self.patch_stride)
                .with_references(ReferencePatches::Random(self.reference_patches as usize))
                .with_dual(DualMethod::AveragedSgd { steps: self.psi_steps as usize, step: 1.0 }),
            steps: match self.length {
                TrainingLength::Steps(steps) => steps,
                TrainingLength::Epochs(epochs) => epochs * (count / batch) as u64,
            },
            batch,
            instrument: from.instrument.identity(),
            downsampling,
        })
    }

    /// Trains `generator` on `inputs` and publishes its file, called after the row; with the seconds of the training.
    ///
    /// # Errors
    /// Those of the training; [`Error::Cancelled`] on request.
    pub(crate) fn train<G: Generator>(
        &self,
        mut generator: G,
        inputs: &TrainingInputs,
        seed: Seed,
        run: &Run,
    ) -> Result<Trained<G>> {
        generator.provenance().insert("operator".into(), inputs.instrument.clone());
        let adam = AdamSettings::constant(inputs.steps, self.learning_rate)
            .with_schedule(self.schedule.with_warmup(self.warmup_steps));
        let settings = WppTrainingSettings::altekrueger_2023_wppnet(inputs.batch)
            .with_adam(adam)
            .with_batch(inputs.batch)
            .with_lambda(self.lambda)
            .with_validations(self.validation_every);
        let mut iteration = WppTraining::new(generator, inputs.data(), settings, seed)?;
        if let Some(events) = run.events("training", &run.row())? {
            iteration = iteration.with_events(events);
        }
        let (trained, summary) = run.iterate("training", inputs.steps, iteration)?;
        run.publish(&format!("{}.safetensors", run.row()), |path| {
            trained.generator.to_checkpoint().save(path)
        })?;
        let seconds = summary.elapsed.as_secs_f64();
        Ok(Trained { model: trained.generator, curve: TrainingCurve::default(), seconds })
    }

    /// At most `validation_crops` crops of `size` of observations, drawn once.
    fn chosen(&self, observations: &Tensor, size: [i64; 2], seed: Seed) -> Result<Tensor> {
        let all = tiles(observations, size, size)?;
        let order =
            seed.at("validation crops", 0).distinct_indices(all.size()[0], self.validation_crops as usize);
        Ok(all.f_index_select(0, &Tensor::f_from_slice(&order)?)?)
    }
}

/// How coarse the observations of an instrument are.
///
/// # Errors
/// Why such a training makes no sense for it, for readers.
pub(crate) fn downsampling(instrument: &dyn Instrument) -> std::result::Result<Downsampling, String> {
    instrument.downsampling().ok_or_else(|| {
        "its observations are no images on a grid that goes a whole number of times into that of the results".into()
    })
}

/// What a training takes.
pub(crate) struct TrainingInputs {
    crops: Tensor,
    validation: Option<Tensor>,
    reference: Tensor,
    pub(crate) operator: Box<dyn ImagingOperator>,
    prior: WppSettings,
    pub(crate) steps: u64,
    pub(crate) batch: i64,
    /// The identity of the instrument.
    pub(crate) instrument: String,
    pub(crate) downsampling: Downsampling,
}

impl TrainingInputs {
    pub(crate) fn data(&self) -> WppTrainingData<'_> {
        WppTrainingData {
            operator: &self.operator,
            crops: &self.crops,
            validation: self.validation.as_ref(),
            reference: &self.reference,
            prior: &self.prior,
        }
    }

    pub(crate) fn hash(&self) -> Result<String> {
        let tensors: Vec<&Tensor> =
            [&self.crops, &self.reference].into_iter().chain(&self.validation).collect();
        data_hash(&tensors)
    }

    /// Rows and columns at the end of a crop that the operator has no value for.
    pub(crate) fn unseen(&self) -> [i64; 2] {
        let (size, range) = (self.crops.size(), self.operator.range());
        [size[2] - range.height, size[3] - range.width]
    }

    /// One of the crops, `[1, 1, h, w]`.
    pub(crate) fn crop(&self) -> Result<Tensor> {
        Ok(self.crops.f_narrow(0, 0, 1)?)
    }
}

/// Squares or rectangles of `size` pixels of all images `[N, 1, H, W]`, `step` pixels apart, one after another.
///
/// # Errors
/// [`Error::Shape`] where an image is smaller.
pub fn tiles(images: &Tensor, size: [i64; 2], step: [i64; 2]) -> Result<Tensor> {
    let space = Space::of("observation to cut", images)?;
    if space.height < size[0] || space.width < size[1] {
        let expected = format!("at least {} x {} pixels, those of a crop", size[0], size[1]);
        return Err(Error::shape("observation to cut", expected, images.size()));
    }
    let windows = images.f_unfold(2, size[0], step[0])?.f_unfold(3, size[1], step[1])?;
    Ok(windows.f_reshape([-1, 1, size[0], size[1]])?.f_contiguous()?)
}

#[cfg(test)]
mod tests {
    use crate::{Instrument, MethodEntry, Prepared, ProblemEntry, Run, TrainingData};
    use smalti_base::Seed;
    use tch::Device;
    use toml::de::Deserializer;

    fn camera(settings: &str) -> Box<dyn Instrument> {
        let settings =
            format!("kernel_size = 4\nsigma = 1.0\nstride = 2\nnoise = 0.01\ncrop = 2\n{settings}");
        let problem = ProblemEntry::find("superresolution").unwrap();
        (problem.read)(Deserializer::parse(&settings).unwrap()).unwrap().instrument(None).unwrap()
    }

    /// A reference image is enough.
    #[test]
    fn observations_are_made_where_none_are_given() {
        let camera = camera("form = 'reflect'");
        let image = |k| crate::synthetic::microstructure(64, 64, Seed::new(1), k).unwrap();
        let from = TrainingData {
            references: vec![image(0)],
            validation: Some(image(1)),
            ..TrainingData::none(camera.as_ref())
        };
        let training = "training = { length = { epochs = 1 }, batch = 1, form = 'valid', lambda = 0.02, learning_rate = 1e-3, \
                        schedule = 'constant', validation_every = 1, validation_crops = 2, patch_size = 4, patch_stride = 2, \
                        centred = true, reference_patches = 100, psi_steps = 1 }";
        let run = Run::new(Seed::new(3), Device::Cpu);
        let observation = camera.observe(&image(2), Seed::new(2)).unwrap();
        for (key, settings) in [
            ("wppnet", String::new()),
            (
                "wppflow",
                "draws = 3\nclip = 50.0\nflow = { blocks = 1, hidden = 4, centres = 'operator' }\n".into(),
            ),
        ] {
            let method = MethodEntry::find(key).unwrap();
            (method.applies)(camera.as_ref()).unwrap();
            let settings = format!("{settings}{training}");
            let method = (method.read)(Deserializer::parse(&settings).unwrap()).unwrap();
            let Prepared::Ready(method) = method.prepare(&from, &run).unwrap() else { unreachable!("{key}") };
            let problem = camera.pose("slice", &observation, None).unwrap();
            let estimate = method.reconstruct(&problem, &run).unwrap();
            assert_eq!(estimate.image.size(), [1, 1, 64, 64], "{key}");
            assert_eq!(estimate.draws.map(|draws| draws.size()[0]), (key == "wppflow").then_some(3));
        }
        // Observed pixels that no image has as many times.
        for key in ["wppnet", "wppflow"] {
            let fits = MethodEntry::find(key).unwrap().applies;
            assert!(fits(self::camera("form = 'valid'").as_ref()).unwrap_err().contains("no images"));
        }
    }
}
