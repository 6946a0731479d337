//! MAP estimation with a smoothed total variation, by Adam: on images and volumes.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::map::map;
use crate::method::{Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Descent, SettingFault, Weight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use smalti_priors::TotalVariation;
use std::time::Instant;

/// Smoothed total variation.
#[derive(Debug)]
pub struct SmoothedTv;

/// Minimise `sum nll(A x, y) + lambda R(x)`, `R` the mean over pixels of the length of the gradient, smoothed as
/// [`TotalVariation`] says; over `x >= 0` where negative values make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct SmoothedTvSettings {
    /// Weight of the mean over pixels.
    #[garde(dive)]
    pub weight: Weight,
    /// Smoothing in grey values, above 0, at most 1.
    #[garde(range(min = 1e-9, max = 1.0))]
    pub smoothing: f64,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub descent: Descent,
}

impl Method for SmoothedTv {
    const KEY: &'static str = "smoothed_tv";
    const TITLE: &'static str = "smoothed TV";
    const PAPERS: &'static [&'static str] = &[
        "L. Rudin, S. Osher, E. Fatemi. Nonlinear total variation based noise removal algorithms. Physica D 60, 1992.",
        "R. Acar, C. R. Vogel. Analysis of bounded variation penalty methods for ill-posed problems. Inverse Problems 10(6), 1994.",
    ];
    const LEARNS: Learns = Learns::Nothing;
    const STARTS: bool = true;
    type Settings = SmoothedTvSettings;

    fn check(
        settings: &SmoothedTvSettings,
        instrument: &dyn Instrument,
        _domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())
    }

    fn prepare(settings: &SmoothedTvSettings, _from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        Prepared::ready(*settings)
    }
}

impl Reconstructor for SmoothedTvSettings {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let mut prior = TotalVariation::new(problem.domain(), self.smoothing)?;
        let image = map(problem, &mut prior, self.weight.against(&problem.noise)?, self.descent, run)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }
}
