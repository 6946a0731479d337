//! The deep image prior with total variation.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData, two_dimensional};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{PrecisionChoice, SettingFault, TvWeight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use smalti_priors::TotalVariation;
use smalti_solvers::{Dip, DipSettings, Objective, UNetSettings};
use std::time::Instant;

/// The deep image prior with total variation.
#[derive(Debug)]
pub struct DipTv;

/// Lengths of gradients below this count less than their length.
const SMOOTHING: f64 = 1e-4;

/// Minimise `sum nll(A g(z), y) + lambda sum |grad g(z)|` over the weights of a U-Net `g` by Adam; the image of the smallest loss is
/// the result.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct DipTvSettings {
    /// Channels on every scale of the U-Net, 1 to 1024.
    #[garde(range(min = 1, max = 1024))]
    pub channels: i64,
    /// Number of scales, 1 to 8.
    #[garde(range(min = 1, max = 8))]
    pub scales: i64,
    /// Weight of the total variation.
    #[garde(dive)]
    pub weight: TvWeight,
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// The dtype of convolutions.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

impl DipTvSettings {
    fn net(&self) -> UNetSettings {
        UNetSettings::dip().with_channels(vec![self.channels; self.scales as usize])
    }
}

impl Method for DipTv {
    const KEY: &'static str = "dip_tv";
    const TITLE: &'static str = "DIP+TV";
    const PAPERS: &'static [&'static str] = &[
        "D. Ulyanov, A. Vedaldi, V. Lempitsky. Deep image prior. CVPR 2018.",
        "D. O. Baguer, J. Leuschner, M. Schmidt. Computed tomography reconstruction using deep image prior and learned \
         reconstruction methods. Inverse Problems 36(9), 2020.",
    ];
    const LEARNS: Learns = Learns::Nothing;
    type Settings = DipTvSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        two_dimensional(instrument)
    }

    fn check(
        settings: &DipTvSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        let Some(Space { height, width, .. }) = domain else { return Ok(()) };
        settings.net().check_size(height, width).map_err(|problem| ("scales".into(), problem.to_string()))
    }

    fn prepare(settings: &DipTvSettings, _from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        // What the settings leave to the device is a part of what an estimate depends on.
        let identity = format!("{:?}", settings.precision.on(run.device));
        let learned = Learned { identity, ..Learned::default() };
        Prepared::ready(Network { settings: *settings, learned })
    }
}

/// An untrained network.
struct Network {
    settings: DipTvSettings,
    learned: Learned,
}

impl Reconstructor for Network {
    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }

    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        self.settings.reconstruct(problem, run)
    }
}

impl DipTvSettings {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let likelihood = problem.likelihood()?;
        let mut prior = TotalVariation::new(problem.domain(), SMOOTHING)?;
        let objective = Objective {
            operator: &problem.operator,
            likelihood: likelihood.as_ref(),
            observation: &problem.observation,
            prior: &mut prior,
            weight: self.weight.against(problem)?,
        };
        let wanted = DipSettings::baguer_2020()
            .with_net(self.net())
            .with_steps(self.iterations)
            .with_rate(self.learning_rate)
            .with_curve_every((self.iterations / 100).max(1))
            .with_precision(self.precision.on(run.device));
        let mut dip = Dip::new(objective, wanted, run.seed.derive(&problem.name, 0))?;
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let log: String = format!("{} {}", run.row(), problem.name).chars().map(plain).collect();
        if let Some(events) = run.events("iteration", &log)? {
            dip = dip.with_events(events);
        }
        let (found, _) = run.iterate("iteration", self.iterations, dip)?;
        Ok(Estimate::of(found.image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }
}
