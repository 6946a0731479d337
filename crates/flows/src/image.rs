//! Layers on images `[B, C, H, W]`, fully convolutional, with or without a condition.
//!
//! Their gradients come from autograd, in the direction latent to data and layer by layer: see [`layer`].
//!
//! # Reading order
//! [`layer`], [`subnet`], [`coupling`], [`affine`], [`squeeze`], [`norm`].

pub mod affine;
pub mod coupling;
pub mod layer;
pub mod norm;
pub mod squeeze;
pub mod subnet;

pub use affine::ConditionalAffine;
pub use coupling::ConvCoupling;
pub use layer::{ImageLayer, PulledBack};
pub use norm::ImageNorm;
pub use squeeze::{Squeeze, Unsqueeze};
pub use subnet::{ConvNet, ConvShape};
