//! The section `volume` of a profile.

use crate::experiment::settings::Schedule;
use garde::Validate;
use serde::{Deserialize, Serialize};

/// Volumes and the settings of the methods that run on them.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Names of the evaluated volumes, at least one; each name is a seed.
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub volumes: Vec<String>,
    /// Side of the reference volume in voxels, 8 to 512.
    #[garde(range(min = 8, max = 512))]
    pub reference_size: i64,
    /// Size of the grains in voxels, 4 to 512.
    #[garde(range(min = 4.0, max = 512.0))]
    pub grain: f64,
    /// Least squares with total variation.
    #[garde(dive)]
    pub tv: Tv,
    /// MAP with the Wasserstein patch prior.
    #[garde(dive)]
    pub wpp: Wpp,
}

/// Total variation of volumes, smoothed: minimise `1/n nll(A x, y) + weight * R(x)` by Adam, both means.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Tv {
    /// Weight of the mean over voxels against the mean over the observation, above 0, at most 1e6.
    #[garde(range(min = 1e-12, max = 1e6))]
    pub weight: f64,
    /// Smoothing in grey values, above 0, at most 1.
    #[garde(range(min = 1e-9, max = 1.0))]
    pub smoothing: f64,
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
}

/// The Wasserstein patch prior of volumes: minimise `1/n nll(A x, y) + weight * R(x)` by Adam, both means, starting
/// from tricubic interpolation.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Wpp {
    /// Weight of the mean over scales and patches against the mean over the observation, above 0, at most 1e6.
    #[garde(range(min = 1e-12, max = 1e6))]
    pub weight: f64,
    /// Voxels around the volume that the operator does not see, which start from noise and are cut off at the end,
    /// 0 to 256.
    #[garde(range(min = 0, max = 256))]
    pub border: i64,
    /// Side of a cubic patch in voxels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Number of scales, 1 to 4.
    #[garde(range(min = 1, max = 4))]
    pub scales: usize,
    /// Reference patches on every scale, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub references: usize,
    /// Relative gap that the dual problem is solved to, above 0, at most 1.
    #[garde(range(min = 1e-9, max = 1.0))]
    pub gap: f64,
    /// Evaluations of the c-transform for one iteration at most, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub evaluations: usize,
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
}
