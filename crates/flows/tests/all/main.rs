//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod consistency;
mod freia;
mod freia_images;
mod patchnr;
mod patchnr_kernel;
mod scatterometry;
mod stochastic;
mod wppflow;
