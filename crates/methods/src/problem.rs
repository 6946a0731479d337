//! What anybody can state about an observation.

use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Space};
use smalti_operators::{Gaussian, Grid, Likelihood, LinearOperator, Poisson};
use tch::Tensor;

/// A kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKey {
    /// Superresolution of images.
    Superresolution,
    /// Images without their blur.
    Deblurring,
    /// What lies behind a hole of an image.
    Inpainting,
    /// Computed tomography of slices.
    Tomography,
    /// Superresolution of volumes.
    Volume,
}

/// An observation with all that is known about how it came about.
pub struct InverseProblem {
    /// Its name, which seeds and state files are derived from.
    pub name: String,
    /// The forward operator `A`.
    pub operator: Box<dyn LinearOperator>,
    /// Where observed pixels lie in the image, where the observation is an image.
    pub grid: Option<Grid>,
    /// What was added to `A x`, or how photons were counted.
    pub noise: Noise,
    /// The observation `y`, `[1, C', H', W']` or, of a volume, `[1, C', D', H', W']`.
    pub observation: Tensor,
    /// A simple estimate: where iterations start.
    pub start: Start,
    /// What is known about the values of the image.
    pub range: Range,
    /// The part of the image that is looked for, as first index and length of each spatial axis: all of it but for a hole in an image
    /// that is seen elsewhere.
    pub wanted: Vec<(i64, i64)>,
}

impl std::fmt::Debug for InverseProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InverseProblem")
            .field("name", &self.name)
            .field("noise", &self.noise)
            .field("observation", &self.observation)
            .finish_non_exhaustive()
    }
}

impl InverseProblem {
    /// The space of images `x`.
    pub fn domain(&self) -> Space {
        self.operator.domain()
    }

    /// The likelihood of the observation.
    ///
    /// # Errors
    /// Those of [`Noise::likelihood`].
    pub fn likelihood(&self) -> Result<Box<dyn Likelihood>> {
        self.noise.likelihood()
    }
}

/// The noise of an observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// `y = A x + sigma xi`, `xi` white with variance 1.
    Gaussian {
        /// Standard deviation, at least 0.
        sigma: f64,
    },
    /// Photon counts, Poisson distributed with mean `N0 exp(-mu_max A x)`; `y` is what they say about `A x`.
    Poisson(Poisson),
}

impl Noise {
    /// The standard deviation that scales objectives: that of Gaussian noise, or 1e-3 where there is none.
    pub fn scale(&self) -> f64 {
        match self {
            Self::Gaussian { sigma } if *sigma > 0.0 => *sigma,
            Self::Gaussian { .. } | Self::Poisson(_) => 1e-3,
        }
    }

    /// The likelihood `nll(A x, y)`. Observations without noise get that of [`Noise::scale`], which scales the objective. It
    /// changes no estimate where the weight is one against squared errors, which is converted with the same value; weights against
    /// a likelihood or its mean refer to that value.
    ///
    /// # Errors
    /// [`Error::Value`] for a standard deviation that is negative or not finite.
    pub fn likelihood(&self) -> Result<Box<dyn Likelihood>> {
        Ok(match self {
            Self::Gaussian { sigma } if !(*sigma >= 0.0 && sigma.is_finite()) => {
                return Err(Error::value("standard deviation of the noise", "a number >= 0", sigma));
            }
            Self::Gaussian { .. } => Box::new(Gaussian::new(self.scale())?),
            Self::Poisson(likelihood) => Box::new(*likelihood),
        })
    }
}

/// A simple estimate of an image.
#[derive(Debug)]
pub struct Start {
    /// The estimate, an element of the operator's domain.
    pub image: Tensor,
    /// How it was made.
    pub kind: StartKind,
    /// Wall-clock seconds that it took.
    pub seconds: f64,
}

/// How a simple estimate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartKind {
    /// Cubic interpolation at the operator's pixel centres.
    Interpolation,
    /// Filtered back-projection.
    FilteredBackProjection,
    /// A smooth surface over what was not seen.
    FillIn,
    /// By another method.
    Method,
}

/// What is known about the values of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The value that is shown as black.
    pub low: f64,
    /// The value that is shown as white.
    pub high: f64,
    /// Whether negative values make no sense, as for attenuations; methods then keep to `x >= 0`.
    pub nonnegative: bool,
}

impl Range {
    /// Grey values in `[0, 1]`, whose noise may lie beyond.
    pub const UNIT: Self = Self { low: 0.0, high: 1.0, nonnegative: false };
}

/// All of an image.
pub(crate) fn whole(domain: Space) -> Vec<(i64, i64)> {
    domain.axes().into_iter().map(|length| (0, length)).collect()
}
