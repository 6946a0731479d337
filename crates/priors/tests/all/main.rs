//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod algebra;
mod gaussian_mixture;
mod patch_prior;
mod patches;
mod reflected;
mod sinkhorn;
mod total_variation;
mod weight;
mod wpp;
