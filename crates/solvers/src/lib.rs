//! The one run loop, MAP estimation, training and comparison methods.
//!
//! Everything that goes on in steps is an [`Iteration`]; [`run`](run::run) drives it with logs, a stop
//! at NaN, cancellation and checkpoints; with the feature `progress` also with a progress bar.
//!
//! ```
//! use smalti_solvers::prelude::*;
//! let domain = Space::image(1, 24, 32);
//! let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic)?;
//! let truth = Seed::new(1).at("image", 0).uniform(&domain.batch(1));
//! let observation = operator.apply(&truth)?;
//! let mut prior = TotalVariation::new(domain, 1e-3)?;
//! let problem = Objective {
//!     operator: &operator,
//!     likelihood: &Gaussian::new(0.01)?,
//!     observation: &observation,
//!     prior: &mut prior,
//!     weight: 1.0,
//! };
//! let settings = AdamSettings::constant(20, 0.02);
//! let mut map = Map::new(problem, &truth.zeros_like(), settings)?;
//! let summary = run(&mut map, 20, &RunControl::default())?;
//! assert_eq!(summary.steps, 20);
//! let x = map.finish()?;
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`mod@run`], [`schedule`], [`rate_drop`], [`adam`], [`training_history`], [`map`], [`margin`], [`proximal_gradient`], [`tv`], [`patchnr_training`],
//! [`gaussian_mixture_training`], [`critic_training`], [`plug_and_play`],
//! [`acnet`], [`wpp_training`], [`flow_residual()`], [`unet`], [`dip`], [`dataset`], [`supervised_training`], [`residual_net`], [`langevin`],
//! [`posterior_energy`], [`snf_training`],
//! [`mod@calibration`], [`distances`].

pub mod acnet;
pub mod adam;
pub mod calibration;
mod check;
pub mod critic_training;
mod crops;
pub mod dataset;
pub mod dip;
pub mod distances;
mod flow_residual;
mod fused_adam;
pub mod gaussian_mixture_training;
pub mod langevin;
pub mod map;
pub mod margin;
pub mod patchnr_training;
pub mod plug_and_play;
pub mod posterior_energy;
pub mod prelude;
mod progress;
pub mod proximal_gradient;
pub mod rate_drop;
pub mod residual_net;
pub mod run;
pub mod schedule;
pub mod snf_training;
pub mod supervised_training;
pub mod training_history;
pub mod tv;
pub mod unet;
pub mod wpp_training;

pub use acnet::AcNet;
pub use adam::{Adam, AdamSettings};
pub use calibration::{Calibration, Coverage, calibration};
pub use critic_training::{CriticTraining, CriticTrainingSettings, TrainedCritic, gradient_penalty};
pub use dataset::{Pair, PairedDataset};
pub use dip::{Dip, DipPoint, DipSettings, Reconstruction};
pub use flow_residual::flow_residual;
pub use gaussian_mixture_training::{
    GaussianMixtureSettings, GaussianMixtureTraining, TrainedGaussianMixture,
};
pub use langevin::{Langevin, LangevinScheme, LangevinSettings, PosteriorSamples};
pub use map::{Map, Objective};
pub use margin::Margin;
pub use patchnr_training::{PatchNrTraining, PatchNrTrainingSettings, TrainedPatchNr};
pub use plug_and_play::{PlugAndPlay, PlugAndPlaySettings};
pub use posterior_energy::PosteriorEnergy;
pub use proximal_gradient::ProximalGradient;
pub use rate_drop::RateRule;
pub use residual_net::{ResidualNet, ResidualNetSettings};
pub use run::{Cancel, CheckpointPolicy, Iteration, RunControl, RunSummary, Step, StopReason, run};
pub use schedule::Schedule;
pub use snf_training::{SnfTraining, SnfTrainingSettings, TrainedSnf};
pub use supervised_training::{
    ImageNetwork, PixelLoss, SupervisedTraining, SupervisedTrainingSettings, TrainedNetwork,
};
pub use training_history::CurvePoint;
pub use tv::TvPrimalDual;
pub use unet::{Statistics, UNet, UNetSettings};
pub use wpp_training::generator::Generator;
pub use wpp_training::wppflow::WppFlowGenerator;
pub use wpp_training::wppnet::WppNetGenerator;
pub use wpp_training::{TrainedGenerator, WppTraining, WppTrainingData, WppTrainingSettings};
