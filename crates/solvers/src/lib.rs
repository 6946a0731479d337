//! The one run loop, MAP estimation, training and comparison methods.
//!
//! Everything that goes on in steps is an [`Iteration`]; [`run`](run::run) drives it with progress, logs, a stop
//! at NaN, cancellation and checkpoints.
//!
//! ```
//! use smalti_base::{Seed, Space};
//! use smalti_operators::{Boundary, Convolution, Gaussian, Operator};
//! use smalti_priors::TotalVariation;
//! use smalti_solvers::{AdamSettings, Budget, Iteration, Map, Observer, Problem, Schedule, run};
//! let domain = Space::image(1, 24, 32);
//! let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic)?;
//! let truth = Seed::new(1).at("image", 0).uniform(&domain.batch(1));
//! let observation = operator.apply(&truth)?;
//! let mut prior = TotalVariation::new(domain, 1e-3)?;
//! let problem = Problem {
//!     operator: &operator,
//!     likelihood: &Gaussian::new(0.01)?,
//!     observation: &observation,
//!     prior: &mut prior,
//!     weight: 1.0,
//! };
//! let settings = AdamSettings { steps: 20, rate: 0.02, schedule: Schedule::Constant };
//! let mut map = Map::new(problem, &truth.zeros_like(), settings)?;
//! let summary = run(&mut map, Budget::steps(20), &Observer::default())?;
//! assert_eq!(summary.steps, 20);
//! let x = map.finish()?;
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`mod@run`], [`schedule`], [`adam`], [`map`], [`margin`], [`tv`], [`patchnr_training`],
//! [`gaussian_mixture_training`],
//! [`acnet`], [`wppnet_training`], [`wppflow_training`], [`flow_residual()`], [`unet`], [`dip`], [`pairs`], [`unet_training`], [`langevin`],
//! [`posterior_energy`], [`snf_training`],
//! [`mod@calibration`], [`distances`].

pub mod acnet;
pub mod adam;
pub mod calibration;
mod check;
mod convolution;
mod crops;
pub mod dip;
pub mod distances;
mod flow_residual;
mod fused;
pub mod gaussian_mixture_training;
pub mod langevin;
pub mod map;
pub mod margin;
pub mod pairs;
pub mod patchnr_training;
pub mod posterior_energy;
pub mod run;
pub mod schedule;
pub mod snf_training;
pub mod tv;
pub mod unet;
pub mod unet_training;
pub mod wppflow_training;
pub mod wppnet_training;

pub use acnet::AcNet;
pub use adam::Adam;
pub use calibration::{Calibration, Coverage, calibration};
pub use dip::{Dip, DipPoint, DipSettings, Reconstruction};
pub use flow_residual::flow_residual;
pub use gaussian_mixture_training::{
    GaussianMixtureSettings, GaussianMixtureTraining, TrainedGaussianMixture,
};
pub use langevin::{Langevin, LangevinSettings, Method, PosteriorSamples};
pub use map::{AdamSettings, Map, Problem};
pub use margin::Margin;
pub use pairs::{Pair, Pairs};
pub use patchnr_training::{CurvePoint, PatchNrTraining, Trained, TrainingSettings};
pub use posterior_energy::PosteriorEnergy;
pub use run::{Budget, Cancel, Ended, Iteration, Keep, Observer, Step, Summary, run};
pub use schedule::Schedule;
pub use snf_training::{SnfTraining, SnfTrainingSettings, TrainedSnf};
pub use tv::TvPrimalDual;
pub use unet::{Statistics, UNet, UNetSettings};
pub use unet_training::{TrainedUNet, UNetTraining, UNetTrainingSettings};
pub use wppflow_training::{TrainedWppFlow, WppFlowSettings, WppFlowTraining};
pub use wppnet_training::{TrainedWppNet, WppNetData, WppNetSettings, WppNetTraining};
