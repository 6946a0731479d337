//! The deep image prior: reconstruction by an untrained network.

use crate::adam::Adam;
use crate::check;
use crate::map::Objective;
use crate::run::{Iteration, Step};
use crate::schedule::{Schedule, check_rate};
use crate::supervised_training::ImageNetwork as _;
use crate::unet::{Statistics, UNet, UNetSettings};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, parallel};
use smalti_flows::Precision;
use tch::{Kind, Tensor};

/// Settings of [`Dip`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DipSettings {
    /// The network.
    pub net: UNetSettings,
    /// Number of steps, at least 1, which the schedule refers to.
    pub steps: u64,
    /// Learning rate of Adam.
    pub rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Standard deviation of the noise that the network is given.
    pub noise: f64,
    /// Largest norm of the gradient of `n J` in the weights, `n` the number of observation values; longer gradients
    /// are scaled down to it.
    pub clip: f64,
    /// Steps between two points of the curve.
    pub curve_every: u64,
    /// The dtype of convolutions; weights and their moments stay in float32.
    pub precision: Precision,
}

impl Default for DipSettings {
    /// [`DipSettings::baguer_2020`].
    fn default() -> Self {
        Self::baguer_2020()
    }
}

impl DipSettings {
    /// The settings for low-dose CT (LoDoPaB): 17,000 steps at the learning rate 5e-4, noise of standard deviation 0.1,
    /// gradients clipped at norm 1, [`UNetSettings::dip`]. The weight of the total variation that belongs to them is 7 against
    /// the Poisson negative log-likelihood, both summed: [`smalti_priors::weight::from_sums`] converts it. (It was chosen for the
    /// anisotropic total variation, which is up to `sqrt(2)` times ours.)
    ///
    /// # Reference
    /// Baguer, Leuschner, Schmidt, "Computed tomography reconstruction using deep image prior and learned
    /// reconstruction methods", Inverse Problems 36 (2020), and the settings for LoDoPaB published with it. (Its network
    /// has a sixth scale, and skip connections on two scales only.)
    pub fn baguer_2020() -> Self {
        Self {
            net: UNetSettings::dip(),
            steps: 17_000,
            rate: 5e-4,
            schedule: Schedule::Constant,
            noise: 0.1,
            clip: 1.0,
            curve_every: 100,
            precision: Precision::Full,
        }
    }

    /// The same with another network.
    #[must_use]
    pub fn with_net(mut self, net: UNetSettings) -> Self {
        self.net = net;
        self
    }

    /// The same with so many steps.
    #[must_use]
    pub fn with_steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    /// The same with another learning rate.
    #[must_use]
    pub fn with_rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// The same with a learning rate that changes.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The same with noise of another standard deviation.
    #[must_use]
    pub fn with_noise(mut self, noise: f64) -> Self {
        self.noise = noise;
        self
    }

    /// The same with gradients of at most another norm.
    #[must_use]
    pub fn with_clip(mut self, clip: f64) -> Self {
        self.clip = clip;
        self
    }

    /// The same with a point of the curve after every so many steps.
    #[must_use]
    pub fn with_curve_every(mut self, curve_every: u64) -> Self {
        self.curve_every = curve_every;
        self
    }

    /// The same with convolutions in another dtype.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }
}

/// One point of the curve of [`Dip`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DipPoint {
    /// Number of the step, from 1; the values are those before its update of the weights.
    pub step: u64,
    /// `J(x)`.
    pub objective: f64,
    /// `1/n nll(F(x), y)`.
    pub data: f64,
    /// `R(x)`.
    pub prior: f64,
    /// The smallest `J(x)` so far.
    pub best: f64,
}

/// What [`Dip`] ends with.
#[derive(Debug)]
pub struct Reconstruction {
    /// The image with the smallest objective of all steps.
    pub image: Tensor,
    /// The number of its step, from 1.
    pub step: u64,
    /// Its objective.
    pub objective: f64,
    /// The curve, in the settings' distance, from the first step to the last.
    pub curve: Vec<DipPoint>,
}

/// Minimises `J(G(z))`, `J(x) = 1/n nll(F(x), y) + w R(x)` ([`Objective`]), over the weights of a network `G` by Adam,
/// with fixed noise `z`. With the total variation as `R` it is known as DIP+TV.
///
/// The result is the image of the step with the smallest objective, which fluctuates from step to step. Batch
/// normalisation takes the statistics of the image at hand throughout.
///
/// `J` has an analytic gradient `g` in `x = G(z)`, which reaches the weights as the gradient of `sum(x g)`: operator,
/// likelihood and regularizer need no autograd. Gradients are clipped after that, before Adam sees them: where nearly
/// all are longer than the limit, as in the published setting, Adam sees them all with one norm.
///
/// # Shapes
/// `F` takes images of one channel, as large as [`UNetSettings::check_size`] demands; `y` is float32, and everything
/// is computed on its device.
///
/// # Reference
/// Ulyanov, Vedaldi, Lempitsky, "Deep image prior", CVPR (2018); with the total variation and the choice of the
/// result as in Baguer, Leuschner, Schmidt, Inverse Problems 36 (2020).
pub struct Dip<'a> {
    problem: Objective<'a>,
    settings: DipSettings,
    net: UNet,
    parameters: Vec<Tensor>,
    noise: Tensor,
    adam: Adam,
    best: Option<Best>,
    curve: Vec<DipPoint>,
    events: Option<EventFile>,
}

impl std::fmt::Debug for Dip<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dip").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The image with the smallest objective so far, and its step.
struct Best {
    objective: f64,
    step: u64,
    image: Tensor,
}

impl<'a> Dip<'a> {
    /// The method with random weights and noise from `seed`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the observation does not fit the operator or images are not of one channel;
    /// [`Error::Value`] where it is not finite or not float32, images are too small for the network, or a setting is out
    /// of range.
    pub fn new(problem: Objective<'a>, settings: DipSettings, seed: Seed) -> Result<Self> {
        check_rate(settings.rate)?;
        for (what, zero) in [
            ("steps of a deep image prior", settings.steps == 0),
            ("interval of the curve", settings.curve_every == 0),
        ] {
            if zero {
                return Err(Error::value(what, "at least 1", 0));
            }
        }
        for (what, value) in
            [("noise for a deep image prior", settings.noise), ("norm to clip at", settings.clip)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a positive number", value));
            }
        }
        if !(problem.weight >= 0.0 && problem.weight.is_finite()) {
            return Err(Error::value("weight of the regularizer", "a number >= 0", problem.weight));
        }
        let domain = problem.operator.domain();
        if domain.channels != 1 {
            return Err(Error::shape("domain of the operator", "images of one channel", domain));
        }
        let [height, width] = domain.plane("domain of the operator of a deep image prior")?;
        let device = problem.observation.device();
        let net = UNet::new(settings.net.clone(), seed.derive("network", 0))?.to(device)?;
        settings.net.check_size(height, width)?;
        let noise = seed.at("noise", 0).normal(&domain.batch(1)) * settings.noise;
        let noise = noise.f_to_device(device)?;
        check::images(problem.operator, &noise, problem.observation)?;
        let parameters: Vec<Tensor> = net.parameters().into_iter().map(|(_, t)| t).collect();
        let adam = Adam::new(&parameters);
        Ok(Self {
            problem,
            settings,
            net,
            parameters,
            noise,
            adam,
            best: None,
            curve: Vec::new(),
            events: None,
        })
    }

    /// Logs the objective, its parts and the image at every point of the curve to `events`.
    pub fn with_events(mut self, events: EventFile) -> Self {
        self.events = Some(events);
        self
    }

    /// The gradients of `sum(x g)` in the weights, clipped, and their norm before.
    fn pull_back(&self, x: &Tensor, g: &Tensor) -> Result<(Vec<Tensor>, f64)> {
        let gradients = parallel::in_operations(|| {
            let sum = tch::with_grad(|| x.f_mul(g)?.f_sum(Kind::Float))?;
            Tensor::f_run_backward(&[sum], &self.parameters, false, false)
        })?;
        clipped(gradients, self.settings.clip)
    }

    /// Adds a point to the curve where it is time.
    fn watch(&mut self, point: DipPoint, x: &Tensor) -> Result<()> {
        let step = point.step;
        if step != 1 && step != self.settings.steps && !step.is_multiple_of(self.settings.curve_every) {
            return Ok(());
        }
        self.curve.push(point);
        if let Some(events) = &mut self.events {
            for (tag, value) in [
                ("objective", point.objective),
                ("objective/data", point.data),
                ("objective/prior", point.prior),
                ("objective/best", point.best),
            ] {
                events.scalar(step, tag, value)?;
            }
            events.image(step, "image", x)?;
        }
        Ok(())
    }
}

/// `gradients` scaled down to the norm `largest` where theirs, taken together, is longer; and the norm before.
fn clipped(mut gradients: Vec<Tensor>, largest: f64) -> Result<(Vec<Tensor>, f64)> {
    let norms = gradients.iter().map(|g| g.f_norm()).collect::<Result<Vec<_>, _>>()?;
    let norm = Tensor::f_stack(&norms, 0)?.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?;
    if norm > largest {
        for g in &mut gradients {
            let _ = g.f_mul_scalar_(largest / norm)?;
        }
    }
    Ok((gradients, norm))
}

impl Iteration for Dip<'_> {
    type Output = Reconstruction;

    fn name(&self) -> String {
        "deep image prior".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let forward = || self.net.forward(&self.noise, Statistics::Batch, self.settings.precision);
        let graph = parallel::in_operations(|| tch::with_grad(forward))?;
        let x = graph.detach();
        let p = &mut self.problem;
        p.prior.refresh(k)?;
        let (prior, prior_grad) = p.prior.value_and_grad(&x)?;
        let u = p.operator.apply(&x)?;
        let n = p.observation.numel() as f64;
        let (nll, slope) = p.likelihood.value_and_grad(&u, p.observation)?;
        let data = nll.f_sum(Kind::Double)?.f_double_value(&[])? / n;
        let data_grad = p.operator.vjp(&x, &slope)?;
        // The gradient of n J.
        let (gradients, norm) =
            self.pull_back(&graph, &(data_grad + prior_grad * (n * self.problem.weight)))?;
        drop(graph);
        let objective = data + self.problem.weight * prior;
        if self.best.as_ref().is_none_or(|best| objective < best.objective) {
            self.best = Some(Best { objective, step: k + 1, image: x.shallow_clone() });
        }
        let best = self.best.as_ref().map_or(objective, |best| best.objective);
        self.watch(DipPoint { step: k + 1, objective, data, prior, best }, &x)?;
        let rate = self.settings.rate * self.settings.schedule.factor(k, self.settings.steps);
        self.adam.step(&self.parameters, &[gradients], rate)?;
        let terms = vec![
            ("objective", objective),
            ("data term", data),
            ("prior", prior),
            ("smallest objective", best),
            ("gradient norm", norm),
        ];
        Ok(Step { terms, done: None })
    }

    fn finish(self) -> Result<Reconstruction> {
        let Best { objective, step, image } =
            self.best.ok_or_else(|| Error::value("steps of a deep image prior", "at least 1", 0))?;
        Ok(Reconstruction { image, step, objective, curve: self.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = self.net.to_checkpoint();
        self.adam.save(&mut file);
        if let Some(best) = &self.best {
            file.tensors.insert("best.image".into(), best.image.copy());
            file.set_meta("best.objective", best.objective);
            file.set_meta("best.step", best.step);
        }
        let row = |p: &DipPoint| [p.step as f64, p.objective, p.data, p.prior, p.best];
        let rows: Vec<f64> = self.curve.iter().flat_map(row).collect();
        file.tensors.insert("curve".into(), Tensor::from_slice(&rows));
        file.set_meta("curve.points", self.curve.len());
        if let Some(prior) = self.problem.prior.save() {
            file.insert_part("prior", prior);
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        self.net.restore(&mut state)?;
        self.adam.restore(&mut state)?;
        self.best = match state.metadata.contains_key("best.step") {
            true => Some(Best {
                objective: state.meta_parsed("best.objective")?,
                step: state.meta_parsed("best.step")?,
                image: state
                    .take("best.image", &self.noise.size(), Kind::Float)?
                    .f_to_device(self.noise.device())?,
            }),
            false => None,
        };
        let points: i64 = state.meta_parsed("curve.points")?;
        let rows = Vec::<f64>::try_from(state.take("curve", &[5 * points], Kind::Double)?)?;
        let point =
            |r: &[f64]| DipPoint { step: r[0] as u64, objective: r[1], data: r[2], prior: r[3], best: r[4] };
        self.curve = rows.chunks_exact(5).map(point).collect();
        self.problem.prior.restore(state.take_part("prior"))
    }
}

#[cfg(test)]
mod tests {
    use super::clipped;
    use tch::Tensor;

    #[test]
    fn long_gradients_are_scaled_down_together() {
        let make = || vec![Tensor::from_slice(&[3.0_f32, 0.0]), Tensor::from_slice(&[4.0_f32]).view([1, 1])];
        let (short, norm) = clipped(make(), 5.5).unwrap();
        assert!(norm == 5.0 && short.iter().zip(make()).all(|(a, b)| a.equal(&b)));
        let (long, norm) = clipped(make(), 1.0).unwrap();
        assert!(
            norm == 5.0
                && long.iter().zip(make()).all(|(a, b)| (a * 5.0 - b).abs().max().double_value(&[]) < 1e-6)
        );
        assert!(clipped(vec![Tensor::from_slice(&[f32::NAN])], 1.0).unwrap().1.is_nan());
    }
}
