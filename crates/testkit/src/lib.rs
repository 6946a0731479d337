//! Laws that every operator, likelihood, flow and prior must obey, and broken twins that they must reject.
//!
//! A *law* is a function `fn law(subject, &dyn Trait, ...) -> Result<(), Violation>`: it draws seeded float64
//! inputs, measures one number and compares it with a tolerance. The [`registry`] lists an instance of
//! everything there is; the tests of this crate hold every law over every instance. Every law also has a
//! [`broken`] twin: the same thing with one mistake in it, which the law must reject, because a law that never
//! fails proves nothing; and [`rejected`] for that mistake, not because something else fails.
//!
//! ```
//! use smalti_base::{Seed, Space};
//! use smalti_operators::Gradient;
//! use smalti_testkit::{broken, laws, rejected};
//!
//! let gradient = Gradient::new(Space::image(2, 6, 8));
//! laws::adjoint("gradient", &gradient, Seed::new(1)).unwrap();
//!
//! let twin = broken::ScaledAdjoint(Box::new(gradient));
//! let law = laws::adjoint("gradient, adjoint x 1.01", &twin, Seed::new(1));
//! rejected(law, "the adjoint", "fitted scale 0.990099", 1e-4..1e-2);
//! ```
//!
//! To add an instance, add a line to its function in [`registry`]; to add a kind of thing, add a file there, a
//! test that walks over it, and a broken twin for each of its laws.
//!
//! [`measured`] finds the measured data for tests that use them.
//!
//! Reading order: [`violation`], [`laws`], [`broken`], [`registry`], [`data`].

pub mod broken;
pub mod data;
pub mod laws;
pub mod registry;
pub mod violation;

pub use data::measured;
pub use registry::Named;
pub use violation::{Violation, rejected};
