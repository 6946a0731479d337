//! Images in HDF5 files: crops for training, and pairs for validation.
//!
//! Two layouts are read, both as one batch:
//!
//! | layout | how to ask for it |
//! | --- | --- |
//! | datasets in the root group, one image or a stack of them in each | no name |
//! | groups in the root group, each with datasets of the same names (such as `gt` and `obs`) | by that name |
//!
//! Datasets may be contiguous, compact or chunked, compressed by gzip (deflate), SZIP, LZ4, n-bit or scale-offset, with shuffle and
//! checksums; other filters are refused by name. External links are followed to files in the folder of the file. What a dataset announces
//! is compared with the length of the file and with the memory that there is before any is taken.
//!
//! Without the feature `hdf5` every file is refused.

#[cfg(feature = "hdf5")]
mod crops;
mod listed;
#[cfg(feature = "hdf5")]
pub(crate) mod open;

use crate::error::Result;
use crate::value_range::{Stored, ValueRange};
pub use listed::Listed;
use std::path::Path;
use tch::Tensor;

/// Loads images of one size: those of the datasets called `name`, in the root group or in its groups; where `name` is
/// `None`, those of all datasets in the root group. Values by type: [`load_crops_in`] with [`ValueRange::ByType`].
///
/// # Shapes
/// `[N, 1, H, W]`, float32, on the CPU.
///
/// # Errors
/// Those of [`load_crops_in`].
pub fn load_crops(path: &Path, name: Option<&str>) -> Result<Tensor> {
    load_crops_in(path, name, ValueRange::ByType)
}

/// The images of [`load_crops`], in the range of values asked for; by data it is that of all of them together.
///
/// Datasets hold one image (`[H, W]`) or a stack (`[N, H, W]`, `[N, 1, H, W]`); they follow each other in the
/// order of their names (of their groups' names), numbers by value: `2` before `10`.
///
/// # Shapes
/// `[N, 1, H, W]`, float32, on the CPU. By type floats come as they are stored, integers divided by the largest value of
/// their type, as for TIFF files ([`crate::image_file`]).
///
/// # Errors
/// [`Error::File`](crate::Error::File) where the file cannot be read; [`Error::Content`](crate::Error::Content) where it is no HDF5 file, truncated or damaged,
/// compressed by a filter that is not read, leads to a file that is not there,
/// has no such dataset, or one that is no stack of grey images (channels last are told from it by at most 4 columns), has no pixels, another
/// size than the others, another kind of values, more than is read, or NaN or infinity in it; [`Error::Feature`](crate::Error::Feature)
/// without the feature `hdf5`.
pub fn load_crops_in(path: &Path, name: Option<&str>, range: ValueRange) -> Result<Tensor> {
    #[cfg(feature = "hdf5")]
    return crops::load(path, name, range);
    #[cfg(not(feature = "hdf5"))]
    {
        let _ = (name, range);
        Err(crate::Error::Feature { path: path.to_owned(), format: "HDF5", feature: "hdf5" })
    }
}

/// Loads the dataset called `name`, such as `/entry/data`, divided by the largest value of its type, and says what that was.
///
/// # Shapes
/// `[N, 1, H, W]`, float32, on the CPU; `N` is 1 for a single image.
///
/// # Errors
/// Those of [`load_crops_in`]; where there is no such dataset the answer says what is there.
pub fn load_dataset(path: &Path, name: &str) -> Result<(Tensor, Stored)> {
    #[cfg(feature = "hdf5")]
    return crops::dataset(path, name);
    #[cfg(not(feature = "hdf5"))]
    {
        let _ = name;
        Err(crate::Error::Feature { path: path.to_owned(), format: "HDF5", feature: "hdf5" })
    }
}

/// All datasets of a file, at most 1000, of groups at most 8 deep; one that cannot be opened says why in its `kind`.
///
/// # Errors
/// Those of opening the file.
pub fn list(path: &Path) -> Result<Vec<Listed>> {
    #[cfg(feature = "hdf5")]
    return crops::list(path);
    #[cfg(not(feature = "hdf5"))]
    Err(crate::Error::Feature { path: path.to_owned(), format: "HDF5", feature: "hdf5" })
}
