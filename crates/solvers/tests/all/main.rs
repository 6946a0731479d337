//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod acnet;
mod adam;
mod diagnostics;
mod dip;
mod gaussian_mixture;
mod half_acquisition;
mod langevin;
mod langevin_wpp;
mod map;
mod margin;
mod measures;
mod patchnr_training;
mod pieces;
mod plug_and_play;
mod resume;
mod resume_networks;
mod run;
mod snf_training;
mod stripes;
mod supervised_training;
mod tv;
mod tv_poisson;
mod unet;
mod volumes;
mod wppflow_training;
mod wppnet_training;
