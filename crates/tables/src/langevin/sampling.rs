//! The mode of the posterior, and chains that draw from it.

use super::posed::Posed;
use crate::experiment::langevin::{Chains, Posterior, Transition};
use crate::methods::{Prior, schedule};
use crate::run::RunOptions;
use crate::state::{Reconstruction, State};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Seed};
use smalti_flows::PatchNr;
use smalti_priors::{PatchPrior, Reflected, Sampling, weight};
use smalti_solvers::langevin::{Langevin, LangevinSettings, Method, Preconditioner, overdispersed};
use smalti_solvers::{AdamSettings, Budget, Iteration, Map, PosteriorSamples, Problem, run};
use std::time::Instant;
use tch::Tensor;

/// Chains with a preconditioner start so many standard deviations away.
const OVERDISPERSION: f64 = 2.0;

/// Draws of each chain that a preconditioner is estimated from, at most.
const PILOT_DRAWS: u64 = 200;

/// What is sampled.
pub(super) struct Target<'a> {
    pub(super) posed: &'a Posed,
    pub(super) prior: &'a Prior,
    pub(super) posterior: Posterior,
    pub(super) options: &'a RunOptions,
    pub(super) state: &'a State,
}

/// Draws, and the seconds that they took.
pub(super) struct Drawn {
    pub(super) samples: PosteriorSamples,
    pub(super) seconds: f64,
}

impl<'a> Target<'a> {
    fn regularizer(&self) -> Result<Reflected<PatchPrior<&'a PatchNr>>> {
        let domain = self.posed.operator.domain();
        Reflected::new(domain, self.posterior.padding, |extended| {
            PatchPrior::new(&self.prior.flow, extended, Sampling::All, self.options.seed)
        })
    }

    fn problem<'b>(&'b self, prior: &'b mut Reflected<PatchPrior<&'a PatchNr>>) -> Result<Problem<'b>> {
        let Posed { operator, likelihood, observation, .. } = self.posed;
        let n = operator.range().len();
        Ok(Problem {
            operator: operator.as_ref(),
            likelihood: likelihood.as_ref(),
            observation,
            prior,
            weight: weight::from_likelihood_sum(self.posterior.lambda, n)?,
        })
    }

    /// All that its results depend on.
    fn identity(&self) -> Result<String> {
        let hash = data_hash(&[&self.posed.observation, &self.posed.start])?;
        let (posterior, learned) = (self.posterior, &self.prior.identity);
        Ok(format!("{hash} {learned} {posterior:?} seed {}", self.options.seed.value()))
    }

    /// The MAP estimate.
    ///
    /// # Errors
    /// Those of the iteration; [`smalti_base::Error::Cancelled`] on request.
    pub(super) fn mode(&self) -> Result<Reconstruction> {
        let (name, identity, start) = ("map", self.identity()?, &self.posed.start);
        if let Some(mut done) = self.state.reconstruction(name, &identity, &start.size())? {
            done.image = done.image.to_device(self.options.device);
            return Ok(done);
        }
        let clock = Instant::now();
        let mut prior = self.regularizer()?;
        let Posterior { iterations: steps, learning_rate: rate, schedule: choice, .. } = self.posterior;
        let settings = AdamSettings { steps, rate, schedule: schedule(choice, 0) };
        let mut map = Map::new(self.problem(&mut prior)?, start, settings)?;
        let observer = self.state.observer(name, &identity);
        self.state.go_on(&run(&mut map, Budget::steps(steps), &observer)?)?;
        let image = map.finish()?;
        let done = Reconstruction { image, seconds: clock.elapsed().as_secs_f64(), transport: None };
        self.state.keep_reconstruction(name, &identity, &done)?;
        Ok(done)
    }

    /// Draws of chains that start around the MAP estimate `mode` and around the simple start in turn.
    ///
    /// # Errors
    /// Those of the chains; [`smalti_base::Error::Cancelled`] on request.
    pub(super) fn draws(&self, mode: &Tensor, chains: &Chains) -> Result<Drawn> {
        let clock = Instant::now();
        let seed = self.options.seed.derive("Langevin chains", 0);
        let pick = |c: i64| if c % 2 == 0 { mode } else { &self.posed.start };
        let centres = Tensor::f_cat(&(0..chains.count).map(pick).collect::<Vec<_>>(), 0)?;
        let mut starts = self.spread(&centres, chains, None, seed)?;
        let mut preconditioner = None;
        for (k, &steps) in chains.pilots.iter().enumerate() {
            let (found, ends) = self.pilot(k, steps, chains, &starts, preconditioner.as_ref(), seed)?;
            (preconditioner, starts) = (Some(found), ends);
        }
        if preconditioner.is_some() {
            starts = self.spread(&centres, chains, preconditioner.as_ref(), seed)?;
        }
        let settings = LangevinSettings {
            burn_in: chains.burn_in,
            draws: chains.draws,
            thin: chains.thin,
            keep: chains.keep,
            pixels: self.posed.traced(),
            ..transition(chains, preconditioner.is_some())
        };
        let samples = self.sampled(
            "chains",
            settings,
            &starts,
            preconditioner.as_ref(),
            seed.derive("chains", 0),
            chains,
        )?;
        Ok(Drawn { samples, seconds: clock.elapsed().as_secs_f64() })
    }

    /// Starts of chains around `centres`, one for each.
    fn spread(
        &self,
        centres: &Tensor,
        chains: &Chains,
        preconditioner: Option<&Preconditioner>,
        seed: Seed,
    ) -> Result<Tensor> {
        let zero = self.posed.start.f_zeros_like()?;
        let white = overdispersed(&zero, chains.count, 1.0, seed)?;
        let away = match preconditioner {
            None => white * chains.spread,
            Some(m) => m.placed(&zero)?.apply(&white)? * OVERDISPERSION,
        };
        Ok(centres.f_add(&away)?)
    }

    /// A run from which only a preconditioner is kept, and where its chains ended.
    fn pilot(
        &self,
        number: usize,
        steps: u64,
        chains: &Chains,
        starts: &Tensor,
        before: Option<&Preconditioner>,
        seed: Seed,
    ) -> Result<(Preconditioner, Tensor)> {
        let name = format!("pilot {number}");
        let identity = format!("{} {chains:?}", self.identity()?);
        let device = self.options.device;
        if let Some(mut file) = self.state.finished(&name, &identity)? {
            let ends = file.take("ends", &starts.size(), starts.kind())?.to_device(device);
            let domain = self.posed.operator.domain();
            return Ok((Preconditioner::from_checkpoint(file, domain)?, ends));
        }
        let half = steps / 2;
        let thin = half.div_ceil(PILOT_DRAWS);
        let draws = (half / thin / 2 * 2).max(4);
        let settings = LangevinSettings {
            burn_in: steps - half,
            draws,
            thin,
            keep: draws,
            pixels: Vec::new(),
            ..transition(chains, before.is_some())
        };
        let seed = seed.derive("pilot", number as u64);
        let found = self.sampled(&name, settings, starts, before, seed, chains)?;
        let ends = found.samples.f_select(1, -1)?.f_contiguous()?;
        let made = Preconditioner::estimated(&within_chains(&found.samples)?)?;
        let mut file = made.to_checkpoint();
        file.tensors.insert("ends".into(), ends.to_device(tch::Device::Cpu));
        self.state.finish(&name, &identity, file)?;
        Ok((made, ends))
    }

    fn sampled(
        &self,
        name: &str,
        settings: LangevinSettings,
        starts: &Tensor,
        preconditioner: Option<&Preconditioner>,
        seed: Seed,
        chains: &Chains,
    ) -> Result<PosteriorSamples> {
        tracing::info!("{name}: {} chains of {} steps", chains.count, settings.steps());
        let budget = Budget::steps(settings.steps());
        let mut prior = self.regularizer()?;
        let mut langevin = Langevin::new(self.problem(&mut prior)?, starts, settings, seed)?;
        if let Some(m) = preconditioner {
            langevin = langevin.with_preconditioner(m)?;
        }
        let observer = self.state.observer(name, &format!("{} {chains:?}", self.identity()?));
        self.state.go_on(&run(&mut langevin, budget, &observer)?)?;
        langevin.finish()
    }
}

/// Draws `[chains, keep, 1, H, W]` as one batch, each without the mean of its chain: chains of a pilot need not have met.
fn within_chains(samples: &Tensor) -> Result<Tensor> {
    let means = samples.f_mean_dim(1i64, true, None::<tch::Kind>)?;
    Ok(samples.f_sub(&means)?.f_flatten(0, 1)?)
}

fn transition(chains: &Chains, preconditioned: bool) -> LangevinSettings {
    let method = match chains.method {
        Transition::Mala => Method::Mala { target: Some(Method::OPTIMAL_ACCEPTANCE) },
        Transition::Ula => Method::Ula,
    };
    let step_size = if preconditioned { chains.preconditioned_step_size } else { chains.step_size };
    LangevinSettings { method, step_size, burn_in: 0, draws: 4, thin: 1, keep: 0, pixels: Vec::new() }
}
