//! Kinds of inverse problems, one file each.

pub mod superresolution;
pub mod tomography;
