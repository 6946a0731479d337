//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod checkpoint;
mod files;
mod hdf5_file;
mod image_file;
mod lodopab;
mod metrics;
mod seed;
mod tensorboard;
