//! Total variation: a convex estimate by a primal-dual method.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learns, Method, Prepared, Reconstructor};
use crate::problem::{InverseProblem, Noise};
use crate::run::Run;
use crate::settings::{SettingFault, TvWeight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use smalti_solvers::TvPrimalDual;
use std::time::Instant;

/// Total variation.
#[derive(Debug)]
pub struct Tv;

/// Minimise `nll(A x, y) + lambda sum |grad x|`, for Gaussian noise `1/2 sum (A x - y)^2 + alpha sum |grad x|`; over `x >= 0`
/// where negative values make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct TvSettings {
    /// Weight of the total variation.
    #[garde(dive)]
    pub weight: TvWeight,
    /// Iterations at most, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub iterations: u64,
    /// Stops where the relative residuals of the method fall below this; above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub tolerance: f64,
}

impl Method for Tv {
    const KEY: &'static str = "tv";
    const TITLE: &'static str = "TV";
    const PAPERS: &'static [&'static str] = &[
        "L. Rudin, S. Osher, E. Fatemi. Nonlinear total variation based noise removal algorithms. Physica D 60, 1992.",
        "A. Chambolle, T. Pock. A first-order primal-dual algorithm for convex problems with applications to imaging. Journal \
         of Mathematical Imaging and Vision 40, 2011.",
    ];
    const LEARNS: Learns = Learns::Nothing;
    const STARTS: bool = true;
    type Settings = TvSettings;

    fn check(
        settings: &TvSettings,
        instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())
    }

    fn prepare(settings: &TvSettings, _from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        Prepared::ready(*settings)
    }
}

impl Reconstructor for TvSettings {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let InverseProblem { operator, observation, start, .. } = problem;
        let mut tv = match problem.noise {
            Noise::Gaussian { .. } => {
                let alpha = self.weight.half_squared_errors(problem)?;
                TvPrimalDual::new(operator, observation, alpha, self.tolerance, &start.image)?
            }
            Noise::Poisson(noise) => {
                let weight = self.weight.against(problem)?;
                TvPrimalDual::poisson(operator, noise, observation, weight, self.tolerance, &start.image)?
            }
        };
        if problem.range.nonnegative {
            tv = tv.nonnegative();
        }
        let (image, _) = run.iterate("iteration", self.iterations, tv)?;
        Ok(Estimate::of(image, start.seconds + clock.elapsed().as_secs_f64()))
    }
}
