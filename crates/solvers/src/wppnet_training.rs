//! Training a WPPNet: superresolution learned from observations and one reference image, without pairs.

use crate::acnet::AcNet;
use crate::adam::Adam;
use crate::crops::{self, fits, observed, ready};
use crate::patchnr_training::CurvePoint;
use crate::run::{Iteration, Step, finite};
use crate::schedule::{Schedule, check_rate};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::parallel::{self, Shared};
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::Precision;
use smalti_operators::Operator;
use smalti_priors::wpp::{DualMethod, FixedPotentials, ReferencePatches};
use smalti_priors::{Regularizer, WassersteinPatchPrior, WppSettings};
use tch::{Device, Kind, Tensor};

/// Settings of [`WppNetTraining`].
#[derive(Debug, Clone)]
pub struct WppNetSettings {
    /// Number of steps, which the schedule refers to.
    pub steps: u64,
    /// Observed crops a step, at most as many as there are.
    pub batch: usize,
    /// Weight `lambda >= 0` of the squared Wasserstein distance against the mean squared residual.
    pub lambda: f64,
    /// Learning rate of Adam.
    pub rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Steps between two validations.
    pub validate_every: u64,
    /// The dtype of convolutions; weights and their moments stay in float32.
    pub precision: Precision,
}

impl WppNetSettings {
    /// The authors' settings for `crops` training crops: 500 epochs of batches of 32, lambda 0.02, Adam at 1e-4.
    ///
    /// # Reference
    /// Altekrueger and Hertrich, "WPPNets and WPPFlows", SIAM Journal on Imaging Sciences 16 (2023), section 4, and
    /// the code published with it.
    pub fn altekrueger_2023(crops: usize) -> Self {
        Self {
            steps: 500 * (crops as u64 / 32).max(1),
            batch: 32,
            lambda: 0.02,
            rate: 1e-4,
            schedule: Schedule::Constant,
            validate_every: 500,
            precision: Precision::Full,
        }
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
}

/// What a WPPNet or a WPPFlow learns from: observations and one image of the same material at the resolution of the
/// results. No image belongs to an observation.
pub struct WppNetData<'a> {
    /// The forward operator `f` on images of the size of the results `G(y)`. Its output pixel `(i, j)` belongs to
    /// pixel `(i, j)` of a crop; with [`smalti_operators::Boundary::Valid`] the last rows and columns of a crop have
    /// none, and only the network sees them.
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

/// A trained network.
#[derive(Debug)]
pub struct TrainedWppNet {
    /// The network after the last step.
    pub net: AcNet,
    /// The training curve; validation losses are computed with the potentials of the training, as lower bounds.
    pub curve: Vec<CurvePoint>,
}

/// Minimises, over the weights of the network `G`,
///
/// `mean (f(G(y)) - y)^2 + lambda W_2^2(patches of all G(y) of a batch, patches of the reference)`
///
/// by Adam. The mean is over all observed pixels of a batch that `f` has; `W_2^2` has the cost `|p - q|^2` between
/// patches and is a mean over them ([`WassersteinPatchPrior`]). Batches go through all crops in random order, anew in every
/// epoch; what is left over when no full batch remains sits that epoch out.
///
/// Both terms have analytic gradients `g` in the results `x = G(y)`, which reach the weights as the gradient of
/// `sum(x g)`. On a CPU two crops at a time are computed by one thread, so that results do not depend on the number of
/// threads.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023).
pub struct WppNetTraining<'a> {
    net: AcNet,
    parameters: Vec<Tensor>,
    operator: &'a dyn Operator,
    settings: WppNetSettings,
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

/// The validation crops and the prior on as many results; the prior is taken out only to change its potentials.
struct Validation {
    crops: Tensor,
    prior: Option<FixedPotentials>,
}

/// The loss at results, by its parts, and its gradient in them.
struct Loss {
    data: f64,
    distance: f64,
    gradient: Tensor,
}

impl<'a> WppNetTraining<'a> {
    /// Training of `net`, on its device.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where data, operator, factor of the network and settings do not fit together,
    /// or values are not finite; those of [`WassersteinPatchPrior::new`].
    pub fn new(mut net: AcNet, data: WppNetData<'a>, settings: WppNetSettings, seed: Seed) -> Result<Self> {
        check_rate(settings.rate)?;
        for (what, zero) in
            [("batch", settings.batch == 0), ("validation interval", settings.validate_every == 0)]
        {
            if zero {
                return Err(Error::value(what, "at least 1", 0));
            }
        }
        if !(settings.lambda >= 0.0 && settings.lambda.is_finite()) {
            return Err(Error::value("weight of the Wasserstein distance", "a number >= 0", settings.lambda));
        }
        let (device, factor) = (net.device(), net.factor());
        let crops = ready("training crops", data.crops, device)?;
        let size = crops.size();
        if size[0] < settings.batch as i64 {
            let expected = format!("at least the {} of a batch", settings.batch);
            return Err(Error::value("number of training crops", expected, size[0]));
        }
        let domain = Space::image(1, factor * size[2], factor * size[3]);
        fits(data.operator, domain, &size[2..])?;
        let prior = |n: i64| {
            let seed = seed.derive("reference patches of a WPPNet", 0);
            WassersteinPatchPrior::new(&domain.batch(n), &[data.reference], data.prior, seed)
        };
        let validation = |crops: &Tensor| {
            let crops = ready("validation crops", crops, device)?;
            if crops.size()[1..] != size[1..] {
                return Err(Error::shape("validation crops", &size[1..], &crops.size()[1..]));
            }
            let prior = Some(prior(crops.size()[0])?.at_fixed_potentials());
            Ok::<_, Error>(Validation { crops, prior })
        };
        let hash = data_hash(&[&crops, data.reference])?;
        net.provenance.insert("training_data_sha256".into(), hash);
        net.provenance.insert("training".into(), format!("{settings:?}, {:?}", data.prior));
        net.provenance.insert("seed".into(), seed.value().to_string());
        net.provenance.insert("value_range".into(), "[0, 1]".into());
        let parameters: Vec<Tensor> = net.parameters().into_iter().map(|(_, t)| t).collect();
        Ok(Self {
            prior: prior(settings.batch as i64)?,
            validation: data.validation.map(validation).transpose()?,
            adam: Adam::new(&parameters),
            net,
            parameters,
            operator: data.operator,
            settings,
            crops,
            seed,
            curve: Vec::new(),
            running: (0.0, 0.0),
            events: None,
        })
    }

    /// Logs loss, its parts and the learning rate of every step to `events`, and at every validation its loss and
    /// the result for the first validation crop.
    pub fn with_events(mut self, events: EventFile) -> Self {
        self.events = Some(events);
        self
    }

    /// Results for `y` in parts, each with its graph where `train`.
    fn results(&self, y: &Tensor, train: bool) -> Result<Vec<Tensor>> {
        // A GPU is filled by a batch, a thread by two crops.
        let n = y.size()[0];
        let crops = if self.net.device() != Device::Cpu { n } else { 1 + i64::from(n >= 4) };
        let (y, net, precision) = (Shared::new(y), &self.net, self.settings.precision);
        let part = |i: usize| {
            let first = i as i64 * crops;
            let y = y.f_narrow(0, first, crops.min(n - first))?;
            let forward = || net.forward(&y, precision);
            if train { tch::with_grad(forward) } else { forward() }
        };
        parallel::map((n as usize).div_ceil(crops as usize), part)
    }

    /// The gradients of `sum(x g)` in the parameters, part by part.
    fn pull_back(&self, parts: &[Tensor], gradient: &Tensor) -> Result<Vec<Vec<Tensor>>> {
        let crops = parts.first().map_or(0, |part| part.size()[0]);
        let (parts, gradient) = (Shared::new(parts), Shared::new(gradient));
        let parameters = Shared::new(&self.parameters[..]);
        parallel::map(parts.len(), |i| {
            let g = gradient.f_narrow(0, i as i64 * crops, parts[i].size()[0])?;
            let sum = tch::with_grad(|| (&parts[i] * g).f_sum(Kind::Float))?;
            Ok(Tensor::f_run_backward(&[sum], *parameters, false, false)?)
        })
    }

    /// One validation at step `step`, and a point of the curve.
    fn validate(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>> {
        let _no_grad = tch::no_grad_guard();
        let train = self.running.0 / self.running.1.max(1.0);
        self.running = (0.0, 0.0);
        let mut terms = vec![("training loss", train)];
        let mut validation = None;
        if let Some(mut set) = self.validation.take() {
            let x = Tensor::f_cat(&self.results(&set.crops, false)?, 0)?;
            if let Some(prior) = set.prior.take() {
                let mut prior = prior.release();
                prior.set_potentials(&self.prior.potentials())?;
                let prior = prior.at_fixed_potentials();
                let residual = self.operator.apply(&x)?.f_sub(&observed(self.operator, &set.crops)?)?;
                let data = residual.square().f_mean(Kind::Double)?.f_double_value(&[])?;
                finite("data term of the validation", step, data)?;
                let value = data + self.settings.lambda * prior.value(&x)?;
                set.prior = Some(prior);
                terms.push(("validation loss", value));
                validation = Some(value);
            }
            if let (Some(events), Some(value)) = (&mut self.events, validation) {
                events.scalar(step, "loss/validation", value)?;
                events.image(step, "validation/result", &x.f_narrow(0, 0, 1)?)?;
                events.image(step, "validation/observation", &set.crops.f_narrow(0, 0, 1)?)?;
            }
            self.validation = Some(set);
        }
        self.curve.push(CurvePoint { step, train, validation });
        Ok(terms)
    }
}

/// The loss at results `x` for the observations `y`, with the distance weighted by `lambda`.
fn loss(
    operator: &dyn Operator,
    prior: &dyn Regularizer,
    x: &Tensor,
    y: &Tensor,
    lambda: f64,
    step: u64,
) -> Result<Loss> {
    let residual = operator.apply(x)?.f_sub(&observed(operator, y)?)?;
    let data = residual.square().f_mean(Kind::Double)?.f_double_value(&[])?;
    finite("data term", step, data)?;
    let data_gradient = operator.vjp(x, &residual)? * (2.0 / residual.numel() as f64);
    let (distance, gradient) = prior.value_and_grad(x)?;
    Ok(Loss { data, distance, gradient: data_gradient + gradient * lambda })
}

impl Iteration for WppNetTraining<'_> {
    type Output = TrainedWppNet;

    fn name(&self) -> String {
        "training WPPNet".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let y = crops::batch(&self.crops, self.settings.batch, self.seed, k)?;
        self.prior.refresh(k)?;
        let parts = self.results(&y, true)?;
        let x = Tensor::f_cat(&parts, 0)?.detach();
        let lambda = self.settings.lambda;
        let Loss { data, distance, gradient } = loss(self.operator, &self.prior, &x, &y, lambda, k)?;
        let gradients = self.pull_back(&parts, &gradient)?;
        let rate = self.settings.rate * self.settings.schedule.factor(k, self.settings.steps);
        let _no_grad = tch::no_grad_guard();
        self.adam.step(&self.parameters, &gradients, rate)?;
        let value = data + lambda * distance;
        self.running = (self.running.0 + value, self.running.1 + 1.0);
        if let Some(events) = &mut self.events {
            for (tag, value) in [
                ("loss/training", value),
                ("loss/data", data),
                ("loss/W2^2", distance),
                ("learning rate", rate),
            ] {
                events.scalar(k + 1, tag, value)?;
            }
        }
        let mut terms = vec![("loss", value), ("data term", data), ("W2^2", distance)];
        if (k + 1).is_multiple_of(self.settings.validate_every) || k + 1 == self.settings.steps {
            terms.extend(self.validate(k + 1)?);
        }
        Ok(Step { terms, done: None })
    }

    fn finish(mut self) -> Result<TrainedWppNet> {
        if let Some(value) = self.curve.last().and_then(|point| point.validation) {
            self.net.provenance.insert("validation_loss".into(), value.to_string());
        }
        Ok(TrainedWppNet { net: self.net, curve: self.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = self.net.to_checkpoint();
        self.adam.save(&mut file);
        for (l, psi) in self.prior.potentials().iter().enumerate() {
            file.tensors.insert(format!("training.psi.{l}"), Tensor::from_slice(psi));
        }
        file.tensors.insert("training.running".into(), Tensor::from_slice(&[self.running.0, self.running.1]));
        CurvePoint::save(&self.curve, &mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for (name, mut parameter) in self.net.parameters() {
            parameter.f_copy_(&state.take(&name, &parameter.size(), Kind::Float)?)?;
        }
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
