//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod closed_form;
mod data;
mod denoisers;
mod flows;
mod image_flows;
mod likelihoods;
mod operators;
mod patch_critic;
mod priors;
mod ridge;
mod stochastic;
mod views;
mod wasserstein;
