//! Supervised training of a network from images to images, on pairs.

use crate::adam::Adam;
use crate::dataset::{Batches, PairedDataset, checked};
use crate::rate_drop::{RateRule, drops};
use crate::run::{Iteration, Step};
use crate::schedule::{Schedule, check_rate};
use crate::training_history::{CurvePoint, TrainingHistory};
use crate::unet::{Statistics, UNet};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::metrics::psnr;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, parallel};
use smalti_flows::Precision;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// A network that makes one image of another, and learns it.
pub trait ImageNetwork {
    /// What messages call it.
    fn name(&self) -> &'static str;

    /// How many times as large as its inputs, along each side, its images are.
    fn factor(&self) -> i64 {
        1
    }

    /// The image for `x`, `[B, 1, h, w]`, as it is computed in training: with a graph where gradients are on.
    ///
    /// # Errors
    /// [`Error::Shape`] where it takes no such images.
    fn learn(&self, x: &Tensor, precision: Precision) -> Result<Tensor>;

    /// The image that the trained network makes of `x`, `[B, 1, h, w]`, in float32 without a graph.
    ///
    /// # Errors
    /// [`Error::Shape`] where it takes no such images.
    fn infer(&self, x: &Tensor) -> Result<Tensor>;

    /// Whether it makes images of `height` times `width` pixels.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where it does not.
    fn check_size(&self, height: i64, width: i64) -> Result<()>;

    /// Names and tensors of all that the gradient is taken in, in a fixed order; they share their memory with the network.
    fn parameters(&self) -> Vec<(String, Tensor)>;

    /// The parameters, and what else a state needs, such as running statistics.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Where the parameters are.
    fn device(&self) -> Device;

    /// The network as a checkpoint.
    fn to_checkpoint(&self) -> Checkpoint;

    /// What a file says about where the weights come from.
    fn provenance(&mut self) -> &mut BTreeMap<String, String>;

    /// Takes [`ImageNetwork::tensors`] out of a state, in place.
    ///
    /// # Errors
    /// [`Error::Content`] where one is missing or has another size.
    fn restore(&self, state: &mut Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for (name, mut tensor) in self.tensors() {
            tensor.f_copy_(&state.take(&name, &tensor.size(), Kind::Float)?)?;
        }
        Ok(())
    }
}

impl ImageNetwork for UNet {
    fn name(&self) -> &'static str {
        "U-Net"
    }

    fn learn(&self, x: &Tensor, precision: Precision) -> Result<Tensor> {
        self.forward(x, Statistics::Learning, precision)
    }

    fn infer(&self, x: &Tensor) -> Result<Tensor> {
        Self::infer(self, x)
    }

    fn check_size(&self, height: i64, width: i64) -> Result<()> {
        self.settings().check_size(height, width)
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        Self::parameters(self)
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        Self::tensors(self)
    }

    fn device(&self) -> Device {
        Self::device(self)
    }

    fn to_checkpoint(&self) -> Checkpoint {
        Self::to_checkpoint(self)
    }

    fn provenance(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.provenance
    }
}

/// What is the mean of over all pixels of a batch, of `r = G(x) - t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelLoss {
    /// `r^2`: networks estimate the mean of what is possible.
    Squared,
    /// `|r|`: its median, pixel by pixel.
    Absolute,
}

impl PixelLoss {
    fn mean(self, apart: &Tensor) -> Result<Tensor> {
        let each = match self {
            Self::Squared => apart.f_square()?,
            Self::Absolute => apart.f_abs()?,
        };
        Ok(each.f_mean(Kind::Float)?)
    }
}

/// Settings of [`SupervisedTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SupervisedTrainingSettings {
    /// Number of steps, at least 1.
    pub steps: u64,
    /// Pairs a step.
    pub batch: i64,
    /// Side in pixels of a square that is cut out of each pair at a random place, of the target: a multiple of
    /// [`ImageNetwork::factor`]. The whole images where there is none.
    pub crop: Option<i64>,
    /// Pixels along each side of a crop that the loss leaves out, since the network does not see what lies beyond a crop; and of
    /// an image that validations leave out.
    pub border: i64,
    /// The largest norm of all gradients together: longer ones are shortened to it; none: they are taken as they are.
    pub clip: Option<f64>,
    /// What is minimised.
    pub loss: PixelLoss,
    /// Learning rate of Adam at first, or after the warm-up.
    pub rate: f64,
    /// Learning rate at the end.
    pub last_rate: f64,
    /// How it gets from one to the other; [`RateRule::Drops`] needs validation pairs.
    pub rate_rule: RateRule,
    /// Steps between two validations.
    pub validate_every: u64,
    /// The dtype of convolutions; weights and their moments stay in float32.
    pub precision: Precision,
}

impl Default for SupervisedTrainingSettings {
    /// [`SupervisedTrainingSettings::fbp_unet`] for 1000 steps of 8 pairs.
    fn default() -> Self {
        Self::fbp_unet(1000, 8)
    }
}

impl SupervisedTrainingSettings {
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
            border: 0,
            clip: None,
            loss: PixelLoss::Squared,
            rate: 1e-3,
            last_rate: 1e-4,
            rate_rule: RateRule::Cosine { warmup: 0 },
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

    /// The same with so many pixels of the border of a crop left out of the loss.
    #[must_use]
    pub fn with_border(mut self, border: i64) -> Self {
        self.border = border;
        self
    }

    /// The same with gradients shortened to this norm, or as they are.
    #[must_use]
    pub fn with_clip(mut self, clip: impl Into<Option<f64>>) -> Self {
        self.clip = clip.into();
        self
    }

    /// The same with another loss.
    #[must_use]
    pub fn with_loss(mut self, loss: PixelLoss) -> Self {
        self.loss = loss;
        self
    }

    /// The same with learning rates by another rule.
    #[must_use]
    pub fn with_rate_rule(mut self, rate_rule: RateRule) -> Self {
        self.rate_rule = rate_rule;
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
pub struct TrainedNetwork<N> {
    /// The network of the validation with the smallest error; without validation that after the last step.
    pub net: N,
    /// The training curve: means of the loss, and mean squared errors of validations.
    pub curve: Vec<CurvePoint>,
}

/// Minimises, over the weights of a network `G`, the mean of `(G(x) - t)^2`, or of another [`PixelLoss`], over all pixels of a
/// batch of pairs, inputs `x` and targets `t`, by Adam.
///
/// Batches go through all pairs in random order, anew in every epoch; what is left over when no full batch remains
/// sits that epoch out. Validations are made with running statistics on whole images, of any sizes, all but the border: the mean
/// over pairs of the mean squared error, whatever the loss, and of the PSNR with range 1.
///
/// # Reference
/// Jin, McCann, Froustey, Unser, "Deep convolutional neural network for inverse problems in imaging", IEEE Transactions
/// on Image Processing 26 (2017).
pub struct SupervisedTraining<'a, N> {
    net: N,
    parameters: Vec<Tensor>,
    settings: SupervisedTrainingSettings,
    batches: Batches<'a>,
    validation: Option<&'a dyn PairedDataset>,
    adam: Adam,
    history: TrainingHistory,
    best: Option<Best>,
    events: Option<EventFile>,
}

impl<N> std::fmt::Debug for SupervisedTraining<'_, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisedTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The network with the smallest validation error so far.
struct Best {
    error: f64,
    psnr: f64,
    tensors: Vec<(String, Tensor)>,
}

impl<'a, N: ImageNetwork> SupervisedTraining<'a, N> {
    /// Training of `net`, on its device.
    ///
    /// # Errors
    /// [`Error::Value`] where a setting is out of range or there are too few pairs. Pairs themselves are checked when
    /// they are used.
    pub fn new(
        mut net: N,
        pairs: &'a dyn PairedDataset,
        validation: Option<&'a dyn PairedDataset>,
        settings: SupervisedTrainingSettings,
        seed: Seed,
    ) -> Result<Self> {
        check_rate(settings.rate)?;
        check_rate(settings.last_rate)?;
        for (what, zero) in [
            ("steps of a training", settings.steps == 0),
            ("validation interval", settings.validate_every == 0),
        ] {
            if zero {
                return Err(Error::value(what, "at least 1", 0));
            }
        }
        if let Some(clip) = settings.clip.filter(|clip| !(*clip > 0.0 && clip.is_finite())) {
            return Err(Error::value("largest norm of a gradient", "a positive, finite number", clip));
        }
        if settings.border < 0 {
            return Err(Error::value("border of a crop", "at least 0", settings.border));
        }
        if let Some(side) = settings.crop {
            net.check_size(side, side)?;
            if settings.border < 0 || 2 * settings.border >= side {
                let expected = format!("0 to less than half of the {side} pixels of a crop");
                return Err(Error::value("border of a crop", expected, settings.border));
            }
        }
        match validation.map(PairedDataset::count) {
            Some(None) => {
                return Err(Error::value("validation pairs", "a limited number", "one for every index"));
            }
            Some(Some(0)) => return Err(Error::value("validation pairs", "at least 1", 0)),
            None if settings.rate_rule == RateRule::Drops => {
                let expected = "at least 1, for a learning rate that drops where their error does not";
                return Err(Error::value("validation pairs", expected, "none"));
            }
            _ => {}
        }
        let batches = Batches::new(pairs, settings.batch, settings.crop, net.factor(), seed, net.device())?;
        net.provenance().insert("training".into(), format!("{settings:?}"));
        net.provenance().insert("seed".into(), seed.value().to_string());
        net.provenance().insert("value_range".into(), "[0, 1]".into());
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
            let pair = checked("validation pair", pairs, index, self.net.factor(), self.net.device())?;
            let x = self.net.infer(&pair.input)?;
            let border = self.settings.border;
            let (inner, target) = (within(&x, border)?, within(&pair.target, border)?);
            let residual = inner.f_sub(&target)?;
            error += residual.f_square()?.f_mean(Kind::Double)?.f_double_value(&[])? / n as f64;
            quality += psnr(&inner, &target, 1.0)? / n as f64;
            if let (0, Some(events)) = (index, &mut self.events) {
                for (tag, image) in [("result", &x), ("input", &pair.input), ("target", &pair.target)] {
                    events.image(step, &format!("validation/{tag}"), image)?;
                }
            }
        }
        Ok((error, quality))
    }

    /// The learning rate of step `k`, after the validations so far.
    fn learning_rate(&self, k: u64) -> f64 {
        let SupervisedTrainingSettings { steps, rate, last_rate, rate_rule, .. } = self.settings;
        match rate_rule {
            RateRule::Cosine { warmup } => {
                last_rate + (rate - last_rate) * Schedule::Cosine { warmup }.factor(k, steps)
            }
            RateRule::Drops => rate * 0.1_f64.powi(drops(&self.history.curve)),
        }
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

/// Images without their outer pixels.
fn within(images: &Tensor, border: i64) -> Result<Tensor> {
    if images.size()[2..].iter().any(|&side| 2 * border >= side) {
        let expected = format!("larger than twice the border of {border} pixels");
        return Err(Error::shape("image of a training pair", expected, images.size()));
    }
    let cut = |t: Tensor, axis: i64, n: i64| t.f_narrow(axis, border, n - 2 * border);
    let size = images.size();
    Ok(if border == 0 {
        images.shallow_clone()
    } else {
        cut(cut(images.shallow_clone(), 2, size[2])?, 3, size[3])?
    })
}

/// Scales gradients, in place, so that their common norm is at most `most`.
fn shorten(gradients: &[Tensor], most: f64) -> Result<()> {
    let squares = gradients.iter().map(|g| Ok(g.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?));
    let norm = squares.sum::<Result<f64>>()?.sqrt();
    if norm > most {
        for gradient in gradients {
            let _ = gradient.shallow_clone().f_mul_scalar_(most / norm)?;
        }
    }
    Ok(())
}

impl<N: ImageNetwork> Iteration for SupervisedTraining<'_, N> {
    type Output = TrainedNetwork<N>;

    fn name(&self) -> String {
        format!("training {}", self.net.name())
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let batch = self.batches.at(k)?;
        let (loss, gradients) = parallel::in_operations(|| {
            let loss = tch::with_grad(|| {
                let x = self.net.learn(&batch.input, self.settings.precision)?;
                let apart = within(&x.f_sub(&batch.target)?, self.settings.border)?;
                self.settings.loss.mean(&apart)
            })?;
            let gradients = Tensor::f_run_backward(&[&loss], &self.parameters, false, false)?;
            if let Some(most) = self.settings.clip {
                shorten(&gradients, most)?;
            }
            Ok::<_, Error>((loss.f_double_value(&[])?, gradients))
        })?;
        let SupervisedTrainingSettings { steps, last_rate, validate_every, rate_rule, .. } = self.settings;
        let rate = self.learning_rate(k);
        self.adam.step(&self.parameters, &[gradients], rate)?;
        self.history.add(loss);
        if let Some(events) = &mut self.events {
            events.scalar(k + 1, "error/training", loss)?;
            events.scalar(k + 1, "learning rate", rate)?;
        }
        let mut terms = vec![("training error", loss)];
        let mut done = None;
        if (k + 1).is_multiple_of(validate_every) || k + 1 == steps {
            terms.extend(self.validate(k + 1)?);
            // Powers of ten are rounded.
            if rate_rule == RateRule::Drops && self.learning_rate(k + 1) < last_rate * (1.0 - 1e-9) {
                done = Some(format!("errors fall no more at a learning rate of {rate:.0e}"));
            }
        }
        Ok(Step { terms, done })
    }

    fn finish(mut self) -> Result<TrainedNetwork<N>> {
        if let Some(best) = self.best {
            let mut kept = Checkpoint::default();
            kept.tensors = best.tensors.into_iter().collect();
            self.net.restore(&mut kept)?;
            self.net.provenance().insert("validation_error".into(), best.error.to_string());
            self.net.provenance().insert("validation_psnr".into(), best.psnr.to_string());
        }
        Ok(TrainedNetwork { net: self.net, curve: self.history.curve })
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
