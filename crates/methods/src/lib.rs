//! Reconstruction methods and inverse problems as objects: every method on every problem that it makes sense for.
//!
//! An [`Instrument`] simulates observations and poses [`InverseProblem`]s; a [`Method`] learns from a [`TrainingData`] and becomes a
//! [`Reconstructor`], which makes an [`Estimate`] of any such problem. Methods and problems are listed by name in
//! [`registry::METHODS`] and [`registry::PROBLEMS`]; each is one file, its settings first. A [`Run`] carries seed, device and a
//! request to stop, and keeps the state of what is unfinished.
//!
//! ```
//! use smalti_methods::{prelude::*, synthetic};
//!
//! fn main() -> Result<()> {
//!     let settings = "kernel_size = 4\nsigma = 1.0\nstride = 2\nform = 'wrap-after'\nnoise = 0.01\ncrop = 2";
//!     let camera = ProblemEntry::configured("superresolution", settings)?.instrument(None)?;
//!     let truth = synthetic::microstructure(32, 32, Seed::new(1), 0)?;
//!     let observation = camera.observe(&truth, Seed::new(2))?;
//!
//!     let settings = "weight = { half_squared_errors = 5e-4 }\niterations = 50\ntolerance = 1e-4";
//!     let tv = MethodEntry::configured("tv", settings)?;
//!     let run = Run::new(Seed::new(3), Device::Cpu);
//!     let nothing = TrainingData::none(camera.as_ref());
//!     let Prepared::Ready(tv) = tv.prepare(&nothing, &run)? else { return Ok(()) };
//!     let problem = camera.pose("slice", &observation, None)?;
//!     let estimate = tv.reconstruct(&problem, &run)?;
//!     println!("PSNR {:.2} dB", camera.score(&estimate.image, &truth)?["psnr"]);
//!     Ok(())
//! }
//! ```
//!
//! Reading order: [`problem`], [`instrument`], [`estimate`], [`method`], [`settings`], [`run`], [`registry`], then one of
//! [`problems`] and one of [`methods`]. [`synthetic`] draws images where none were measured.

pub mod estimate;
pub mod instrument;
mod map;
pub mod method;
pub mod methods;
mod pairs;
pub mod patch_flow;
pub mod prelude;
pub mod problem;
pub mod problems;
mod reference_files;
pub mod registry;
pub mod run;
pub mod settings;
mod start_method;
mod supervised;
pub mod synthetic;
mod trained;
pub mod wpp_training;

pub use estimate::Estimate;
pub use instrument::{Downsampling, Instrument, ObservedImage, Problem, Region, Role, TrainingData};
pub use method::{Learned, Learns, Method, Prepared, Reconstructor};
pub use problem::{InverseProblem, Noise, ProblemKey, Range, Start, StartKind};
pub use registry::{ConfiguredMethod, ConfiguredProblem, METHODS, MethodEntry, PROBLEMS, ProblemEntry};
pub use run::{Persist, Run};
