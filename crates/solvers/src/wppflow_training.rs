//! Training a WPPFlow: posterior sampling learned from observations and one reference image, without pairs.

use crate::adam::Adam;
use crate::crops::{self, fits, observed, ready};
use crate::patchnr_training::CurvePoint;
use crate::run::{Iteration, Step, finite};
use crate::schedule::{Schedule, check_rate};
use crate::wppnet_training::{WppNetData, WppNetSettings};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::parallel::{self, Shared};
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed};
use smalti_flows::{Bijection, Mapped, Passed, WppFlow};
use smalti_operators::Operator;
use smalti_priors::wpp::FixedPotentials;
use smalti_priors::{Regularizer, WassersteinPatchPrior, WppSettings};
use tch::{Device, Kind, Tensor};

/// Settings of [`WppFlowTraining`].
#[derive(Debug, Clone)]
pub struct WppFlowSettings {
    /// Number of steps, which the schedule refers to.
    pub steps: u64,
    /// Observed crops a step, at most as many as there are.
    pub batch: usize,
    /// Weight `lambda >= 0` of the squared Wasserstein distance.
    pub lambda: f64,
    /// Standard deviation `sigma > 0` of the noise, in the units of the observations.
    pub noise: f64,
    /// Learning rate of Adam.
    pub rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Gradients whose Euclidean norm, over all parameters together, is larger are scaled down to it.
    pub clip: Option<f64>,
    /// Steps between two validations.
    pub validate_every: u64,
}

impl WppFlowSettings {
    /// The authors' settings for `crops` training crops, the same for factors 4 and 8: 500 epochs of batches of 32, lambda
    /// 100, noise 0.01, Adam at 2e-4. In their code gradients are clipped before they are computed, which does nothing;
    /// here they are clipped after it, at a norm of 50.
    ///
    /// # Reference
    /// Altekrueger and Hertrich, "WPPNets and WPPFlows", SIAM Journal on Imaging Sciences 16 (2023), section 5, and
    /// the code published with it.
    pub fn altekrueger_2023(crops: usize) -> Self {
        Self {
            steps: 500 * (crops as u64 / 32).max(1),
            batch: 32,
            lambda: 100.0,
            noise: 0.01,
            rate: 2e-4,
            schedule: Schedule::Constant,
            clip: Some(50.0),
            validate_every: 500,
        }
    }

    /// The prior in the authors' settings, that of [`WppNetSettings::prior`].
    pub fn prior(centred: bool) -> WppSettings {
        WppNetSettings::prior(centred)
    }

    fn check(&self) -> Result<()> {
        check_rate(self.rate)?;
        for (what, zero) in [("batch", self.batch == 0), ("validation interval", self.validate_every == 0)] {
            if zero {
                return Err(Error::value(what, "at least 1", 0));
            }
        }
        if !(self.lambda >= 0.0 && self.lambda.is_finite()) {
            return Err(Error::value("weight of the Wasserstein distance", "a number >= 0", self.lambda));
        }
        let clip = self.clip.unwrap_or(1.0);
        for (what, value) in [("noise", self.noise), ("largest norm of a gradient", clip)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a positive number", value));
            }
        }
        Ok(())
    }
}

/// A trained flow.
pub struct TrainedWppFlow {
    /// The flow after the last step.
    pub flow: WppFlow,
    /// The training curve; validation losses are computed with fixed latents and the potentials of the training, as lower
    /// bounds.
    pub curve: Vec<CurvePoint>,
}

/// Minimises, over the weights of the flow `T`,
///
/// `mean_b |f(x_b) - y_b|^2 / 2 + lambda W_2^2(patches of all x_b, patches of the reference) - sigma^2 mean_b log |det J_T|`
///
/// by Adam, `x_b = T(z_b; y_b)` with fresh latents `z_b ~ N(0, I)` for the observed crops `y_b` of a batch.
/// `|.|^2` and `log |det|` are sums over an image; `W_2^2` has the cost `|p - q|^2` between patches and is a mean over
/// them ([`WassersteinPatchPrior`]). Divided by `sigma^2`, this is the backward Kullback-Leibler divergence between the
/// flow's samples and the posterior of Gaussian noise and the prior `exp(-rho W_2^2)`, `rho = lambda / sigma^2`, up to
/// a constant. Batches go through all crops in random order, anew in every epoch.
///
/// A flow whose actnorms have not been initialised is initialised with the first batch. Gradients in the weights come by
/// recomputation ([`WppFlow::pull_back`]), then are clipped. On a CPU two crops at a time are computed by one thread,
/// so that results do not depend on the number of threads.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023), section 5.
pub struct WppFlowTraining<'a> {
    flow: WppFlow,
    operator: &'a dyn Operator,
    settings: WppFlowSettings,
    crops: Tensor,
    prior: WassersteinPatchPrior,
    validation: Option<Validation>,
    adam: Adam,
    seed: Seed,
    curve: Vec<CurvePoint>,
    /// Sum and number of the losses since the last validation.
    running: (f64, f64),
    events: Option<EventFile>,
}

/// The validation crops with their latents and the prior on as many samples; the prior is taken out only to change its
/// potentials.
struct Validation {
    crops: Tensor,
    latents: Tensor,
    prior: Option<FixedPotentials>,
}

/// The loss of samples, by its parts, and its gradient in them.
struct Loss {
    value: f64,
    data: f64,
    distance: f64,
    log_det: f64,
    gradient: Tensor,
}

impl<'a> WppFlowTraining<'a> {
    /// Training of `flow`, in float32 on its device.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where data, operator, factor of the flow and settings do not fit together,
    /// or values are not finite; those of [`WassersteinPatchPrior::new`].
    pub fn new(
        mut flow: WppFlow,
        data: WppNetData<'a>,
        settings: WppFlowSettings,
        seed: Seed,
    ) -> Result<Self> {
        settings.check()?;
        let device = flow.device();
        flow.to(device, Kind::Float)?;
        let crops = ready("training crops", data.crops, device)?;
        let size = crops.size();
        if size[0] < settings.batch as i64 {
            let expected = format!("at least the {} of a batch", settings.batch);
            return Err(Error::value("number of training crops", expected, size[0]));
        }
        let domain = flow.images(size[2], size[3]);
        fits(data.operator, domain, &size[2..])?;
        let prior = |n: i64| {
            let seed = seed.derive("reference patches of a WPPFlow", 0);
            WassersteinPatchPrior::new(&domain.batch(n), &[data.reference], data.prior, seed)
        };
        let validation = |crops: &Tensor| {
            let crops = ready("validation crops", crops, device)?;
            if crops.size()[1..] != size[1..] {
                return Err(Error::shape("validation crops", &size[1..], &crops.size()[1..]));
            }
            let n = crops.size()[0];
            let latents = latents(seed, "validation latents of a WPPFlow", 0, &domain.batch(n), device)?;
            let prior = Some(prior(n)?.at_fixed_potentials());
            Ok::<_, Error>(Validation { crops, latents, prior })
        };
        let hash = data_hash(&[&crops, data.reference])?;
        flow.provenance.insert("training_data_sha256".into(), hash);
        flow.provenance.insert("training".into(), format!("{settings:?}, {:?}", data.prior));
        flow.provenance.insert("seed".into(), seed.value().to_string());
        flow.provenance.insert("value_range".into(), "[0, 1]".into());
        let mut training = Self {
            prior: prior(settings.batch as i64)?,
            validation: data.validation.map(validation).transpose()?,
            adam: Adam::new(&[flow.flat_parameters().shallow_clone()]),
            flow,
            operator: data.operator,
            settings,
            crops,
            seed,
            curve: Vec::new(),
            running: (0.0, 0.0),
            events: None,
        };
        if !training.flow.is_initialised() {
            let (z, y) = training.batch(0)?;
            training.flow.initialise(&z, &y)?;
        }
        Ok(training)
    }

    /// Logs loss, its parts, the norm of the gradient and the learning rate of every step to `events`, and at every
    /// validation its loss, the sample and the observation of the first validation crop.
    pub fn with_events(mut self, events: EventFile) -> Self {
        self.events = Some(events);
        self
    }

    /// Latents and crops of step `k`.
    fn batch(&self, k: u64) -> Result<(Tensor, Tensor)> {
        let y = crops::batch(&self.crops, self.settings.batch, self.seed, k)?;
        let size = self.operator.domain().batch(y.size()[0]);
        Ok((latents(self.seed, "latents of a WPPFlow", k, &size, self.flow.device())?, y))
    }

    /// `of` every part of a batch of `n` crops, each its first crop and its number of crops.
    fn in_parts<R: Send>(&self, n: i64, of: impl Fn(i64, i64) -> Result<R> + Sync) -> Result<Vec<R>> {
        // A GPU is filled by a batch, a thread by two crops.
        let crops = if self.flow.device() != Device::Cpu { n } else { 1 + i64::from(n >= 4) };
        let parts = (n as usize).div_ceil(crops.max(1) as usize);
        parallel::map(parts, |i| {
            let first = i as i64 * crops;
            of(first, crops.min(n - first))
        })
    }

    /// The loss of samples `x` with log-determinants `log_det` for the observations `y`.
    fn loss(&self, prior: &dyn Regularizer, samples: &Mapped, y: &Tensor, step: u64) -> Result<Loss> {
        let Mapped { value: x, log_det } = samples;
        let n = x.size()[0] as f64;
        let residual = self.operator.apply(x)?.f_sub(&observed(self.operator, y)?)?;
        let data = 0.5 * residual.square().f_sum(Kind::Double)?.f_double_value(&[])? / n;
        finite("data term", step, data)?;
        let data_gradient = self.operator.vjp(x, &residual)? / n;
        let (distance, gradient) = prior.value_and_grad(x)?;
        let log_det = log_det.f_mean(Kind::Double)?.f_double_value(&[])?;
        let WppFlowSettings { lambda, noise, .. } = self.settings;
        let value = data + lambda * distance - noise * noise * log_det;
        Ok(Loss { value, data, distance, log_det, gradient: data_gradient + gradient * lambda })
    }

    /// Loss and gradient in the weights for latents `z` and observations `y`, not clipped.
    fn gradient(&self, z: &Tensor, y: &Tensor, step: u64) -> Result<(Loss, Tensor)> {
        let n = z.size()[0];
        let flow = &self.flow;
        let (z, conditions) = (Shared::new(z), Shared::new(y));
        let mut passes = self.in_parts(n, |first, m| {
            Ok((first, flow.pass(&z.f_narrow(0, first, m)?, &conditions.f_narrow(0, first, m)?)?))
        })?;
        let samples = joined(passes.iter().map(|(_, Passed { mapped, .. })| mapped))?;
        let loss = self.loss(&self.prior, &samples, y, step)?;
        let grad_log_det = -self.settings.noise * self.settings.noise / n as f64;
        let gradient = Shared::new(&loss.gradient);
        let mut parts = parallel::map_mut(&mut passes, |(first, passed)| {
            let grad = gradient.f_narrow(0, *first, passed.mapped.value.size()[0])?;
            Ok(flow.pull_back(passed, &grad, grad_log_det)?.weights)
        })?;
        let mut total = parts.remove(0);
        for part in parts {
            let _ = total.f_add_(&part)?;
        }
        Ok((loss, total))
    }

    /// One validation at step `step`, and a point of the curve.
    fn validate(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>> {
        let _no_grad = tch::no_grad_guard();
        let train = self.running.0 / self.running.1.max(1.0);
        self.running = (0.0, 0.0);
        let mut terms = vec![("training loss", train)];
        let mut validation = None;
        if let Some(mut set) = self.validation.take() {
            let (flow, crops, latents) = (&self.flow, Shared::new(&set.crops), Shared::new(&set.latents));
            let samples = self.in_parts(crops.size()[0], |first, m| {
                let y = crops.f_narrow(0, first, m)?;
                flow.to_data(&latents.f_narrow(0, first, m)?, Some(&y))
            })?;
            let samples = joined(samples.iter())?;
            if let Some(prior) = set.prior.take() {
                let mut prior = prior.release();
                prior.set_potentials(&self.prior.potentials())?;
                let prior = prior.at_fixed_potentials();
                let value = self.loss(&prior, &samples, &set.crops, step)?.value;
                set.prior = Some(prior);
                terms.push(("validation loss", value));
                validation = Some(value);
            }
            if let (Some(events), Some(value)) = (&mut self.events, validation) {
                events.scalar(step, "loss/validation", value)?;
                events.image(step, "validation/sample", &samples.value.f_narrow(0, 0, 1)?)?;
                events.image(step, "validation/observation", &set.crops.f_narrow(0, 0, 1)?)?;
            }
            self.validation = Some(set);
        }
        self.curve.push(CurvePoint { step, train, validation });
        Ok(terms)
    }
}

/// Standard normal latents of that size for step `k`.
fn latents(seed: Seed, name: &str, k: u64, size: &[i64], device: Device) -> Result<Tensor> {
    Ok(seed.at(name, k).normal(size).f_to_device(device)?)
}

/// Parts of a batch, joined.
fn joined<'a>(parts: impl Iterator<Item = &'a Mapped>) -> Result<Mapped> {
    let (values, log_dets): (Vec<&Tensor>, Vec<&Tensor>) =
        parts.map(|mapped| (&mapped.value, &mapped.log_det)).unzip();
    Ok(Mapped { value: Tensor::f_cat(&values, 0)?, log_det: Tensor::f_cat(&log_dets, 0)? })
}

impl Iteration for WppFlowTraining<'_> {
    type Output = TrainedWppFlow;

    fn name(&self) -> String {
        "training WPPFlow".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let (z, y) = self.batch(k)?;
        self.prior.refresh(k)?;
        let (Loss { value, data, distance, log_det, .. }, mut gradient) = self.gradient(&z, &y, k)?;
        let norm = gradient.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?;
        if let Some(clip) = self.settings.clip
            && norm > clip
        {
            gradient = gradient.f_mul_scalar(clip / norm)?;
        }
        let rate = self.settings.rate * self.settings.schedule.factor(k, self.settings.steps);
        self.adam.step(&[self.flow.flat_parameters().shallow_clone()], &[vec![gradient]], rate)?;
        self.running = (self.running.0 + value, self.running.1 + 1.0);
        if let Some(events) = &mut self.events {
            for (tag, value) in [
                ("loss/training", value),
                ("loss/data", data),
                ("loss/W2^2", distance),
                ("loss/log det", log_det),
                ("gradient norm", norm),
                ("learning rate", rate),
            ] {
                events.scalar(k + 1, tag, value)?;
            }
        }
        let mut terms = vec![
            ("loss", value),
            ("data term", data),
            ("W2^2", distance),
            ("log det", log_det),
            ("gradient norm", norm),
        ];
        if (k + 1).is_multiple_of(self.settings.validate_every) || k + 1 == self.settings.steps {
            terms.extend(self.validate(k + 1)?);
        }
        Ok(Step { terms, done: None })
    }

    fn finish(mut self) -> Result<TrainedWppFlow> {
        if let Some(value) = self.curve.last().and_then(|point| point.validation) {
            self.flow.provenance.insert("validation_loss".into(), value.to_string());
        }
        Ok(TrainedWppFlow { flow: self.flow, curve: self.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = self.flow.to_checkpoint();
        self.adam.save(&mut file);
        for (l, psi) in self.prior.potentials().iter().enumerate() {
            file.tensors.insert(format!("training.psi.{l}"), Tensor::from_slice(psi));
        }
        file.tensors.insert("training.running".into(), Tensor::from_slice(&[self.running.0, self.running.1]));
        CurvePoint::save(&self.curve, &mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.flow.take_parameters(&mut state)?;
        self.adam.restore(&mut state)?;
        let mut potentials = self.prior.potentials();
        for (l, psi) in potentials.iter_mut().enumerate() {
            let kept = state.take(&format!("training.psi.{l}"), &[psi.len() as i64], Kind::Double)?;
            *psi = Vec::<f64>::try_from(kept)?;
        }
        self.prior.set_potentials(&potentials)?;
        let running = state.take("training.running", &[2], Kind::Double)?;
        self.running = (running.double_value(&[0]), running.double_value(&[1]));
        self.curve = CurvePoint::restore(&mut state)?;
        Ok(())
    }
}
