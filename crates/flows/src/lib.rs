//! Normalizing flows with log-determinants in both directions and analytic gradients.
pub mod bijection;
pub use bijection::{Bijection, Mapped};
