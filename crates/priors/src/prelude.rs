//! What most programs with priors begin with: `use smalti_priors::prelude::*;`.

pub use crate::{
    GaussianMixture, PatchDensity, PatchPrior, Regularizer, RegularizerAlgebra, Sampling, TotalVariation,
    WassersteinPatchPrior, WppSettings,
};
pub use smalti_base::{Error, Result, Seed, Space};
pub use tch::{Device, Kind, Tensor};
