//! Supervised training of a U-Net that post-processes reconstructions.

use crate::adam::Adam;
use crate::dataset::{Batches, PairedDataset, checked};
use crate::run::{Iteration, Step};
use crate::schedule::{Schedule, check_rate};
use crate::training_history::{CurvePoint, TrainingHistory};
use crate::unet::{Statistics, UNet};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::metrics::psnr;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, parallel};
use smalti_flows::Precision;
use tch::{Kind, Tensor};

/// Settings of [`UNetTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct UNetTrainingSettings {
    /// Number of steps, at least 1.
    pub steps: u64,
    /// Pairs a step.
    pub batch: i64,
    /// Side in pixels of a square that is cut out of each pair at a random place; the whole images where there is none.
    pub crop: Option<i64>,
    /// Learning rate of Adam in the first step, from where it goes down to `last_rate` as a cosine:
    /// `last_rate + (rate - last_rate) (1 + cos(pi k / steps)) / 2` in step `k`.
    pub rate: f64,
    /// Learning rate at the end.
    pub last_rate: f64,
    /// Steps between two validations.
    pub validate_every: u64,
    /// The dtype of convolutions; weights and their moments stay in float32.
    pub precision: Precision,
}

impl Default for UNetTrainingSettings {
    /// [`UNetTrainingSettings::fbp_unet`] for 1000 steps of 8 pairs.
    fn default() -> Self {
        Self::fbp_unet(1000, 8)
    }
}

impl UNetTrainingSettings {
    /// The learning rates of FBP+UNet, 1e-3 to 1e-4, for so many steps and whole images.
    ///
    /// # Reference
    /// Leuschner et al., "Quantitative comparison of deep learning-based image reconstruction methods for low-dose and
    /// sparse-angle CT applications", Journal of Imaging 7 (2021), and the DIVal library.
    pub fn fbp_unet(steps: u64, batch: i64) -> Self {
        Self {
            steps,
            batch,
            crop: None,
            rate: 1e-3,
            last_rate: 1e-4,
            validate_every: (steps / 20).max(1),
            precision: Precision::Full,
        }
    }

    /// The same with so many steps.
    #[must_use]
    pub fn with_steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    /// The same with so many pairs a step.
    #[must_use]
    pub fn with_batch(mut self, batch: i64) -> Self {
        self.batch = batch;
        self
    }

    /// The same with squares of this side that are cut out of the pairs; none: the whole images.
    #[must_use]
    pub fn with_crop(mut self, crop: impl Into<Option<i64>>) -> Self {
        self.crop = crop.into();
        self
    }

    /// The same with another learning rate at first.
    #[must_use]
    pub fn with_rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// The same with another learning rate at the end.
    #[must_use]
    pub fn with_last_rate(mut self, last_rate: f64) -> Self {
        self.last_rate = last_rate;
        self
    }

    /// The same with a validation after every so many steps.
    #[must_use]
    pub fn with_validate_every(mut self, validate_every: u64) -> Self {
        self.validate_every = validate_every;
        self
    }

    /// The same with convolutions in another dtype.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }
}

/// A trained network.
#[derive(Debug)]
pub struct TrainedUNet {
    /// The network of the validation with the smallest error; without validation that after the last step.
    pub net: UNet,
    /// The training curve: mean squared errors.
    pub curve: Vec<CurvePoint>,
}

/// Minimises, over the weights of a U-Net `G`, the mean of `(G(x) - t)^2` over all pixels of a batch of pairs, inputs
/// `x` and targets `t`, by Adam.
///
/// Batches go through all pairs in random order, anew in every epoch; what is left over when no full batch remains
/// sits that epoch out. Validations are made with running statistics on whole images, of any sizes: the mean over
/// pairs of the mean squared error, and of the PSNR with range 1.
///
/// # Reference
/// Jin, McCann, Froustey, Unser, "Deep convolutional neural network for inverse problems in imaging", IEEE Transactions
/// on Image Processing 26 (2017).
pub struct UNetTraining<'a> {
    net: UNet,
    parameters: Vec<Tensor>,
    settings: UNetTrainingSettings,
    batches: Batches<'a>,
    validation: Option<&'a dyn PairedDataset>,
    adam: Adam,
    history: TrainingHistory,
    best: Option<Best>,
    events: Option<EventFile>,
}

impl std::fmt::Debug for UNetTraining<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UNetTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The network with the smallest validation error so far.
struct Best {
    error: f64,
    psnr: f64,
    tensors: Vec<(String, Tensor)>,
}

impl<'a> UNetTraining<'a> {
    /// Training of `net`, on its device.
    ///
    /// # Errors
    /// [`Error::Value`] where a setting is out of range or there are too few pairs. Pairs themselves are checked when
    /// they are used.
    pub fn new(
        mut net: UNet,
        pairs: &'a dyn PairedDataset,
        validation: Option<&'a dyn PairedDataset>,
        settings: UNetTrainingSettings,
        seed: Seed,
    ) -> Result<Self> {
        check_rate(settings.rate)?;
        check_rate(settings.last_rate)?;
        for (what, zero) in [
            ("steps of a U-Net's training", settings.steps == 0),
            ("validation interval", settings.validate_every == 0),
        ] {
            if zero {
                return Err(Error::value(what, "at least 1", 0));
            }
        }
        if let Some(side) = settings.crop {
            net.settings().check_size(side, side)?;
        }
        match validation.map(PairedDataset::count) {
            Some(None) => {
                return Err(Error::value("validation pairs", "a limited number", "one for every index"));
            }
            Some(Some(0)) => return Err(Error::value("validation pairs", "at least 1", 0)),
            _ => {}
        }
        let batches = Batches::new(pairs, settings.batch, settings.crop, seed, net.device())?;
        net.provenance.insert("training".into(), format!("{settings:?}"));
        net.provenance.insert("seed".into(), seed.value().to_string());
        net.provenance.insert("value_range".into(), "[0, 1]".into());
        let parameters: Vec<Tensor> = net.parameters().into_iter().map(|(_, t)| t).collect();
        Ok(Self {
            adam: Adam::new(&parameters),
            net,
            parameters,
            settings,
            batches,
            validation,
            history: TrainingHistory::default(),
            best: None,
            events: None,
        })
    }

    /// Logs loss and learning rate of every step to `events`, and at every validation its values and the first pair's
    /// images.
    pub fn with_events(mut self, events: EventFile) -> Self {
        self.events = Some(events);
        self
    }

    /// Mean squared error and PSNR of the validation pairs, the mean over them.
    fn measure(&mut self, step: u64, pairs: &dyn PairedDataset) -> Result<(f64, f64)> {
        let n = pairs.count().unwrap_or(0);
        let (mut error, mut quality) = (0.0, 0.0);
        for index in 0..n {
            let pair = checked("validation pair", pairs, index, self.net.device())?;
            let x = self.net.infer(&pair.input)?;
            let residual = x.f_sub(&pair.target)?;
            error += residual.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])? / n as f64;
            quality += psnr(&x, &pair.target, 1.0)? / n as f64;
            if let (0, Some(events)) = (index, &mut self.events) {
                for (tag, image) in [("result", &x), ("input", &pair.input), ("target", &pair.target)] {
                    events.image(step, &format!("validation/{tag}"), image)?;
                }
            }
        }
        Ok((error, quality))
    }

    /// One validation at step `step`, and a point of the curve.
    fn validate(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>> {
        let mut terms = Vec::new();
        let mut validation = None;
        if let Some(pairs) = self.validation {
            let (error, psnr) = self.measure(step, pairs)?;
            validation = Some(error);
            terms = vec![("validation error", error), ("validation PSNR", psnr)];
            if self.best.as_ref().is_none_or(|best| error < best.error) {
                let tensors = self.net.tensors().into_iter().map(|(name, t)| (name, t.detach().copy()));
                self.best = Some(Best { error, psnr, tensors: tensors.collect() });
            }
            if let Some(events) = &mut self.events {
                events.scalar(step, "error/validation", error)?;
                events.scalar(step, "PSNR/validation", psnr)?;
            }
        }
        self.history.point(step, validation);
        Ok(terms)
    }
}

impl Iteration for UNetTraining<'_> {
    type Output = TrainedUNet;

    fn name(&self) -> String {
        "training U-Net".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let batch = self.batches.at(k)?;
        let (loss, gradients) = parallel::in_operations(|| {
            let loss = tch::with_grad(|| {
                let x = self.net.forward(&batch.input, Statistics::Learning, self.settings.precision)?;
                Ok::<_, Error>(x.f_sub(&batch.target)?.f_square()?.f_mean(Kind::Float)?)
            })?;
            let gradients = Tensor::f_run_backward(&[&loss], &self.parameters, false, false)?;
            Ok::<_, Error>((loss.f_double_value(&[])?, gradients))
        })?;
        let UNetTrainingSettings { steps, rate, last_rate, validate_every, .. } = self.settings;
        let rate = last_rate + (rate - last_rate) * Schedule::Cosine { warmup: 0 }.factor(k, steps);
        self.adam.step(&self.parameters, &[gradients], rate)?;
        self.history.add(loss);
        if let Some(events) = &mut self.events {
            events.scalar(k + 1, "error/training", loss)?;
            events.scalar(k + 1, "learning rate", rate)?;
        }
        let mut terms = vec![("training error", loss)];
        if (k + 1).is_multiple_of(validate_every) || k + 1 == steps {
            terms.extend(self.validate(k + 1)?);
        }
        Ok(Step { terms, done: None })
    }

    fn finish(mut self) -> Result<TrainedUNet> {
        if let Some(best) = self.best {
            let mut kept = Checkpoint::default();
            kept.tensors = best.tensors.into_iter().collect();
            self.net.restore(&mut kept)?;
            self.net.provenance.insert("validation_error".into(), best.error.to_string());
            self.net.provenance.insert("validation_psnr".into(), best.psnr.to_string());
        }
        Ok(TrainedUNet { net: self.net, curve: self.history.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = self.net.to_checkpoint();
        self.adam.save(&mut file);
        self.history.save(&mut file);
        if let Some(best) = &self.best {
            let mut part = Checkpoint::default();
            part.tensors = best.tensors.iter().map(|(name, t)| (name.clone(), t.copy())).collect();
            part.set_meta("error", best.error);
            part.set_meta("psnr", best.psnr);
            file.insert_part("best", part);
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.net.restore(&mut state)?;
        self.adam.restore(&mut state)?;
        self.history = TrainingHistory::restore(&mut state)?;
        let mut part = state.take_part("best");
        self.best = None;
        if part.metadata.contains_key("error") {
            let mut take = |(name, like): (String, Tensor)| {
                let kept = part.take(&name, &like.size(), Kind::Float)?.f_to_device(like.device())?;
                Ok((name, kept))
            };
            let tensors = self.net.tensors().into_iter().map(&mut take).collect::<Result<_>>()?;
            let (error, psnr) = (part.meta_parsed("error")?, part.meta_parsed("psnr")?);
            self.best = Some(Best { error, psnr, tensors });
        }
        Ok(())
    }
}
