//! Settings of the Wasserstein patch prior.

use super::Schedule;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_priors::wpp::DualMethod;

/// Settings of the Wasserstein patch prior, of the reconstruction with it, and of what its row says.
///
/// Scales follow each other by a 4 x 4 Gaussian of standard deviation 1 at every second pixel and weigh the same.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Wpp {
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Patches of the reference image on every scale, drawn once for a run, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub references: usize,
    /// Number of scales, 1 to 8.
    #[garde(range(min = 1, max = 8))]
    pub scales: usize,
    /// How the distance of a finished image is found out for the note of its row, on scale 0. It changes no image.
    #[garde(dive)]
    pub measure: Measure,
    /// How an image is reconstructed.
    #[garde(dive)]
    pub map: WppMap,
    /// How the authors of the prior do that, for the method `wpp_authors`.
    #[serde(default)]
    #[garde(dive)]
    pub authors: Option<WppMap>,
}

/// MAP reconstruction by Adam, in the published convention: minimise
/// `mean over L scales of W_2^2 + sum (A x - y)^2 / (lambda L)` with the cost `|p - q|^2`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct WppMap {
    /// Pixels around the image that the operator does not see, which start from noise and are cut off at the end,
    /// 0 to 1000.
    #[garde(range(min = 0, max = 1000))]
    pub border: i64,
    /// Weight of the distance against the sum over the observation, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub lambda: f64,
    /// Side in pixels of the square images that `lambda` was chosen for, 16 to 100,000; images of another size get
    /// the equivalent weight.
    #[garde(range(min = 16, max = 100_000))]
    pub lambda_size: i64,
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
    /// Distance of neighbouring patches of the image in pixels, on every scale; 1 takes all patches; 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub stride: i64,
    /// How the potentials are found in each iteration, from those of the last one.
    #[garde(dive)]
    pub dual: Dual,
}

/// Which patches of a finished image are compared with the reference patches, and how well.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Distance of neighbouring patches in pixels, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub stride: i64,
    /// As of [`Converge`].
    #[garde(range(min = 1e-12, max = 1.0))]
    pub gap: f64,
    /// As of [`Converge`].
    #[garde(range(min = 1, max = 1_000_000))]
    pub evaluations: usize,
}

impl From<Measure> for DualMethod {
    fn from(Measure { gap, evaluations, .. }: Measure) -> Self {
        Self::Converge { gap, evaluations }
    }
}

/// How potentials are found.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Dual {
    /// A number of supergradient steps, averaged: what the authors' code does, far below the distance.
    AveragedSgd(#[garde(dive)] AveragedSgd),
    /// To a certified gap.
    Converge(#[garde(dive)] Converge),
}

/// Averaged supergradient steps.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct AveragedSgd {
    /// Steps, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub steps: usize,
    /// Size of a step, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub step: f64,
}

/// A gap to reach, within limits.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Converge {
    /// Gap to reach, relative to the upper bound, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub gap: f64,
    /// Most c-transforms of all patches to spend, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub evaluations: usize,
}

impl From<Converge> for DualMethod {
    fn from(Converge { gap, evaluations }: Converge) -> Self {
        Self::Converge { gap, evaluations }
    }
}

impl From<Dual> for DualMethod {
    fn from(dual: Dual) -> Self {
        match dual {
            Dual::AveragedSgd(AveragedSgd { steps, step }) => Self::AveragedSgd { steps, step },
            Dual::Converge(goal) => goal.into(),
        }
    }
}
