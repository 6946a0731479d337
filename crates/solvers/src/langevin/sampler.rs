//! The chains.

use super::preconditioner::Preconditioner;
use super::record::Record;
use super::samples::PosteriorSamples;
use super::settings::{LangevinScheme, LangevinSettings};
use super::target::{Energies, Target};
use crate::check;
use crate::map::Objective;
use crate::run::{Iteration, Step};
use smalti_base::{Error, Result, Seed, checkpoint::Checkpoint};
use tch::{Kind, Tensor};

/// So many times the number of pixels may the energy of a chain without acceptance rise above its start. (The energies of a
/// Gaussian's samples lie about half the number of pixels above their least value.)
const EXPLOSION: f64 = 100.0;

/// Several Langevin chains, see [`super`]: one [`step`](Iteration::step) moves all of them.
///
/// Chain `c` draws its noise from streams of its own. The state after any step can be kept, and a resumed run gives the bits of
/// an uninterrupted one.
///
/// # Precision
/// Energies are added up in float64 from the sums that the likelihood makes in the dtype of the images. Acceptance compares
/// differences of energies: with float32, those of a million terms are off by about 0.1. Give float64 images where that matters.
///
/// # References
/// G. O. Roberts, R. L. Tweedie, "Exponential convergence of Langevin distributions and their discrete approximations",
/// Bernoulli 2 (1996).
pub struct Langevin<'a> {
    target: Target<'a>,
    settings: LangevinSettings,
    seed: Seed,
    /// `M = R R^T`, where it is not the identity.
    preconditioner: Option<Preconditioner>,
    x: Tensor,
    now: Energies,
    /// Energies at the start.
    start: Vec<f64>,
    step_size: f64,
    /// Proposals taken after burn-in, chain by chain.
    taken: Vec<u64>,
    record: Record,
}

impl std::fmt::Debug for Langevin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Langevin")
            .field("settings", &self.settings)
            .field("step_size", &self.step_size)
            .finish_non_exhaustive()
    }
}

/// `[chains, C, H, W]`: `initial`, `[1, C, H, W]`, plus noise of standard deviation `spread`, another one for each chain. Chains
/// that start further apart than the posterior is wide, and yet agree in the end, can be trusted.
///
/// # Errors
/// [`Error::Value`] where there are no chains, or `spread` is not a finite number >= 0.
pub fn overdispersed(initial: &Tensor, chains: i64, spread: f64, seed: Seed) -> Result<Tensor> {
    if chains < 1 {
        return Err(Error::value("number of chains", "at least 1", chains));
    }
    if !(spread >= 0.0 && spread.is_finite()) {
        return Err(Error::value("spread of the starts", "a finite number >= 0", spread));
    }
    let one = |c| initial + noise(seed, "start of a chain", c as u64, 0, initial) * spread;
    Ok(Tensor::f_cat(&(0..chains).map(one).collect::<Vec<_>>(), 0)?)
}

/// Standard normal values of the shape, dtype and device of `like`.
fn noise(seed: Seed, purpose: &str, chain: u64, step: u64, like: &Tensor) -> Tensor {
    let drawn = seed.derive("chain", chain).at(purpose, step).normal(&like.size());
    drawn.to_kind(like.kind()).to_device(like.device())
}

impl<'a> Langevin<'a> {
    /// Chains for the posterior of `problem`, one from each of `starts: [chains, C, H, W]` (see [`overdispersed`]).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where starts or observation do not fit the operator, are not finite, differ in
    /// dtype or device, or a setting is out of range; those of the first evaluation.
    pub fn new(
        problem: Objective<'a>,
        starts: &Tensor,
        settings: LangevinSettings,
        seed: Seed,
    ) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let domain = problem.operator.domain();
        domain.check("starts of the chains", starts)?;
        let chains = starts.size()[0];
        if chains < 1 {
            return Err(Error::value("number of chains", "at least 1", chains));
        }
        for c in 0..chains {
            check::images(problem.operator, &starts.narrow(0, c, 1), problem.observation)?;
        }
        settings.check(domain)?;
        let mut target = Target::new(problem, chains)?;
        let x = starts.f_detach_copy()?.f_contiguous()?;
        target.fix(&x.narrow(0, 0, 1))?;
        let now = target.evaluate(&x)?;
        if let Some((c, e)) = now.values.iter().enumerate().find(|(_, e)| !e.is_finite()) {
            let what = format!("energy at the start of chain {c}");
            return Err(Error::value(
                what,
                "a finite number: start it where prior and likelihood are positive",
                e,
            ));
        }
        let record = Record::new(&settings, domain, chains, x.device());
        let (start, taken, step_size) = (now.values.clone(), vec![0; chains as usize], settings.step_size);
        Ok(Self { target, settings, seed, preconditioner: None, x, now, start, step_size, taken, record })
    }

    /// The same with a preconditioner for images of the same size. The target stays the same.
    ///
    /// # Errors
    /// [`Error::Shape`] where it is one for other images.
    pub fn with_preconditioner(mut self, preconditioner: &Preconditioner) -> Result<Self> {
        self.preconditioner = Some(preconditioner.placed(&self.x.narrow(0, 0, 1))?);
        Ok(self)
    }

    /// `R v`.
    fn rooted(&self, v: Tensor) -> Result<Tensor> {
        self.preconditioner.as_ref().map_or(Ok(v.shallow_clone()), |m| m.apply(&v))
    }

    /// `R^T v`.
    fn rooted_adjoint(&self, v: Tensor) -> Result<Tensor> {
        self.preconditioner.as_ref().map_or(Ok(v.shallow_clone()), |m| m.adjoint(&v))
    }

    fn diverged(&self, chain: usize, step: u64, got: impl ToString) -> Error {
        let h = self.step_size;
        let remedy = format!(
            "a finite energy; the chain diverges: take a step size below {h:e}, such as {:e}",
            h / 4.0
        );
        Error::value(format!("energy of chain {chain} in step {step}"), remedy, got)
    }

    /// Stops where an energy is not finite or has exploded, for chains that take every proposal.
    fn check(&self, energies: &[f64], step: u64) -> Result<()> {
        let rise = EXPLOSION * self.x.narrow(0, 0, 1).numel() as f64;
        for (c, (&e, start)) in energies.iter().zip(&self.start).enumerate() {
            if !(e.is_finite() && e - start <= rise) {
                return Err(self.diverged(c, step, e));
            }
        }
        Ok(())
    }

    /// Takes some of the proposals; gives the probability that each was taken with.
    fn accept(&mut self, k: u64, proposed: Tensor, xi: &Tensor, next: Energies) -> Result<Vec<f64>> {
        let h = self.step_size;
        // log q(x | x') - log q(x' | x) = sqrt(h/2) <a, xi> - h/4 |a|^2, a = R^T (grad E(x) + grad E(x')).
        let a =
            self.rooted_adjoint(&self.now.grad + &next.grad)?.f_flatten(1, -1)?.f_to_kind(Kind::Double)?;
        let along = (&a * xi.f_flatten(1, -1)?).f_sum_dim_intlist(1i64, false, Kind::Double)?;
        let square = a.f_square()?.f_sum_dim_intlist(1i64, false, Kind::Double)?;
        let proposal = Vec::<f64>::try_from(along * (h / 2.0).sqrt() - square * (h / 4.0))?;
        let mut probabilities = Vec::with_capacity(proposal.len());
        for (c, log_ratio) in proposal.into_iter().enumerate() {
            let (before, after) = (self.now.values[c], next.values[c]);
            if after == f64::NEG_INFINITY {
                return Err(self.diverged(c, k, after));
            }
            let exponent = before - after + log_ratio;
            // An undefined energy is that of an impossible image.
            let probability = if exponent.is_nan() { 0.0 } else { exponent.exp().min(1.0) };
            probabilities.push(probability);
            let u = self.seed.derive("chain", c as u64).at("acceptance", k).uniform(&[1]).double_value(&[0]);
            if u < probability {
                let row = |t: &Tensor| t.narrow(0, c as i64, 1);
                row(&self.x).f_copy_(&row(&proposed))?;
                row(&self.now.grad).f_copy_(&row(&next.grad))?;
                self.now.values[c] = after;
                self.taken[c] += u64::from(k >= self.settings.burn_in);
            }
        }
        Ok(probabilities)
    }

    fn mean_energy(&self) -> f64 {
        self.now.values.iter().sum::<f64>() / self.now.values.len() as f64
    }
}

impl Iteration for Langevin<'_> {
    type Output = PosteriorSamples;

    fn name(&self) -> String {
        "posterior sampling".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let (h, chains) = (self.step_size, self.now.values.len());
        let one = self.x.narrow(0, 0, 1);
        let draws: Vec<Tensor> =
            (0..chains as u64).map(|c| noise(self.seed, "noise of a step", c, k, &one)).collect();
        let xi = Tensor::f_cat(&draws, 0)?;
        let drift = self.rooted(self.rooted_adjoint(self.now.grad.shallow_clone())?)?;
        let proposed = &self.x - drift * h + self.rooted(&xi * (2.0 * h).sqrt())?;
        let finite = Vec::<bool>::try_from(proposed.f_flatten(1, -1)?.f_isfinite()?.f_all_dim(1, false)?)?;
        if let Some(c) = finite.iter().position(|finite| !finite) {
            return Err(self.diverged(c, k, "an image with NaN or infinity in it"));
        }
        let mut acceptance = 1.0;
        match self.settings.scheme {
            LangevinScheme::Ula => {
                self.now = self.target.evaluate(&proposed)?;
                self.x = proposed;
                self.check(&self.now.values, k)?;
            }
            LangevinScheme::Mala { target } => {
                let next = self.target.evaluate(&proposed)?;
                let probabilities = self.accept(k, proposed, &xi, next)?;
                acceptance = probabilities.iter().sum::<f64>() / chains as f64;
                if let Some(target) = target
                    && k < self.settings.burn_in
                {
                    // Robbins and Monro in log h.
                    self.step_size *= (((k + 1) as f64).powf(-0.6) * (acceptance - target)).exp();
                }
            }
        }
        if !matches!(self.settings.scheme, LangevinScheme::Mala { .. }) && k >= self.settings.burn_in {
            self.taken.iter_mut().for_each(|n| *n += 1);
        }
        if k >= self.settings.burn_in
            && (k + 1 - self.settings.burn_in).is_multiple_of(self.settings.thin)
            && self.record.count() < self.settings.draws
        {
            self.record.push(&self.x, &self.now.values)?;
        }
        let terms =
            vec![("energy", self.mean_energy()), ("acceptance", acceptance), ("step size", self.step_size)];
        Ok(Step { terms, done: None })
    }

    /// # Errors
    /// [`Error::Value`] where the run was stopped before its last draw.
    fn finish(self) -> Result<PosteriorSamples> {
        let (draws, found) = (self.settings.draws, self.record.count());
        if found < draws {
            let expected = format!("{draws} ({} steps); go on from the checkpoint", self.settings.steps());
            return Err(Error::value("draws of the chains", expected, found));
        }
        let [mean, variance, r_hat] = self.record.statistics()?;
        let steps = (draws * self.settings.thin) as f64;
        let samples = PosteriorSamples {
            mean,
            variance,
            r_hat,
            samples: self.record.samples(self.x.kind(), self.x.device())?,
            traces: self.record.traces()?,
            acceptance: self.taken.iter().map(|&n| n as f64 / steps).collect(),
            step_size: self.step_size,
        };
        samples.report();
        Ok(samples)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("chains.x".into(), self.x.copy());
        file.tensors.insert("chains.grad".into(), self.now.grad.copy());
        let taken: Vec<f64> = self.taken.iter().map(|&n| n as f64).collect();
        for (name, values) in [("energy", &self.now.values), ("start", &self.start), ("taken", &taken)] {
            file.tensors.insert(format!("chains.{name}"), Tensor::from_slice(values));
        }
        file.set_meta("chains.step_size", self.step_size);
        self.record.save(&mut file);
        if let Some(prior) = self.target.save() {
            file.insert_part("prior", prior);
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let mut image = |name: &str| -> Result<Tensor> {
            Ok(state.take(name, &self.x.size(), self.x.kind())?.f_to_device(self.x.device())?)
        };
        let (x, grad) = (image("chains.x")?, image("chains.grad")?);
        let chains = self.taken.len() as i64;
        let mut numbers = |name: &str| -> Result<Vec<f64>> {
            Ok(Vec::try_from(state.take(&format!("chains.{name}"), &[chains], Kind::Double)?)?)
        };
        let (values, start, taken) = (numbers("energy")?, numbers("start")?, numbers("taken")?);
        self.x = x;
        self.now = Energies { values, grad };
        self.start = start;
        self.taken = taken.into_iter().map(|n| n as u64).collect();
        self.step_size = state.meta_parsed("chains.step_size")?;
        self.record.restore(&mut state, &self.x)?;
        self.target.restore(state.take_part("prior"))
    }
}
