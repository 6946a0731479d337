//! Samples of the posterior by Langevin dynamics, with the diagnostics that say whether to trust them.
//!
//! The target has the density `exp(-E(x))` up to a constant, with the *sum*
//!
//! `E(x) = nll(F(x), y) + lambda R(x) = n J(x)`, `lambda = n w`,
//!
//! where [`Objective`](crate::Objective) minimises the *mean* `J(x) = 1/n nll(F(x), y) + w R(x)` over the `n` values of the
//! observation. One `Objective` therefore has its MAP estimate where its posterior has its mode, and a published weight of
//! `nll + lambda R` is converted as for MAP estimation: `smalti_priors::weight::from_likelihood_sum(lambda, n)`.
//!
//! ```
//! use smalti_base::{Result, Seed, Space};
//! use smalti_operators::{Gaussian, Identity};
//! use smalti_priors::Regularizer;
//! use smalti_solvers::langevin::{Langevin, LangevinSettings, overdispersed};
//! use smalti_solvers::{Iteration, Objective, RunControl, run};
//! use tch::{Kind, Tensor};
//! /// R(x) = mean x^2 / 2.
//! struct Small;
//! impl Regularizer for Small {
//!     fn value(&self, x: &Tensor) -> Result<f64> {
//!         Ok(x.square().mean(Kind::Double).double_value(&[]) / 2.0)
//!     }
//!     fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
//!         Ok((self.value(x)?, x / x.numel() as f64))
//!     }
//! }
//! let domain = Space::image(1, 3, 4);
//! let y = Seed::new(1).at("observation", 0).uniform(&domain.batch(1));
//! let problem = Objective {
//!     operator: &Identity::new(domain),
//!     likelihood: &Gaussian::new(0.1)?,
//!     observation: &y,
//!     prior: &mut Small,
//!     weight: 1.0,
//! };
//! let settings = LangevinSettings::default()
//!     .with_step_size(1e-3)
//!     .with_burn_in(200)
//!     .with_draws(200)
//!     .with_thin(2)
//!     .with_keep(10)
//!     .with_pixels([[0, 1, 2]]);
//! let starts = overdispersed(&y, 4, 0.1, Seed::new(2))?;
//! let steps = settings.steps();
//! let mut chains = Langevin::new(problem, &starts, settings, Seed::new(3))?;
//! run(&mut chains, steps, &RunControl::default())?;
//! let found = chains.finish()?;
//! assert_eq!(found.samples.size(), [4, 10, 1, 3, 4]);
//! assert!(found.variance.mean(Kind::Double).double_value(&[]) < 0.02);
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`settings`], [`sampler`], [`preconditioner`], [`samples`], [`diagnostics`], [`moments`].

pub mod diagnostics;
pub mod moments;
pub mod preconditioner;
mod record;
pub mod sampler;
pub mod samples;
pub mod settings;
mod target;

pub use moments::RunningMoments;
pub use preconditioner::Preconditioner;
pub use sampler::{Langevin, overdispersed};
pub use samples::{PosteriorSamples, Quantity, Trace};
pub use settings::{LangevinScheme, LangevinSettings};
