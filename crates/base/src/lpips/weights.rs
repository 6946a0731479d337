//! The files of the network.

use crate::error::{Error, Result};
use std::path::Path;
use tch::{Kind, Tensor};

const REMEDY: &str = "take the files that fetch-data brings";

/// Kernel `[O, I, h, w]` and bias `[O]` of the one convolution in a Keras file.
///
/// The file has the axes of the kernel in the reverse order, `[w, h, I, O]`, unlike most Keras files, which have `[h, w, I, O]`.
#[cfg(feature = "hdf5")]
pub(super) fn convolution(path: &Path, size: [i64; 4]) -> Result<[Tensor; 2]> {
    use crate::hdf5_file::open::{options, refuse};
    use hdf5_reader::{Hdf5File, group::Group};
    use std::io::Read;

    /// Sizes and values of all datasets of float32 numbers below a group.
    fn datasets(
        group: &Group,
        depth: usize,
        found: &mut Vec<(Vec<i64>, Vec<f32>)>,
    ) -> hdf5_reader::error::Result<()> {
        let (groups, here) = group.members()?;
        for dataset in here {
            let values = dataset.shape().iter().try_fold(4, |bytes: u64, &n| bytes.checked_mul(n));
            if values.is_none_or(|bytes| bytes > LARGEST) {
                continue;
            }
            let size = dataset.shape().iter().map(|&n| n as i64).collect();
            found.push((size, dataset.read_array::<f32>()?.iter().copied().collect()));
        }
        if depth > 0 {
            groups.iter().try_for_each(|group| datasets(group, depth - 1, found))?;
        }
        Ok(())
    }
    let wrong = |problem: String| Error::content(path, problem, REMEDY);
    let not_keras = |e: String| wrong(format!("is no Keras file of a convolution ({e})"));
    let bytes = crate::files::read(path)?;
    let mut archive =
        npyz::npz::NpzArchive::new(std::io::Cursor::new(bytes)).map_err(|e| not_keras(e.to_string()))?;
    let mut inner = Vec::new();
    {
        let entry =
            archive.zip_archive().by_name("model.weights.h5").map_err(|e| not_keras(e.to_string()))?;
        entry.take(LARGEST).read_to_end(&mut inner).map_err(|e| not_keras(e.to_string()))?;
    }
    let file = Hdf5File::from_vec_with_options(inner, options(path, Default::default()))
        .map_err(|e| refuse(path, "", &e))?;
    let mut found = Vec::new();
    let root = file.root_group().map_err(|e| refuse(path, "", &e))?;
    datasets(&root, DEEPEST, &mut found).map_err(|e| refuse(path, "", &e))?;
    let mut pick = |wanted: &[i64]| {
        let at = found.iter().position(|(size, _)| size == wanted);
        let (size, values) = found.swap_remove(at.ok_or_else(|| {
            let sizes: Vec<&Vec<i64>> = found.iter().map(|(size, _)| size).collect();
            wrong(format!("expected weights of the shape {wanted:?}, got {sizes:?}"))
        })?);
        Ok::<Tensor, Error>(Tensor::f_from_slice(&values)?.f_reshape(size)?)
    };
    let reversed: Vec<i64> = size.iter().rev().copied().collect();
    let kernel = pick(&reversed)?.f_permute([3, 2, 1, 0])?.f_contiguous()?;
    Ok([kernel, pick(&size[..1])?])
}

/// Bytes of weights, and groups in each other, that a file has at most.
#[cfg(feature = "hdf5")]
const LARGEST: u64 = 64 << 20;
#[cfg(feature = "hdf5")]
const DEEPEST: usize = 8;

#[cfg(not(feature = "hdf5"))]
pub(super) fn convolution(path: &Path, _: [i64; 4]) -> Result<[Tensor; 2]> {
    Err(Error::Feature { path: path.to_owned(), format: "Keras", feature: "hdf5" })
}

/// The weights of the features of every layer, `[1, C, 1, 1]`, none negative.
pub(super) fn linear(path: &Path, channels: [i64; 5]) -> Result<Vec<Tensor>> {
    let dict = crate::pytorch_file::load_state_dict(path)?;
    let weights = channels.iter().enumerate().map(|(k, &channels)| {
        let name = format!("lin{k}.model.1.weight");
        let weights = dict.get(&name).map(|weights| weights.to_kind(Kind::Float));
        let fits = |t: &Tensor| t.size() == [1, channels, 1, 1] && t.min().double_value(&[]) >= 0.0;
        weights.filter(fits).ok_or_else(|| {
            let problem = format!("has no tensor {name} of {channels} weights, none of them negative");
            Error::content(path, problem, REMEDY)
        })
    });
    weights.collect()
}
