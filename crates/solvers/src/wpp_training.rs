//! Training by the Wasserstein patch prior on observations and one reference image, without pairs: of WPPNets and WPPFlows.

pub mod generator;
pub mod wppflow;
pub mod wppnet;

use crate::adam::{Adam, AdamSettings};
use crate::crops;
use crate::run::{Iteration, Step, finite};
use crate::training_history::{CurvePoint, TrainingHistory, record};
use generator::{Generated, Generator};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::parallel::{self, Shared};
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed};
use smalti_operators::Operator;
use smalti_priors::wpp::{DualMethod, FixedPotentials, ReferencePatches};
use smalti_priors::{Regularizer, WassersteinPatchPrior, WppSettings};
use tch::{Device, Kind, Tensor};

/// Settings of [`WppTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct WppTrainingSettings {
    /// Steps and learning rate.
    pub adam: AdamSettings,
    /// Observed crops a step, at most as many as there are.
    pub batch: i64,
    /// Weight `lambda >= 0` of the squared Wasserstein distance.
    pub lambda: f64,
    /// Steps between two validations.
    pub validate_every: u64,
}

impl WppTrainingSettings {
    /// The authors' settings of a WPPNet for `crops` training crops: 500 epochs of batches of 32, lambda 0.02, Adam at 1e-4.
    ///
    /// # Reference
    /// Altekrueger and Hertrich, "WPPNets and WPPFlows", SIAM Journal on Imaging Sciences 16 (2023), section 4, and
    /// the code published with it.
    pub fn altekrueger_2023_wppnet(crops: i64) -> Self {
        Self {
            adam: AdamSettings::constant(500 * (crops / 32).max(1) as u64, 1e-4),
            batch: 32,
            lambda: 0.02,
            validate_every: 500,
        }
    }

    /// The authors' settings of a WPPFlow for `crops` training crops, the same for factors 4 and 8: 500 epochs of batches of 32,
    /// lambda 100, Adam at 2e-4. Noise and clipping are those of [`wppflow::WppFlowGenerator::altekrueger_2023`].
    ///
    /// # Reference
    /// As above, section 5.
    pub fn altekrueger_2023_wppflow(crops: i64) -> Self {
        let net = Self::altekrueger_2023_wppnet(crops);
        Self { lambda: 100.0, adam: net.adam.with_rate(2e-4), ..net }
    }

    /// The same with other steps.
    #[must_use]
    pub fn with_adam(self, adam: AdamSettings) -> Self {
        Self { adam, ..self }
    }

    /// The same with so many crops a step.
    #[must_use]
    pub fn with_batch(self, batch: i64) -> Self {
        Self { batch, ..self }
    }

    /// The same with another weight of the distance.
    #[must_use]
    pub fn with_lambda(self, lambda: f64) -> Self {
        Self { lambda, ..self }
    }

    /// The same with a validation after every so many steps.
    #[must_use]
    pub fn with_validations(self, every: u64) -> Self {
        Self { validate_every: every, ..self }
    }

    /// The prior in the authors' settings: all 6x6 patches of the batch together against 10,000 of the reference, on
    /// one scale, `centred` or not (centred for SiC and textures, not for sandstone); 20 averaged supergradient steps
    /// of size 1 for a batch, which start where the last batch ended.
    pub fn prior(centred: bool) -> WppSettings {
        WppSettings::default()
            .with_centred(centred)
            .with_references(ReferencePatches::Random(10_000))
            .with_scales(1)
            .with_dual(DualMethod::AveragedSgd { steps: 20, step: 1.0 })
    }

    fn check(&self) -> Result<()> {
        self.adam.check()?;
        for (what, value) in
            [("batch", i128::from(self.batch)), ("validation interval", i128::from(self.validate_every))]
        {
            if value < 1 {
                return Err(Error::value(what, "at least 1", value));
            }
        }
        if !(self.lambda >= 0.0 && self.lambda.is_finite()) {
            return Err(Error::value("weight of the Wasserstein distance", "a number >= 0", self.lambda));
        }
        Ok(())
    }
}

/// What is learned from: observations and one image of the same material at the resolution of the results. No image belongs to an
/// observation.
pub struct WppTrainingData<'a> {
    /// The forward operator `f` on images of the size of the results `G(y)`. Its output pixel `(i, j)` belongs to
    /// pixel `(i, j)` of a crop; with [`smalti_operators::Boundary::Valid`] the last rows and columns of a crop have
    /// none, and only the generator sees them.
    pub operator: &'a dyn Operator,
    /// Observed crops, `[N, 1, h, w]`.
    pub crops: &'a Tensor,
    /// Observed crops of the same size that measure the training, `[V, 1, h, w]`.
    pub validation: Option<&'a Tensor>,
    /// The reference image, `[1, 1, H, W]` of any size.
    pub reference: &'a Tensor,
    /// Which patches are compared, and how.
    pub prior: &'a WppSettings,
}

impl std::fmt::Debug for WppTrainingData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WppTrainingData")
            .field("crops", &self.crops)
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// A trained generator.
#[derive(Debug)]
pub struct TrainedGenerator<G> {
    /// The generator after the last step.
    pub generator: G,
    /// The training curve; validation losses are computed with fixed latents and the potentials of the training, as lower
    /// bounds.
    pub curve: Vec<CurvePoint>,
}

/// Minimises, over the weights of the generator `G`,
///
/// `D(f(G(y)) - y) + lambda W_2^2(patches of all G(y) of a batch, patches of the reference) - E(G)`
///
/// by Adam. The data term `D` and the entropy `E` are those of the generator: see [`wppnet`] and [`wppflow`]. `D` is over all observed
/// pixels of a batch that `f` has; `W_2^2` has the cost `|p - q|^2` between patches and is a mean over them
/// ([`WassersteinPatchPrior`]). Batches go through all crops in random order, anew in every epoch; what is left over when no full
/// batch remains sits that epoch out.
///
/// Data term and distance have analytic gradients in the results, which the generator pulls back to its weights. On a CPU two crops
/// at a time are computed by one thread, so that results do not depend on the number of threads.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023).
pub struct WppTraining<'a, G> {
    generator: G,
    parameters: Vec<Tensor>,
    operator: &'a dyn Operator,
    settings: WppTrainingSettings,
    crops: Tensor,
    prior: WassersteinPatchPrior,
    validation: Option<Validation>,
    adam: Adam,
    seed: Seed,
    history: TrainingHistory,
    events: Option<EventFile>,
}

impl<G> std::fmt::Debug for WppTraining<'_, G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WppTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The validation crops with their latents and the prior on as many results; the prior is taken out only to change its
/// potentials.
struct Validation {
    crops: Tensor,
    latents: Option<Tensor>,
    prior: Option<FixedPotentials>,
}

/// The data term and the distance of results, and the gradient of the loss in them.
struct Loss {
    data: f64,
    distance: f64,
    gradient: Tensor,
}

impl<'a, G: Generator> WppTraining<'a, G> {
    /// Training of `generator`, on its device.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where data, operator, factor of the generator and settings do not fit together,
    /// or values are not finite; those of [`WassersteinPatchPrior::new`].
    pub fn new(
        mut generator: G,
        data: WppTrainingData<'a>,
        settings: WppTrainingSettings,
        seed: Seed,
    ) -> Result<Self> {
        settings.check()?;
        generator.prepare()?;
        let device = generator.device();
        let crops = crops::checked("training crops", data.crops, device)?;
        let size = crops.size();
        if size[0] < settings.batch {
            let expected = format!("at least the {} of a batch", settings.batch);
            return Err(Error::value("number of training crops", expected, size[0]));
        }
        let domain = generator.images(size[2], size[3]);
        crops::check_operator(data.operator, domain, &size[2..])?;
        let prior = |n: i64| {
            let seed = seed.derive(&format!("reference patches of a {}", G::NAME), 0);
            WassersteinPatchPrior::new(&domain.batch(n), &[data.reference], data.prior, seed)
        };
        let validation = |crops: &Tensor| {
            let crops = crops::checked("validation crops", crops, device)?;
            if crops.size()[1..] != size[1..] {
                return Err(Error::shape("validation crops", &size[1..], &crops.size()[1..]));
            }
            let n = crops.size()[0];
            let mut stream = seed.at(&format!("validation latents of a {}", G::NAME), 0);
            let latents = generator.latents(&mut stream, &domain.batch(n))?;
            let prior = Some(prior(n)?.at_fixed_potentials());
            Ok::<_, Error>(Validation { crops, latents, prior })
        };
        let validation = data.validation.map(validation).transpose()?;
        let hash = data_hash(&[&crops, data.reference])?;
        let training = format!("{settings:?}, {}, {:?}", generator.settings(), data.prior);
        record(generator.provenance(), hash, training, seed);
        let parameters = generator.parameters();
        let mut training = Self {
            prior: prior(settings.batch)?,
            validation,
            adam: Adam::new(&parameters),
            generator,
            parameters,
            operator: data.operator,
            settings,
            crops,
            seed,
            history: TrainingHistory::default(),
            events: None,
        };
        let (z, y) = training.batch(0)?;
        training.generator.initialise(z.as_ref(), &y)?;
        Ok(training)
    }

    /// Logs loss, its parts and the learning rate of every step to `events`, and at every validation its loss, the result for the
    /// first validation crop, and that crop.
    pub fn with_events(mut self, events: EventFile) -> Self {
        self.events = Some(events);
        self
    }

    /// Latents and crops of step `k`.
    fn batch(&self, k: u64) -> Result<(Option<Tensor>, Tensor)> {
        let y = crops::batch(&self.crops, self.settings.batch as usize, self.seed, k)?;
        let size = self.operator.domain().batch(y.size()[0]);
        let mut stream = self.seed.at(&format!("latents of a {}", G::NAME), k);
        Ok((self.generator.latents(&mut stream, &size)?, y))
    }

    /// `of` every part of a batch.
    fn in_parts<R: Send>(
        &self,
        (z, y): (Option<&Tensor>, &Tensor),
        of: impl Fn(Option<&Tensor>, &Tensor) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        // A GPU is filled by a batch, a thread by two crops.
        let n = y.size()[0];
        let crops = if self.generator.device() != Device::Cpu { n } else { 1 + i64::from(n >= 4) };
        let (z, y) = (Shared::new(z), Shared::new(y));
        parallel::map((n as usize).div_ceil(crops.max(1) as usize), |i| {
            let first = i as i64 * crops;
            let part = |t: &Tensor| t.f_narrow(0, first, crops.min(n - first));
            of(z.map(part).transpose()?.as_ref(), &part(&y)?)
        })
    }

    /// The residual of results `x`.
    fn residual(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.operator.apply(x)?.f_sub(&crops::observed_by(self.operator, y)?)?)
    }

    /// Data term and distance of results `x` for the observations `y`.
    fn loss(&self, x: &Tensor, y: &Tensor, step: u64) -> Result<Loss> {
        let residual = self.residual(x, y)?;
        let data = self.generator.data_term(&residual)?;
        finite("data term", step, data)?;
        let data_gradient = self.generator.data_gradient(self.operator.vjp(x, &residual)?, &residual);
        let (distance, gradient) = self.prior.value_and_grad(x)?;
        Ok(Loss { data, distance, gradient: data_gradient + gradient * self.settings.lambda })
    }

    /// The loss of a data term, a distance and a mean log-determinant.
    fn total(&self, data: f64, distance: f64, log_det: Option<f64>) -> f64 {
        let value = data + self.settings.lambda * distance;
        log_det.map_or(value, |log_det| value - self.generator.entropy_weight() * log_det)
    }

    /// One validation at step `step`, and a point of the curve.
    fn validate(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>> {
        let mut validation = None;
        if let Some(mut set) = self.validation.take() {
            let generator = &self.generator;
            let parts = self.in_parts((set.latents.as_ref(), &set.crops), |z, y| generator.generate(z, y))?;
            let generated = Generated::joined(parts.iter())?;
            if let Some(prior) = set.prior.take() {
                let mut prior = prior.into_prior();
                prior.set_potentials(&self.prior.potentials())?;
                let prior = prior.at_fixed_potentials();
                let data = self.generator.data_term(&self.residual(&generated.images, &set.crops)?)?;
                finite("data term of the validation", step, data)?;
                let value = self.total(data, prior.value(&generated.images)?, generated.mean_log_det()?);
                set.prior = Some(prior);
                validation = Some(value);
            }
            if let (Some(events), Some(value)) = (&mut self.events, validation) {
                events.scalar(step, "loss/validation", value)?;
                let first = generated.images.f_narrow(0, 0, 1)?;
                events.image(step, &format!("validation/{}", G::RESULT), &first)?;
                events.image(step, "validation/observation", &set.crops.f_narrow(0, 0, 1)?)?;
            }
            self.validation = Some(set);
        }
        let train = self.history.point(step, validation);
        Ok([("training loss", train)].into_iter().chain(validation.map(|v| ("validation loss", v))).collect())
    }
}

impl<G: Generator> Iteration for WppTraining<'_, G> {
    type Output = TrainedGenerator<G>;

    fn name(&self) -> String {
        format!("training {}", G::NAME)
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let (z, y) = self.batch(k)?;
        self.prior.refresh(k)?;
        let generator = &self.generator;
        let passes = self.in_parts((z.as_ref(), &y), |z, y| generator.pass(z, y))?;
        let generated = Generated::joined(passes.iter().map(|(generated, _)| generated))?;
        let Loss { data, distance, gradient } = self.loss(&generated.images, &y, k)?;
        let log_det = generated.mean_log_det()?;
        let part = passes.first().map_or(0, |(generated, _)| generated.images.size()[0]);
        let (gradient, batch) = (Shared::new(&gradient), y.size()[0]);
        let mut parts: Vec<_> = (0..).step_by(part.max(1) as usize).zip(passes).collect();
        let gradients = parallel::map_mut(&mut parts, |(first, (generated, pass))| {
            let gradient = gradient.f_narrow(0, *first, generated.images.size()[0])?;
            generator.pull_back(pass, &gradient, batch)
        })?;
        let (gradients, norm) = self.generator.limited(gradients)?;
        let rate = self.settings.adam.rate_at(k);
        self.adam.step(&self.parameters, &gradients, rate)?;
        let value = self.total(data, distance, log_det);
        self.history.add(value);
        let further = [("log det", "loss/log det", log_det), ("gradient norm", "gradient norm", norm)];
        let named = [
            ("loss", "loss/training", value),
            ("data term", "loss/data", data),
            ("W2^2", "loss/W2^2", distance),
        ];
        let further = further.into_iter().filter_map(|(term, tag, value)| Some((term, tag, value?)));
        let all: Vec<(&'static str, &str, f64)> = named.into_iter().chain(further).collect();
        if let Some(events) = &mut self.events {
            for (_, tag, value) in all.iter().chain(&[("", "learning rate", rate)]) {
                events.scalar(k + 1, tag, *value)?;
            }
        }
        let mut terms: Vec<(&'static str, f64)> =
            all.into_iter().map(|(term, _, value)| (term, value)).collect();
        if (k + 1).is_multiple_of(self.settings.validate_every) || k + 1 == self.settings.adam.steps {
            terms.extend(self.validate(k + 1)?);
        }
        Ok(Step { terms, done: None })
    }

    fn finish(mut self) -> Result<TrainedGenerator<G>> {
        if let Some(value) = self.history.last_validation() {
            self.generator.provenance().insert("validation_loss".into(), value.to_string());
        }
        Ok(TrainedGenerator { generator: self.generator, curve: self.history.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = self.generator.to_checkpoint();
        self.adam.save(&mut file);
        for (l, psi) in self.prior.potentials().iter().enumerate() {
            file.tensors.insert(format!("training.psi.{l}"), Tensor::from_slice(psi));
        }
        self.history.save(&mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.generator.restore(&mut state)?;
        self.adam.restore(&mut state)?;
        let mut potentials = self.prior.potentials();
        for (l, psi) in potentials.iter_mut().enumerate() {
            let kept = state.take(&format!("training.psi.{l}"), &[psi.len() as i64], Kind::Double)?;
            *psi = Vec::<f64>::try_from(kept)?;
        }
        self.prior.set_potentials(&potentials)?;
        self.history = TrainingHistory::restore(&mut state)?;
        Ok(())
    }
}
