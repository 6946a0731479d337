//! Langevin chains that draw from the posterior with a patch normalizing flow as prior.

use crate::estimate::{Estimate, ExtraImage, Line, LineStyle, Placement, Plot, UncertaintyMap};
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::patch_flow::{LearnedFlow, PatchFlow};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Descent, SettingFault, Weight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Result, Seed, Space};
use smalti_operators::Likelihood;
use smalti_priors::{PatchPrior, Reflected, Sampling};
use smalti_solvers::langevin::{
    Langevin, LangevinScheme, LangevinSettings, Preconditioner, Quantity, overdispersed,
};
use smalti_solvers::{Objective, PosteriorSamples};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// Langevin chains.
#[derive(Debug)]
pub struct LangevinChains;

/// Chains with a preconditioner start so many standard deviations away.
const OVERDISPERSION: f64 = 2.0;

/// Draws of each chain that a preconditioner is estimated from, at most.
const PILOT_DRAWS: u64 = 200;

/// Draws of the drawn autocorrelations, at most.
const LAGS: usize = 200;

/// Split R-hats that are shown as black and as white.
const R_HATS: [f64; 2] = [1.0, 1.2];

/// The posterior has the density `exp(-E)`, `E(x) = nll(A x, y) + lambda mean_i -log p(P_i x)`, over all real images; its mode is
/// found by Adam. The estimate is the mean of the draws; mode and single draws stand beside it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct LangevinChainsSettings {
    /// The flow `p` and its training.
    #[garde(dive)]
    pub flow: PatchFlow,
    /// Weight of the mean over all patches.
    #[garde(dive)]
    pub weight: Weight,
    /// Pixels that the image is continued by on all sides, by reflection, before its patches are taken; 0 to 64, 0 where not given.
    #[serde(default)]
    #[garde(range(min = 0, max = 64))]
    pub padding: i64,
    /// How the mode is found.
    #[garde(dive)]
    pub mode: Descent,
    /// The chains.
    #[garde(dive)]
    pub chains: ChainSettings,
}

/// The Langevin chains; see [`smalti_solvers::langevin`].
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct ChainSettings {
    /// How they move.
    #[garde(skip)]
    pub method: Transition,
    /// How many, 2 to 1000.
    #[garde(range(min = 2, max = 1000))]
    pub count: i64,
    /// Standard deviation of the noise that is added to the MAP estimate where a chain starts, 0 to 10.
    #[garde(range(min = 0.0, max = 10.0))]
    pub spread: f64,
    /// Step size of the first run, without a preconditioner; above 0, at most 1.
    #[garde(range(min = 1e-15, max = 1.0))]
    pub step_size: f64,
    /// Steps of each run before the one that counts, 20 to 1 million: the second half of its draws gives the next one's
    /// preconditioner. None: no preconditioner.
    #[serde(default)]
    #[garde(length(max = 10), inner(range(min = 20, max = 1_000_000)))]
    pub pilots: Vec<u64>,
    /// Step size of the runs with a preconditioner, in which 1 is a standard deviation; above 0, at most 10.
    #[serde(default = "preconditioned")]
    #[garde(range(min = 1e-9, max = 10.0))]
    pub preconditioned_step_size: f64,
    /// Steps before the first draw, 0 to 100 million.
    #[garde(range(max = 100_000_000))]
    pub burn_in: u64,
    /// Draws of each chain, even, 4 to 10 million.
    #[garde(range(min = 4, max = 10_000_000))]
    pub draws: u64,
    /// Steps between two draws, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub thin: u64,
    /// Draws of each chain that are kept as images, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub keep: u64,
}

fn preconditioned() -> f64 {
    0.05
}

/// How a chain moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// With acceptance; its step size adapts during burn-in.
    Mala,
    /// Without acceptance, at a fixed step size.
    Ula,
}

impl ChainSettings {
    fn check(&self) -> std::result::Result<(), SettingFault> {
        let &Self { draws, keep, method, ref pilots, .. } = self;
        let misfit = |key: &str, problem: String| Err((format!("chains.{key}"), problem));
        if !draws.is_multiple_of(2) {
            return misfit("draws", format!("{draws} is odd"));
        }
        if keep > draws {
            return misfit("keep", format!("more than the {draws} draws"));
        }
        if method == Transition::Ula && !pilots.is_empty() {
            return misfit("pilots", "only mala has pilots: their step sizes adapt".into());
        }
        Ok(())
    }

    fn transition(&self, preconditioned: bool) -> LangevinSettings {
        let scheme = match self.method {
            Transition::Mala => LangevinScheme::Mala { target: Some(LangevinScheme::OPTIMAL_ACCEPTANCE) },
            Transition::Ula => LangevinScheme::Ula,
        };
        let step_size = if preconditioned { self.preconditioned_step_size } else { self.step_size };
        LangevinSettings::default()
            .with_scheme(scheme)
            .with_step_size(step_size)
            .with_burn_in(0)
            .with_draws(4)
    }
}

impl Method for LangevinChains {
    const KEY: &'static str = "langevin";
    const TITLE: &'static str = "patchNR, posterior mean";
    const PAPERS: &'static [&'static str] = &[
        "M. Piening, F. Altekrüger, J. Hertrich, P. Hagemann, A. Walther, G. Steidl. Learning from small data sets: patch-based \
         regularizers in inverse problems for image reconstruction. GAMM-Mitteilungen, 2024.",
        "G. O. Roberts, J. S. Rosenthal. Optimal scaling of discrete approximations to Langevin diffusions. Journal of the Royal \
         Statistical Society B 60(1), 1998.",
    ];
    const LEARNS: Learns = Learns::PatchDensity;
    const STARTS: bool = true;
    const SAMPLES: bool = true;
    type Settings = LangevinChainsSettings;

    fn check(
        settings: &LangevinChainsSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        settings.chains.check()?;
        settings.flow.check("flow", domain, settings.padding)
    }

    fn files(settings: &LangevinChainsSettings) -> Vec<(&'static str, String)> {
        settings.flow.weights.iter().map(|file| ("flow.weights", file.clone())).collect()
    }

    fn prepare(settings: &LangevinChainsSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let LearnedFlow { flow, learned } = settings.flow.learn(from, run)?;
        Prepared::ready(Sampler { settings: settings.clone(), flow, learned })
    }
}

struct Sampler {
    settings: LangevinChainsSettings,
    flow: smalti_flows::PatchNr,
    learned: Learned,
}

impl Reconstructor for Sampler {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let likelihood = problem.likelihood()?;
        let target = Target { sampler: self, problem, likelihood: likelihood.as_ref(), run };
        let clock = Instant::now();
        let mode = target.mode()?;
        let mode_seconds = problem.start.seconds + clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let found = target.draws(&mode)?;
        let seconds = clock.elapsed().as_secs_f64();
        // Single draws are the last ones of different chains, then those before.
        let [chains, kept] = [0, 1].map(|d| found.samples.size()[d]);
        let draw =
            |i: i64| Ok(found.samples.f_get(i % chains)?.f_narrow(0, (kept - 1 - i / chains).max(0), 1)?);
        let other = |key: &str, title: &str, image: Result<Tensor>, seconds, place| {
            let title = format!("patchNR, {title}");
            Ok::<_, smalti_base::Error>(ExtraImage { key: key.into(), title, image: image?, seconds, place })
        };
        let mean = found.mean.f_to_kind(Kind::Float)?.f_to_device(run.device)?;
        let others = vec![
            other("map", "MAP", Ok(mode), Some(mode_seconds), Placement::Before)?,
            other("draw", "one draw", draw(0), None, Placement::After)?,
            other("draw_2", "second draw", draw(1), None, Placement::Pictures)?,
            other("draw_3", "third draw", draw(2), None, Placement::Pictures)?,
        ];
        Ok(Estimate {
            note: note(&self.settings.chains, &found),
            draws: Some(found.pooled()),
            others,
            maps: maps(&found)?,
            plots: vec![autocorrelations(self.settings.chains.thin, &found)?],
            ..Estimate::of(mean, seconds)
        })
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}

/// What is sampled.
struct Target<'a> {
    sampler: &'a Sampler,
    problem: &'a InverseProblem,
    likelihood: &'a dyn Likelihood,
    run: &'a Run,
}

type Prior<'a> = Reflected<PatchPrior<&'a smalti_flows::PatchNr>>;

impl<'a> Target<'a> {
    fn prior(&self) -> Result<Prior<'a>> {
        Reflected::new(self.problem.domain(), self.sampler.settings.padding, |extended| {
            PatchPrior::new(&self.sampler.flow, extended, Sampling::All, self.run.seed)
        })
    }

    fn objective<'b>(&'b self, prior: &'b mut Prior<'a>) -> Result<Objective<'b>> {
        Ok(Objective {
            operator: &self.problem.operator,
            likelihood: self.likelihood,
            observation: &self.problem.observation,
            prior,
            weight: self.sampler.settings.weight.against(&self.problem.noise)?,
        })
    }

    /// The MAP estimate.
    fn mode(&self) -> Result<Tensor> {
        let descent = self.sampler.settings.mode;
        let mut prior = self.prior()?;
        let objective = self.objective(&mut prior)?;
        let map = smalti_solvers::Map::new(objective, &self.problem.start.image, descent.into())?;
        Ok(self.run.iterate("map", descent.iterations, map)?.0)
    }

    /// Draws of chains that start around the MAP estimate `mode` and around the simple start in turn.
    fn draws(&self, mode: &Tensor) -> Result<PosteriorSamples> {
        let chains = &self.sampler.settings.chains;
        let seed = self.run.seed.derive("Langevin chains", 0);
        let pick = |c: i64| if c % 2 == 0 { mode } else { &self.problem.start.image };
        let centres = Tensor::f_cat(&(0..chains.count).map(pick).collect::<Vec<_>>(), 0)?;
        let mut starts = self.spread(&centres, None, seed)?;
        let mut preconditioner = None;
        for (k, &steps) in chains.pilots.iter().enumerate() {
            let pilot = self.pilot(k, steps, &starts, preconditioner.as_ref(), seed)?;
            (preconditioner, starts) = (Some(pilot.preconditioner), pilot.ends);
        }
        if preconditioner.is_some() {
            starts = self.spread(&centres, preconditioner.as_ref(), seed)?;
        }
        let settings = chains
            .transition(preconditioner.is_some())
            .with_burn_in(chains.burn_in)
            .with_draws(chains.draws)
            .with_thin(chains.thin)
            .with_keep(chains.keep)
            .with_pixels(self.traced());
        self.sampled("chains", settings, &starts, preconditioner.as_ref(), seed.derive("chains", 0), self.run)
    }

    /// Pixels whose values are traced: the middle of what is looked for, and of its quarters.
    fn traced(&self) -> Vec<[i64; 3]> {
        let [(top, height), (left, width)] = self.problem.wanted[..] else { return Vec::new() };
        let at = |(y, x): (i64, i64)| [0, top + y * height / 4, left + x * width / 4];
        [(2, 2), (1, 1), (1, 3), (3, 1), (3, 3)].map(at).to_vec()
    }

    /// Starts of chains around `centres`, one for each.
    fn spread(
        &self,
        centres: &Tensor,
        preconditioner: Option<&Preconditioner>,
        seed: Seed,
    ) -> Result<Tensor> {
        let chains = &self.sampler.settings.chains;
        let zero = self.problem.start.image.f_zeros_like()?;
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
        starts: &Tensor,
        before: Option<&Preconditioner>,
        seed: Seed,
    ) -> Result<Pilot> {
        let half = steps / 2;
        let thin = half.div_ceil(PILOT_DRAWS);
        let draws = (half / thin / 2 * 2).max(4);
        let settings = self
            .sampler
            .settings
            .chains
            .transition(before.is_some())
            .with_burn_in(steps - half)
            .with_draws(draws)
            .with_thin(thin)
            .with_keep(draws);
        let seed = seed.derive("pilot", number as u64);
        let made = |(), run: &Run| {
            let found = self.sampled("pilot", settings, starts, before, seed, run)?;
            let ends = found.samples.f_select(1, -1)?.f_contiguous()?;
            Ok(Pilot { preconditioner: Preconditioner::estimated(&within_chains(&found.samples)?)?, ends })
        };
        let save = |pilot: &Pilot| {
            let mut file = pilot.preconditioner.to_checkpoint();
            file.tensors.insert("ends".into(), pilot.ends.f_to_device(Device::Cpu)?);
            Ok(file)
        };
        let restore = |(), mut file: Checkpoint| {
            let ends = file.take("ends", &starts.size(), starts.kind())?.f_to_device(self.run.device)?;
            Ok(Pilot { preconditioner: Preconditioner::from_checkpoint(file, self.problem.domain())?, ends })
        };
        self.run.once_from(&format!("pilot {number}"), "", (), made, (save, restore))
    }

    fn sampled(
        &self,
        stage: &str,
        settings: LangevinSettings,
        starts: &Tensor,
        preconditioner: Option<&Preconditioner>,
        seed: Seed,
        run: &Run,
    ) -> Result<PosteriorSamples> {
        let steps = settings.steps();
        tracing::info!("{stage}: {} chains of {steps} steps", self.sampler.settings.chains.count);
        let mut prior = self.prior()?;
        let mut langevin = Langevin::new(self.objective(&mut prior)?, starts, settings, seed)?;
        if let Some(m) = preconditioner {
            langevin = langevin.with_preconditioner(m)?;
        }
        Ok(run.iterate(stage, steps, langevin)?.0)
    }
}

/// What a run before the one that counts leaves behind.
struct Pilot {
    preconditioner: Preconditioner,
    /// Where its chains ended.
    ends: Tensor,
}

/// Draws `[chains, keep, 1, H, W]` as one batch, each without the mean of its chain: chains of a pilot need not have met.
fn within_chains(samples: &Tensor) -> Result<Tensor> {
    let means = samples.f_mean_dim(1i64, true, None::<Kind>)?;
    Ok(samples.f_sub(&means)?.f_flatten(0, 1)?)
}

/// Whether to trust the draws.
fn note(chains: &ChainSettings, found: &PosteriorSamples) -> String {
    let ChainSettings { method, count, draws, thin, burn_in, .. } = chains;
    let method = match method {
        Transition::Mala => "MALA",
        Transition::Ula => "ULA, without acceptance",
    };
    let taken = found.acceptance.iter().sum::<f64>() / found.acceptance.len() as f64;
    let (worst, effective) = (found.worst_r_hat(), found.min_effective_sample_size());
    let verdict = if found.converged() {
        "the chains agree".to_owned()
    } else {
        let ranked = found.worst_rank_r_hat();
        format!(
            "WARNING: the chains disagree (R-hat of ranks {ranked:.3}), so these are not yet draws of the posterior"
        )
    };
    format!(
        "{method}, {count} chains, {burn_in} steps of burn-in, {draws} draws {thin} steps apart; step size {:.2e}, \
         {:.1} % of proposals taken; largest split R-hat {worst:.3}, least effective sample size {effective:.0}: {verdict}",
        found.step_size,
        100.0 * taken,
    )
}

/// Autocorrelations of the traced quantities.
fn autocorrelations(thin: u64, found: &PosteriorSamples) -> Result<Plot> {
    let mut lines = Vec::new();
    for trace in &found.traces {
        let rho = trace.autocorrelation(LAGS)?;
        let points = rho.iter().enumerate().map(|(lag, rho)| ((lag as u64 * thin) as f64, *rho)).collect();
        let style = if trace.quantity == Quantity::Energy { LineStyle::First } else { LineStyle::Second };
        lines.push(Line { points, style });
    }
    let end = lines.first().and_then(|line| line.points.last()).map_or(0.0, |p| p.0);
    lines.insert(0, Line { points: vec![(0.0, 0.0), (end, 0.0)], style: LineStyle::Reference });
    let pixels: Vec<String> = found.traces.iter().skip(1).map(|trace| trace.quantity.to_string()).collect();
    Ok(Plot {
        title: "Autocorrelation of the chains".into(),
        axes: ["steps apart".into(), "autocorrelation".into()],
        lines,
        legend: ["energy".into(), "pixels".into()],
        caption: pixels.join(", "),
    })
}

/// Standard deviation and split R-hat of every pixel as pictures.
fn maps(found: &PosteriorSamples) -> Result<Vec<UncertaintyMap>> {
    let deviation = found.variance.f_sqrt()?;
    let (sorted, _) = deviation.f_flatten(0, -1)?.f_sort(0, false)?;
    // What 99.5 % of the pixels stay below, in steps of 0.005.
    let high = sorted.f_double_value(&[(sorted.size()[0] - 1) * 995 / 1000])?;
    let scale = (high * 200.0).ceil().max(1.0) / 200.0;
    let unit = |t: &Tensor, from: f64, to: f64| -> Result<Tensor> {
        Ok(t.f_sub_scalar(from)?.f_div_scalar(to - from)?.f_clamp(0.0, 1.0)?.f_to_kind(Kind::Float)?)
    };
    let [least, most] = R_HATS;
    Ok(vec![
        UncertaintyMap {
            key: "standard-deviation".into(),
            title: "Standard deviation".into(),
            caption: format!("black 0, white {scale:.3} or more"),
            image: unit(&deviation, 0.0, scale)?,
        },
        UncertaintyMap {
            key: "r-hat".into(),
            title: "Split R-hat".into(),
            caption: format!("black {least:.0}, white {most} or more"),
            image: unit(&found.r_hat, least, most)?,
        },
    ])
}
