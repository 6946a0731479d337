//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod bad_input;
mod cases;
mod command;
mod ct;
mod data_lookup;
mod experiment_file;
mod guide;
mod interrupted;
mod langevin;
mod outputs;
mod samplers;
mod smoke;
mod sweep;
mod volume;
mod wpp;
mod wppflow;
mod wppnets;
