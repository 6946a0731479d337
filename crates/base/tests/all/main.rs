//! Tests of the crate from outside, in one program: linking libtorch takes longer than most of them.

mod checkpoint;
mod features;
mod files;
#[cfg(feature = "hdf5")]
mod hdf5_file;
#[cfg(feature = "tiff")]
mod image_file;
mod lock;
#[cfg(feature = "hdf5")]
mod lodopab;
#[cfg(feature = "hdf5")]
mod lpips;
#[cfg(feature = "hdf5")]
mod matlab_file;
mod metrics;
mod other_arrays;
#[cfg(feature = "hdf5")]
mod other_hdf5;
#[cfg(feature = "tiff")]
mod other_images;
mod seed;
#[cfg(feature = "tensorboard")]
mod tensorboard;
