//! Patches, patch densities and regularizers.
pub mod regularizer;
pub use regularizer::{PatchDensity, Regularizer};
