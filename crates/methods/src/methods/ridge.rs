//! CRR and WCRR: ridge regularizers with published weights, convex and weakly convex.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::{InverseProblem, ProblemKey};
use crate::run::Run;
use crate::settings::{SettingFault, TvWeight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use smalti_priors::{Convexity, Reflected, Regularizer, RidgeNetwork};
use smalti_solvers::{Objective, ProximalGradient};
use std::path::PathBuf;
use std::time::Instant;

/// A ridge regularizer: weakly convex where `WEAKLY`, else convex.
#[derive(Debug)]
pub struct Ridge<const WEAKLY: bool>;

/// The convex ridge regularizer.
pub type Crr = Ridge<false>;

/// The weakly convex ridge regularizer.
pub type Wcrr = Ridge<true>;

/// Minimise `1/2 sum (A x - y)^2 + lambda R(x)`, for photon counts `sum nll(A x, y) + lambda R(x)`, with `R` the sum over pixels of
/// [`smalti_priors::RidgeRegularizer`], by [`ProximalGradient`]; over `x >= 0` where negative values make no sense.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct RidgeSettings {
    /// The file of the weights, `CRR.pth` or `WCRR.pth`, relative to the folder of the data.
    #[garde(length(min = 1))]
    pub file: String,
    /// Weight of the sum over pixels.
    #[garde(dive)]
    pub weight: TvWeight,
    /// The noise level that potentials are taken for, a share of the range of values that is shown from black to white: above 0, at most
    /// 30/255. It belongs to the regularizer, whatever the noise of the observation.
    #[garde(range(min = 1e-6, max = 0.1176471))]
    pub sigma: f64,
    /// Pixels that images are continued by on all sides before they are filtered, by reflection, 0 to 100; 6 where not given, with which
    /// filters of 13 pixels have a place for every pixel.
    #[serde(default = "padding")]
    #[garde(range(min = 0, max = 100))]
    pub padding: i64,
    /// Iterations at most, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub iterations: u64,
    /// Stops where an iteration changes the image by less than this share of its norm; above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub tolerance: f64,
}

fn padding() -> i64 {
    6
}

impl<const WEAKLY: bool> Method for Ridge<WEAKLY> {
    const KEY: &'static str = if WEAKLY { "wcrr" } else { "crr" };
    const TITLE: &'static str = if WEAKLY { "WCRR" } else { "CRR" };
    const PAPERS: &'static [&'static str] = if WEAKLY {
        &[
            "A. Goujon, S. Neumayer, M. Unser. Learning weakly convex regularizers for convergent image-reconstruction algorithms. SIAM \
             Journal on Imaging Sciences 17(1), 2024.",
        ]
    } else {
        &[
            "A. Goujon, S. Neumayer, P. Bohra, S. Ducotterd, M. Unser. A neural-network-based convex regularizer for inverse problems. \
             IEEE Transactions on Computational Imaging 9, 2023.",
        ]
    };
    const LEARNS: Learns = Learns::Nothing;
    const STARTS: bool = true;
    type Settings = RidgeSettings;

    fn applies(instrument: &dyn Instrument) -> std::result::Result<(), String> {
        match instrument.key() {
            ProblemKey::Volume => Err("the filters are two-dimensional".into()),
            _ => Ok(()),
        }
    }

    fn check(
        settings: &RidgeSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        let shortest = domain.and_then(|domain| domain.axes().into_iter().min());
        match shortest {
            Some(side) if settings.padding >= side => {
                Err(("padding".into(), format!("not less than the {side} pixels of the images")))
            }
            _ => Ok(()),
        }
    }

    fn prepare(settings: &RidgeSettings, from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        let file = &settings.file;
        let path = from.folder.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
        if !path.exists() {
            let remedy = "`cargo xtask fetch-data --only weights` brings it";
            return Ok(Prepared::Missing(format!("{} is not there; {remedy}", path.display())));
        }
        let convexity = if WEAKLY { Convexity::Weakly } else { Convexity::Convex };
        let network = RidgeNetwork::load(&path, convexity)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let note = format!("weights of {name}, trained before this run");
        let learned = Learned { identity: network.hash()?, curve: None, note };
        Prepared::ready(WithNetwork { settings: settings.clone(), network, learned })
    }
}

struct WithNetwork {
    settings: RidgeSettings,
    network: RidgeNetwork,
    learned: Learned,
}

impl Reconstructor for WithNetwork {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let &RidgeSettings { weight, sigma, padding, iterations, tolerance, .. } = &self.settings;
        let width = problem.range.high - problem.range.low;
        let on = |domain| self.network.regularizer(domain, sigma, width);
        let mut prior: Box<dyn Regularizer> = match padding {
            0 => Box::new(on(problem.domain())?),
            _ => Box::new(Reflected::new(problem.domain(), padding, on)?),
        };
        let likelihood = problem.likelihood()?;
        let objective = Objective {
            operator: &problem.operator,
            likelihood: likelihood.as_ref(),
            observation: &problem.observation,
            prior: prior.as_mut(),
            weight: weight.against(problem)?,
        };
        let mut descent = ProximalGradient::new(objective, &problem.start.image, tolerance)?;
        if problem.range.nonnegative {
            descent = descent.nonnegative();
        }
        let (image, _) = run.iterate("descent", iterations, descent)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
