//! Training a patchNR flow by forward KL.

use crate::adam::{Adam, AdamSettings};
use crate::run::{Iteration, Step};
use crate::training_history::{CurvePoint, TrainingHistory, record};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::{Gradients, PatchNr};
use smalti_priors::Patches;
use tch::{Kind, Tensor};

/// Settings of [`PatchNrTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PatchNrTrainingSettings {
    /// Steps and learning rate.
    pub adam: AdamSettings,
    /// Patches a step, drawn uniformly with replacement from one image, which is drawn uniformly among all.
    pub batch: i64,
    /// Steps between two validations.
    pub validate_every: u64,
    /// Validation patches, a fixed random set.
    pub validation_patches: i64,
    /// Stop after so many (at least 1) validations in a row without a new best value; the best flow is kept.
    pub early_stop: Option<u32>,
}

impl Default for PatchNrTrainingSettings {
    /// 10,000 steps of 256 patches at the learning rate 1e-4, validated on 10,000 patches every 500 steps.
    fn default() -> Self {
        Self {
            adam: AdamSettings::constant(10_000, 1e-4),
            batch: 256,
            validate_every: 500,
            validation_patches: 10_000,
            early_stop: None,
        }
    }
}

impl PatchNrTrainingSettings {
    /// The same with other steps.
    #[must_use]
    pub fn with_adam(mut self, adam: AdamSettings) -> Self {
        self.adam = adam;
        self
    }

    /// The same with so many patches a step.
    #[must_use]
    pub fn with_batch(mut self, batch: i64) -> Self {
        self.batch = batch;
        self
    }

    /// The same with a validation after every so many steps.
    #[must_use]
    pub fn with_validate_every(mut self, validate_every: u64) -> Self {
        self.validate_every = validate_every;
        self
    }

    /// The same with so many validation patches.
    #[must_use]
    pub fn with_validation_patches(mut self, validation_patches: i64) -> Self {
        self.validation_patches = validation_patches;
        self
    }

    /// The same with an end after so many validations in a row without a new best value; none: no such end.
    #[must_use]
    pub fn with_early_stop(mut self, early_stop: impl Into<Option<u32>>) -> Self {
        self.early_stop = early_stop.into();
        self
    }
}

/// A trained flow.
#[derive(Debug)]
pub struct TrainedPatchNr {
    /// The flow: the last one, or the best one with early stopping.
    pub flow: PatchNr,
    /// The training curve.
    pub curve: Vec<CurvePoint>,
}

/// Minimises `mean_i (|T^-1(p_i)|^2 / 2 - log |det J_{T^-1}(p_i)|)` over the weights of the flow, `p_i` patches
/// of the training images: the forward Kullback-Leibler divergence of the patch distribution up to a constant.
/// (Altekrueger et al. 2023, eq. (3).)
///
/// The loss is a mean over the batch; gradients are analytic; patches are gathered from the images, which are
/// never unfolded.
pub struct PatchNrTraining {
    flow: PatchNr,
    settings: PatchNrTrainingSettings,
    images: Vec<Tensor>,
    validation: Option<Tensor>,
    parameters: Vec<Tensor>,
    adam: Adam,
    seed: Seed,
    history: TrainingHistory,
    best: Option<(f64, Tensor)>,
    worse: u32,
}

impl std::fmt::Debug for PatchNrTraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatchNrTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PatchNrTraining {
    /// Training of `flow` on the patches of `images`, each `[1, 1, H, W]`, or on those of volumes `[1, 1, D, H, W]` where it is
    /// a flow of cubes, validated on those of `validation`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where an image or setting does not fit.
    pub fn new(
        mut flow: PatchNr,
        images: &[Tensor],
        validation: Option<&Tensor>,
        settings: PatchNrTrainingSettings,
        seed: Seed,
    ) -> Result<Self> {
        settings.adam.check()?;
        for (what, value) in [
            ("batch", settings.batch.into()),
            ("validation interval", settings.validate_every.into()),
            ("validation patches", validation.map_or(1, |_| settings.validation_patches.into())),
            ("validations before an early stop", settings.early_stop.map_or(1, i128::from)),
        ] {
            if value < 1 {
                return Err(Error::value(what, "at least 1", value));
            }
        }
        if settings.early_stop.is_some() && validation.is_none() {
            return Err(Error::value("early stopping", "a validation image", "none"));
        }
        let (kind, device) = (flow.kind(), flow.device());
        let (p, axes) = (flow.shape().patch_size, flow.shape().axes as usize);
        let prepare = |what: &str, image: &Tensor| -> Result<Tensor> {
            let space = Space::of(what, image)?;
            let size = Space { channels: 1, ..space }.batch(1);
            if image.size() != size {
                return Err(Error::shape(what, size, image.size()));
            }
            if space.axes().len() != axes {
                let expected = format!("{axes} axes beyond channels, as the patches of the flow have");
                return Err(Error::shape(what, expected, image.size()));
            }
            if !image.is_floating_point() {
                return Err(Error::value(
                    what,
                    "floating-point values in [0, 1]",
                    format!("{:?}", image.kind()),
                ));
            }
            if image.isfinite().all().int64_value(&[]) == 0 {
                return Err(Error::value(what, "finite values", "NaN or infinity in it"));
            }
            // Fails early where patches do not fit.
            Patches::all(space, p)?;
            Ok(image.detach().f_to_kind(kind)?.f_to_device(device)?)
        };
        let images: Vec<Tensor> =
            images.iter().map(|image| prepare("training image", image)).collect::<Result<_>>()?;
        if images.is_empty() {
            return Err(Error::value("training images", "at least 1", 0));
        }
        let validation = validation
            .map(|image| {
                let image = prepare("validation image", image)?;
                let mut stream = seed.at("validation patches", 0);
                let space = Space::of("validation image", &image)?;
                Patches::random(space, p, settings.validation_patches as usize, &mut stream)?.rows(&image)
            })
            .transpose()?;
        let hash = data_hash(&images.iter().collect::<Vec<_>>())?;
        record(&mut flow.provenance, hash, format!("{settings:?}"), seed);
        let parameters: Vec<Tensor> = flow.parameters().into_iter().map(|(_, t)| t.shallow_clone()).collect();
        let adam = Adam::new(&parameters);
        Ok(Self {
            flow,
            settings,
            images,
            validation,
            parameters,
            adam,
            seed,
            history: TrainingHistory::default(),
            best: None,
            worse: 0,
        })
    }

    /// The batch of step `k`: `[batch, d]`, from one of the images.
    fn batch(&self, k: u64) -> Result<Tensor> {
        let mut stream = self.seed.at("training batch", k);
        let image = &self.images[stream.index(self.images.len() as i64) as usize];
        let space = Space::of("training image", image)?;
        let (p, n) = (self.flow.shape().patch_size, self.settings.batch as usize);
        Patches::random_with_replacement(space, p, n, &mut stream)?.rows(image)
    }

    fn validate(&mut self, step: u64) -> Result<Step> {
        let validation = match &self.validation {
            Some(patches) => Some(self.flow.nll(patches)?.mean(Kind::Double).double_value(&[])),
            None => None,
        };
        let train = self.history.point(step, validation);
        let mut terms = vec![("training NLL", train)];
        terms.extend(validation.map(|v| ("validation NLL", v)));
        let mut report = Step { terms, done: None };
        if let (Some(patience), Some(value)) = (self.settings.early_stop, validation) {
            if self.best.as_ref().is_none_or(|(best, _)| value < *best) {
                self.best = Some((value, self.flow.flat_parameters().copy()));
                self.worse = 0;
            } else {
                self.worse += 1;
                if self.worse >= patience {
                    report.done = Some(format!("no better validation NLL in {patience} validations"));
                }
            }
        }
        Ok(report)
    }
}

impl Iteration for PatchNrTraining {
    type Output = TrainedPatchNr;

    fn name(&self) -> String {
        "training patchNR".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let (loss, gradients) = self.flow.loss_and_weight_grads(&self.batch(k)?)?;
        let update = self.adam.next_update(self.settings.adam.rate_at(k));
        if !self.flow.descend(&gradients, &self.adam.moments(), update)? {
            self.adam.apply(&self.parameters, &[Gradients::sum(&gradients)?], update)?;
            self.flow.refresh()?;
        }
        self.history.add(loss);
        if (k + 1).is_multiple_of(self.settings.validate_every) || k + 1 == self.settings.adam.steps {
            self.validate(k + 1)
        } else {
            Ok(Step { terms: vec![("training NLL", loss)], done: None })
        }
    }

    fn finish(mut self) -> Result<TrainedPatchNr> {
        if let Some((_, best)) = &self.best {
            let _no_grad = tch::no_grad_guard();
            self.flow.flat_parameters().shallow_clone().f_copy_(best)?;
            self.flow.refresh()?;
        }
        let last = self.history.last_validation();
        if let Some(value) = self.best.as_ref().map(|(v, _)| *v).or(last) {
            self.flow.provenance.insert("validation_nll".into(), value.to_string());
        }
        Ok(TrainedPatchNr { flow: self.flow, curve: self.history.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("training.parameters".into(), self.flow.flat_parameters().copy());
        self.adam.save(&mut file);
        self.history.save(&mut file);
        file.metadata.insert("training.worse".into(), self.worse.to_string());
        if let Some((value, flat)) = &self.best {
            file.metadata.insert("training.best".into(), value.to_string());
            file.tensors.insert("training.best".into(), flat.copy());
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let like = self.flow.flat_parameters();
        let flat = state.take("training.parameters", &like.size(), like.kind())?;
        like.shallow_clone().f_copy_(&flat)?;
        self.adam.restore(&mut state)?;
        self.history = TrainingHistory::restore(&mut state)?;
        self.worse = state.meta_parsed("training.worse")?;
        self.best = match state.metadata.contains_key("training.best") {
            true => {
                let like = self.flow.flat_parameters();
                let flat = state.take("training.best", &like.size(), like.kind())?.to_device(like.device());
                Some((state.meta_parsed("training.best")?, flat))
            }
            false => None,
        };
        self.flow.refresh()?;
        Ok(())
    }
}
