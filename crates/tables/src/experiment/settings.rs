//! The sections of an experiment file that are used as they are written.
//!
//! Ranges are checked when the file is read: inside of an [`Experiment`](super::Experiment) every value here
//! lies in the range that its documentation names.

mod wpp;

pub use wpp::{AveragedSgd, Converge, Dual, Measure, Wpp, WppMap};

use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_priors::Sampling;

/// Which images a prior is learned from, relative to the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The reference image that patches are learned from.
    #[garde(length(min = 1))]
    pub reference: String,
    /// The image whose patches measure the training.
    #[garde(length(min = 1))]
    pub validation: String,
}

/// How the image is extended where the blur kernel looks beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Periodically, on the right and at the bottom only.
    WrapAfter,
    /// Not at all: only where the whole kernel lies within the image.
    Valid,
    /// By reflection on all sides.
    Reflect,
}

/// The forward operator (Gaussian blur, then every `stride`-th pixel) and its noise.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Side of the kernel in pixels, 1 to 63.
    #[garde(range(min = 1, max = 63))]
    pub kernel_size: i64,
    /// Standard deviation of the Gaussian in pixels, 0.05 to 30.
    #[garde(range(min = 0.05, max = 30.0))]
    pub sigma: f64,
    /// Distance of observed pixels in image pixels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub stride: i64,
    /// What lies beyond the image.
    #[garde(skip)]
    pub form: Form,
    /// Standard deviation of the white Gaussian noise, 0 to 1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub noise: f64,
}

/// Settings of L2-TV: minimise `1/2 |A x - y|^2 + weight * TV(x)`, both sums, by a primal-dual method.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct L2Tv {
    /// Weight of the total variation against half of the squared residual, above 0, at most 1000.
    #[garde(range(min = 1e-12, max = 1000.0))]
    pub weight: f64,
    /// Iterations at most, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub iterations: u64,
    /// Stops where the relative residuals of the method fall below this; above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub tolerance: f64,
}

/// Settings of patchNR: the flow, its training and the reconstruction with it, `M`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct PatchNr<M: Validate<Context = ()> = Map> {
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Number of coupling blocks, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub blocks: i64,
    /// Width of the subnets, 1 to 4096.
    #[garde(range(min = 1, max = 4096))]
    pub hidden: i64,
    /// Bound of the log-scale of a coupling, 0.1 to 10.
    #[garde(range(min = 0.1, max = 10.0))]
    pub clamp: f64,
    /// Which function of a subnet's output the log-scale is.
    #[serde(default)]
    #[garde(skip)]
    pub clamp_form: ClampChoice,
    /// A trained flow to use instead of training one: a `.safetensors` file of this program, or a `.pth` state
    /// dict as FrEIA names it (its clamp is the one given here). Relative to the current folder.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub weights: Option<String>,
    /// The dtype of matrix products between hidden layers.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
    /// How the flow is trained.
    #[garde(dive)]
    pub training: Training,
    /// How an image is reconstructed with it.
    #[garde(dive)]
    pub map: M,
    /// How its authors do that, for the method `patchnr_authors`.
    #[serde(default = "Option::default")]
    #[garde(dive)]
    pub authors: Option<M>,
}

/// The form of the soft clamp, see `smalti_flows::ClampForm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClampChoice {
    /// `s = 0.636 clamp atan(r)`, FrEIA 0.2 from PyPI.
    #[default]
    AlphaAtan,
    /// `s = 0.636 clamp atan(r / clamp)`, another build of it.
    AtanOverAlpha,
}

/// The dtype of matrix products between hidden layers; everything else is float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionChoice {
    /// float32.
    #[default]
    Float32,
    /// bfloat16 with float32 accumulation.
    Bfloat16,
    /// bfloat16 where the device is known to be faster in it ([`smalti_flows::Precision::fastest`]), else float32.
    Auto,
}

/// How a learning rate goes on over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to zero as half a cosine.
    Cosine,
}

/// Training of a flow on patches of the reference image, by Adam on the mean negative log-likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Patches in a step, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub batch: i64,
    /// Learning rate after the warm-up, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
    /// Steps over which the learning rate grows linearly from zero before it follows the cosine; 0 where not
    /// given.
    #[serde(default)]
    #[garde(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// The validation loss is measured every so many steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub validation_every: u64,
    /// Stops after so many measurements of the validation loss without an improvement, where given; 1 to 1 million.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub early_stop_after: Option<u64>,
}

impl Training {
    /// What is wrong with the warm-up, under the key `warmup_steps`.
    pub(crate) fn misfit(&self) -> Option<String> {
        match (self.warmup_steps, self.schedule) {
            (0, _) => None,
            (_, Schedule::Constant) => Some("only the cosine schedule has a warm-up".into()),
            (warmup, _) if warmup >= self.steps => Some(format!("not less than all {} steps", self.steps)),
            _ => None,
        }
    }
}

/// MAP reconstruction by Adam, in the published convention:
/// minimise `sum (A x - y)^2 + lambda * mean_i NLL(P_i x)`, without a factor 1/2.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Weight of the mean over patches against the sum over the observation, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub lambda: f64,
    /// Side in pixels of the square images that `lambda` was chosen for, 16 to 100,000: as it weighs a mean
    /// against a sum, its effect depends on the size; images of another size get the equivalent weight.
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
    /// Which patches an iteration looks at.
    #[garde(dive)]
    pub patches: Patches,
}

/// Which patches of the image an iteration looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Patches {
    /// All of them.
    All,
    /// So many, drawn afresh in every iteration, 1 to 100 million.
    Random(#[garde(range(min = 1, max = 100_000_000))] i64),
    /// Those on a grid of this spacing in pixels; iterations go through its offsets in random order; 1 to 64.
    Grid(#[garde(range(min = 1, max = 64))] i64),
}

impl From<Patches> for Sampling {
    fn from(patches: Patches) -> Self {
        match patches {
            Patches::All => Self::All,
            Patches::Random(n) => Self::Random(n.max(1) as usize),
            Patches::Grid(stride) => Self::Grid(stride),
        }
    }
}
