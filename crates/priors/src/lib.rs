//! Patches, patch densities and regularizers.
//!
//! A [`PatchDensity`] scores patches one by one; [`PatchPrior`] makes a [`Regularizer`] of it, the mean over an
//! image's patches. [`WassersteinPatchPrior`] scores the whole distribution of the patches,
//! [`SinkhornPatchPrior`] does so with entropic transport. All regularizers are means, so that their weights do not depend on the size of the image.
//!
//! ```
//! use smalti_flows::{PatchNr, PatchNrShape};
//! use smalti_priors::prelude::*;
//! let shape = PatchNrShape::default().with_patch_size(4).with_blocks(2).with_hidden(16);
//! let flow = PatchNr::new(shape, Seed::new(1))?;
//! let domain = Space::image(1, 20, 24);
//! let mut prior = PatchPrior::new(flow, domain, Sampling::Grid(4), Seed::new(2))?;
//! let x = Seed::new(3).at("image", 0).uniform(&domain.batch(1));
//! prior.refresh(7)?;
//! let (value, grad) = prior.value_and_grad(&x)?;
//! assert_eq!(grad.size(), x.size());
//! assert_eq!(value, prior.value(&x)?);
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`regularizer`], [`patches`], [`patch_prior`], [`flow_density`], [`gaussian_mixture`],
//! [`patch_critic`], [`total_variation`], [`ridge`], [`wpp`], [`sinkhorn`], [`reflected`], [`denoiser`], [`algebra`], [`sum`], [`scaled`], [`weight`].

pub mod algebra;
pub mod denoiser;
pub mod flow_density;
pub mod gaussian_mixture;
pub mod patch_critic;
pub mod patch_prior;
pub mod patches;
pub mod prelude;
pub mod reflected;
pub mod regularizer;
pub mod ridge;
pub mod scaled;
pub mod sinkhorn;
pub mod sum;
pub mod total_variation;
pub mod weight;
mod windows;
pub mod wpp;

pub use algebra::RegularizerAlgebra;
pub use denoiser::Denoiser;
pub use denoiser::dncnn::DnCnn;
pub use denoiser::drunet::DruNet;
pub use denoiser::ffdnet::FfdNet;
pub use gaussian_mixture::GaussianMixture;
pub use patch_critic::{PatchCritic, PatchCriticShape};
pub use patch_prior::{PatchPrior, Sampling};
pub use patches::Patches;
pub use reflected::Reflected;
pub use regularizer::{PatchDensity, Regularizer};
pub use ridge::{Convexity, RidgeNetwork, RidgeRegularizer};
pub use scaled::ScaledRegularizer;
pub use sinkhorn::{SinkhornPatchPrior, SinkhornSettings};
pub use sum::RegularizerSum;
pub use total_variation::TotalVariation;
pub use wpp::{WassersteinPatchPrior, WppSettings};
