//! Kinds of inverse problems, one file each.

mod camera;
pub mod deblurring;
pub mod inpainting;
pub mod superresolution;
pub mod tomography;
pub mod volume;
