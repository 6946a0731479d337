//! What every other crate of Smalti stands on.
//!
//! Images are float tensors `[B, C, H, W]` (batch, channel, row, column) with values nominally in `[0, 1]`.
//! Everything random is drawn from [`Seed`], never from a process-wide generator; everything that can go
//! wrong because of data or users is an [`Error`] that says what was expected, what came and what to do.
//!
//! ```
//! use smalti_base::{Seed, Space};
//! let space = Space::image(1, 6, 8);
//! let noise = Seed::new(7).at("noise", 0).normal(&space.batch(2));
//! assert_eq!(noise.size(), [2, 1, 6, 8]);
//! space.check("noise", &noise).unwrap();
//! ```
//!
//! Reading order: [`error`], [`space`], [`seed`], [`device`], [`parallel`], [`slices`], [`files`], [`lock`], [`value_range`],
//! [`image_file`], [`hdf5_file`], `lodopab`, [`metrics`], [`lpips`], [`checkpoint`], [`pytorch_file`], [`npy_file`],
//! [`npz_file`], [`matlab_file`], [`memory_format`], `tensorboard`.
//!
//! # Features
//! None is on by default; a file of a format whose feature is off is refused by an [`Error::Feature`].
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `hdf5` | images in HDF5 files ([`hdf5_file`]), the files of LoDoPaB-CT (`lodopab`), networks of MatConvNet ([`matlab_file`]) |
//! | `tiff` | TIFF files in [`image_file`] |
//! | `tensorboard` | logs for TensorBoard (`tensorboard`) |

pub mod checkpoint;
pub mod device;
pub mod error;
pub mod files;
pub mod hdf5_file;
pub mod image_file;
pub mod lock;
#[cfg(feature = "hdf5")]
pub mod lodopab;
pub mod lpips;
pub mod matlab_file;
pub mod memory_format;
pub mod metrics;
pub mod npy_file;
pub mod npz_file;
pub mod parallel;
pub mod pytorch_file;
pub mod seed;
pub mod slices;
pub mod space;
#[cfg(feature = "tensorboard")]
pub mod tensorboard;
pub mod value_range;

pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use seed::Seed;
pub use space::Space;
pub use value_range::ValueRange;
