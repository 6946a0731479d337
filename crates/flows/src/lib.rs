//! Normalizing flows with log-determinants in both directions and analytic gradients.
//!
//! A flow `T` maps latents to data. Every layer is a [`Bijection`]; a [`Layer`] moreover knows its gradients
//! in closed form, so that densities, their gradients in the data and training need no autograd.
//!
//! ```
//! use smalti_base::Seed;
//! use smalti_flows::{Bijection, ClampForm, Coupling, SoftClamp};
//! let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6)?;
//! let layer = Coupling::new(4, &[32, 32], clamp, &mut Seed::new(1).at("weights", 0))?;
//! let x = Seed::new(1).at("data", 0).normal(&[3, 4]);
//! let latent = layer.to_latent(&x, None)?;
//! let back = layer.to_data(&latent.value, None)?;
//! assert!((&back.value - &x).abs().max().double_value(&[]) < 1e-5);
//! assert!((&back.log_det + &latent.log_det).abs().max().double_value(&[]) < 1e-5);
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`bijection`], [`precision`], [`tape`], [`layer`], [`mlp`], [`clamp`], [`coupling`],
//! [`permutation`], [`actnorm`], [`chain`], [`patchnr`], [`patchnr_file`]; for images [`image`], [`wppflow_shape`],
//! [`wppflow`], [`wppflow_gradient`], [`wppflow_file`], [`consistency`]; [`stochastic`].

pub mod actnorm;
pub mod bijection;
pub mod chain;
pub mod clamp;
pub mod consistency;
pub mod coupling;
pub mod gradients;
pub mod image;
pub mod layer;
pub mod mlp;
pub mod patchnr;
pub mod patchnr_file;
mod patchnr_kernel;
pub mod permutation;
pub mod precision;
pub mod prelude;
pub mod stochastic;
pub mod tape;
pub mod wppflow;
pub mod wppflow_file;
pub mod wppflow_gradient;
pub mod wppflow_shape;

pub use actnorm::ActNorm;
pub use bijection::{Bijection, Mapped};
pub use chain::Chain;
pub use clamp::{ClampForm, SoftClamp};
pub use consistency::DataConsistency;
pub use coupling::Coupling;
pub use gradients::Gradients;
pub use image::{
    ConditionalAffine, ConvCoupling, ConvNet, ConvShape, ImageLayer, ImageNorm, PulledBack, Squeeze,
    Unsqueeze,
};
pub use layer::Layer;
pub use patchnr::{PatchNr, PatchNrShape};
pub use permutation::Permutation;
pub use precision::Precision;
pub use tape::Tape;
pub use wppflow::WppFlow;
pub use wppflow_gradient::{FlowGradient, ForwardPass};
pub use wppflow_shape::WppFlowShape;
