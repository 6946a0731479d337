//! Settings of the methods that reconstruct slices.

use crate::experiment::settings::{Converge, Patches, PrecisionChoice, Schedule};
use garde::Validate;
use serde::{Deserialize, Serialize};

/// The window on the ramp filter of filtered back-projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterChoice {
    /// None: the ramp itself.
    RamLak,
    /// A sinc.
    SheppLogan,
    /// Half a cosine.
    Cosine,
    /// Hamming.
    Hamming,
    /// Hann.
    Hann,
}

/// Poisson likelihood with total variation: minimise `sum nll(A x, y) + weight * TV(x)`, both sums, `x >= 0`, by a
/// primal-dual method.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Tv {
    /// Weight of the total variation against the negative log-likelihood, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub weight: f64,
    /// Rays that `weight` was chosen for, above 0: the data term is a sum over rays, so other scans get the equivalent
    /// weight.
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    pub rays: i64,
    /// Iterations at most, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub iterations: u64,
    /// Stops where the relative residuals of the method fall below this; above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub tolerance: f64,
}

/// The deep image prior with total variation: minimise `sum nll(A g(z), y) + weight * TV(g(z))`, both sums, over the
/// weights of a U-Net `g` by Adam; the image of the smallest loss is the result.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct DipTv {
    /// Channels on every scale of the U-Net, 1 to 1024.
    #[garde(range(min = 1, max = 1024))]
    pub channels: i64,
    /// Number of scales, 1 to 8.
    #[garde(range(min = 1, max = 8))]
    pub scales: usize,
    /// Weight of the total variation, above 0 to 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub weight: f64,
    /// Rays that `weight` was chosen for, as of [`Tv`].
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    pub rays: i64,
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// The dtype of convolutions.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

/// Where pairs to learn from come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairSource {
    /// Phantoms and the training slices, scanned here.
    #[default]
    Generated,
    /// The training part of LoDoPaB-CT, in the folder `lodopab` of the data.
    Lodopab,
}

/// Filtered back-projection corrected by a U-Net, which was trained on pairs by the mean squared error.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct FbpUnet {
    /// Channels on the scales, from the finest on.
    #[garde(length(min = 1, max = 8), inner(range(min = 1, max = 1024)))]
    pub channels: Vec<i64>,
    /// Where the pairs come from.
    #[serde(default)]
    #[garde(skip)]
    pub pairs: PairSource,
    /// Phantoms that are drawn, scanned and reconstructed beside the slices of `data.train`, 0 to 100,000.
    #[garde(range(max = 100_000))]
    pub synthetic_pairs: usize,
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: usize,
    /// Side of a crop in pixels, 16 to 4096.
    #[garde(range(min = 16, max = 4096))]
    pub crop: i64,
    /// Learning rate at the start, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// Learning rate at the end, which a cosine leads to, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub final_learning_rate: f64,
    /// The dtype of convolutions.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

/// Where an iteration begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the filtered back-projection.
    #[default]
    Fbp,
    /// At the result of total variation, which the profile must have; its seconds count.
    Tv,
}

/// MAP reconstruction with patchNR by Adam, in the published convention: minimise
/// `sum nll(A x, y) + lambda * mean_i NLL(P_i x)`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct CtMap {
    /// Weight of the mean over patches against the sum over rays, above 0, at most 1e12.
    #[garde(range(min = 1e-12, max = 1e12))]
    pub lambda: f64,
    /// Rays that `lambda` was chosen for; other scans get the equivalent weight.
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    pub rays: i64,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub adam: Map,
    /// Pixels that the slice is continued by on all sides, by reflection, before its patches are taken; 0 to 64.
    #[garde(range(min = 0, max = 64))]
    pub padding: i64,
    /// Which patches an iteration looks at.
    #[garde(dive)]
    pub patches: Patches,
}

/// Adam on the image.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Iterations, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
    /// Where the iteration begins.
    #[serde(default)]
    #[garde(skip)]
    pub start: Start,
}

/// MAP reconstruction with the Wasserstein patch prior by Adam: minimise
/// `sum nll(A x, y) + lambda * mean over scales of W_2^2`, cost `|p - q|^2`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct CtWpp {
    /// Weight of the distance against the sum over rays, above 0, at most 1e12.
    #[garde(range(min = 1e-12, max = 1e12))]
    pub lambda: f64,
    /// Rays that `lambda` was chosen for, as of [`CtMap`].
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    pub rays: i64,
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Distance of the slice's patches in pixels, 1 to 64: 1 takes all.
    #[garde(range(min = 1, max = 64))]
    pub stride: i64,
    /// Patches of the training slices on every scale, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub references: usize,
    /// Number of scales, 1 to 8.
    #[garde(range(min = 1, max = 8))]
    pub scales: usize,
    /// How the potentials are found in each iteration, from those of the last one.
    #[garde(dive)]
    pub dual: Converge,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub adam: Map,
}

/// MAP reconstruction with the Sinkhorn patch prior by Adam: minimise
/// `sum nll(A x, y) + lambda * mean over scales of the entropic distance`, cost `|p - q|^2 / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct CtSinkhorn {
    /// Weight of the distance against the sum over rays, above 0, at most 1e12.
    #[garde(range(min = 1e-12, max = 1e12))]
    pub lambda: f64,
    /// Rays that `lambda` was chosen for, as of [`CtMap`].
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    pub rays: i64,
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Patches of the training slices, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub references: usize,
    /// Patches of the slice in an iteration, at random, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub image_patches: usize,
    /// Length below which patches are the same: the entropic smoothing is its square. Above 0, at most 1.
    #[garde(range(min = 1e-6, max = 1.0))]
    pub blur: f64,
    /// Length beyond which reference patches need not be reached: their marginal is relaxed with its square. Above 0, at
    /// most 100; balanced where not given.
    #[garde(inner(range(min = 1e-6, max = 100.0)))]
    pub reach: Option<f64>,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub adam: Map,
}
