//! Images in HDF5 files: crops for training, and pairs for validation.
//!
//! Two layouts are read, both as one batch:
//!
//! | layout | how to ask for it |
//! | --- | --- |
//! | datasets in the root group, one image or a stack of them in each | no name |
//! | groups in the root group, each with datasets of the same names (such as `gt` and `obs`) | by that name |
//!
//! Without the feature `hdf5` every file is refused.

#[cfg(feature = "hdf5")]
mod crops;

use crate::error::Result;
use std::path::Path;
use tch::Tensor;

/// Loads images of one size: those of the datasets called `name`, in the root group or in its groups; where `name` is
/// `None`, those of all datasets in the root group.
///
/// Datasets hold one image (`[H, W]`) or a stack (`[N, H, W]`, `[N, 1, H, W]`); they follow each other in the
/// order of their names (of their groups' names), numbers by value: `2` before `10`.
///
/// # Shapes
/// `[N, 1, H, W]`, float32, on the CPU. Floats come as they are stored, integers divided by the largest value of
/// their type, as for TIFF files ([`crate::image_file`]).
///
/// # Errors
/// [`Error::File`](crate::Error::File) where the file cannot be read; [`Error::Content`](crate::Error::Content) where it is no HDF5 file, truncated or damaged,
/// has no such dataset, or one that is no stack of grey images, has no pixels, another size than the others,
/// another kind of values, or NaN or infinity in it; [`Error::Feature`](crate::Error::Feature) without the feature `hdf5`.
pub fn load_crops(path: &Path, name: Option<&str>) -> Result<Tensor> {
    #[cfg(feature = "hdf5")]
    return crops::load(path, name);
    #[cfg(not(feature = "hdf5"))]
    {
        let _ = name;
        Err(crate::Error::Feature { path: path.to_owned(), format: "HDF5", feature: "hdf5" })
    }
}
