//! Reconstruction methods, one file each.

pub mod acnn;
pub mod alr;
pub mod bicubic;
pub mod dip_tv;
pub mod dpir;
pub mod epll;
pub mod fbp;
pub mod fbp_unet;
pub mod fill_in;
pub mod langevin;
pub mod one_image_net;
pub mod patchnr;
pub mod ridge;
pub mod sinkhorn;
pub mod smoothed_tv;
pub mod tv;
pub mod wpp;
pub mod wppflow;
pub mod wppnet;
pub mod zssr;

use garde::Validate;
use serde::{Deserialize, Serialize};

/// The settings of a method that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
