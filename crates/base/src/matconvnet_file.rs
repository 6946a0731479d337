//! Networks that MatConvNet has saved in MATLAB 7.3 files (HDF5), read without running any code that is in them.
//!
//! Without the feature `hdf5` every file is refused.

use crate::error::{Error, Result};
use std::path::Path;
use tch::Tensor;

/// A layer of a network.
#[derive(Debug)]
pub struct Layer {
    /// Its type, such as `conv`, `relu` or `SubP`.
    pub kind: String,
    /// Its weights, with the axes that MATLAB has: of a convolution the kernels `[h, w, inputs, outputs]` and the biases
    /// `[outputs, 1]`. Float32 or float64 as they are stored, on the CPU.
    pub weights: Vec<Tensor>,
}

/// The layers of the variable `net` of a file, a struct whose field `layers` is a cell of structs with `type` and maybe `weights`.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is no such file, truncated or damaged, or announces more
/// than it can hold; [`Error::Feature`] without the feature `hdf5`.
pub fn load(path: &Path) -> Result<Vec<Layer>> {
    #[cfg(feature = "hdf5")]
    return file::load(path);
    #[cfg(not(feature = "hdf5"))]
    Err(Error::Feature { path: path.to_owned(), format: "MATLAB 7.3", feature: "hdf5" })
}

#[cfg(feature = "hdf5")]
mod file {
    use super::{Error, Layer, Path, Result, Tensor};
    use crate::files::{check_room, deflated_at_most};
    use crate::hdf5_file::open::{open, refuse};
    use hdf5_reader::error::Error as Hdf5Error;
    use hdf5_reader::group::Group;
    use hdf5_reader::reference::read_object_references;
    use hdf5_reader::{Dataset, Datatype};
    use std::collections::BTreeMap;
    use std::io::Read;

    const REMEDY: &str = "give a network as MatConvNet saves it: net.layers in a file of MATLAB 7.3";
    /// Layers of a network, and weights of a layer, at most.
    const MOST: u64 = 4096;
    /// Where MATLAB keeps what cells refer to.
    const REFERRED: &str = "#refs#";

    /// What cells refer to, by its place in the file.
    struct Referred {
        groups: BTreeMap<u64, Group>,
        datasets: BTreeMap<u64, Dataset>,
    }

    pub(super) fn load(path: &Path) -> Result<Vec<Layer>> {
        let wrong = |problem: String| Error::content(path, problem, REMEDY);
        let damaged = |place: &str| {
            let place = format!("{place}: ");
            move |e: Hdf5Error| refuse(path, &place, &e)
        };
        refuse_older(path)?;
        let opened = open(path)?;
        let root = opened.file.root_group().map_err(|e| refuse(path, "", &e))?;
        let (names, _) = root.member_names().map_err(|e| refuse(path, "", &e))?;
        if let Some(missing) = ["net", REFERRED].into_iter().find(|name| !names.iter().any(|n| n == name)) {
            return Err(wrong(format!("has no group {missing}")));
        }
        let net = root.group("net").map_err(damaged("group net"))?;
        let (_, fields) = net.member_names().map_err(damaged("group net"))?;
        if !fields.iter().any(|field| field == "layers") {
            return Err(wrong("has no net.layers".into()));
        }
        let referred = root.group(REFERRED).map_err(damaged(REFERRED))?;
        let (groups, datasets) = referred.members().map_err(damaged(REFERRED))?;
        let referred = Referred {
            groups: groups.into_iter().map(|group| (group.address(), group)).collect(),
            datasets: datasets.into_iter().map(|dataset| (dataset.address(), dataset)).collect(),
        };
        let layers = net.dataset("layers").map_err(damaged("net.layers"))?;
        let mut budget = deflated_at_most(opened.bytes());
        let places = references(&net, &layers).map_err(damaged("net.layers"))?;
        let places = places.ok_or_else(|| wrong(format!("net.layers is no cell of 1 to {MOST} layers")))?;
        let layer = |(k, place): (usize, u64)| {
            let place = referred.groups.get(&place);
            let group = place.ok_or_else(|| wrong(format!("layer {} is no struct", k + 1)))?;
            let name = format!("layer {}", k + 1);
            let (_, fields) = group.member_names().map_err(damaged(&name))?;
            if !fields.iter().any(|field| field == "type") {
                return Err(wrong(format!("{name} has no type")));
            }
            let kind = text(&group.dataset("type").map_err(damaged(&name))?).map_err(damaged(&name))?;
            let kind = kind.ok_or_else(|| wrong(format!("{name} has a type that is no text")))?;
            let mut weights = Vec::new();
            if fields.iter().any(|field| field == "weights") {
                let cell = group.dataset("weights").map_err(damaged(&name))?;
                for place in references(group, &cell).map_err(damaged(&name))?.unwrap_or_default() {
                    let dataset = referred.datasets.get(&place);
                    let dataset =
                        dataset.ok_or_else(|| wrong(format!("{name} has weights that are no array")))?;
                    weights.push(array(path, &name, dataset, &mut budget)?);
                }
            }
            Ok(Layer { kind, weights })
        };
        places.into_iter().enumerate().map(layer).collect()
    }

    /// Files of older versions are another format.
    fn refuse_older(path: &Path) -> Result<()> {
        let mut head = [0; 10];
        let mut file = std::fs::File::open(path).map_err(|e| Error::file(path, "reading", e))?;
        if file.read_exact(&mut head).is_ok() && head == *b"MATLAB 5.0" {
            let remedy = "save it again in MATLAB: save(FILE, 'net', '-v7.3')";
            return Err(Error::content(path, "is a file of an older version of MATLAB than 7.3", remedy));
        }
        Ok(())
    }

    /// What a cell refers to; `None` where it is none, or empty, or too large.
    fn references(group: &Group, cell: &Dataset) -> Result<Option<Vec<u64>>, Hdf5Error> {
        let count = cell.shape().iter().try_fold(1_u64, |product, &n| product.checked_mul(n));
        let reference = matches!(cell.dtype(), Datatype::Reference { .. });
        if !reference || !count.is_some_and(|count| (1..=MOST).contains(&count)) {
            return Ok(None);
        }
        Ok(Some(read_object_references(&cell.read_raw_bytes()?, group.offset_size())?))
    }

    /// A text of MATLAB, whose letters are numbers.
    fn text(dataset: &Dataset) -> Result<Option<String>, Hdf5Error> {
        let count = dataset.shape().iter().try_fold(1_u64, |product, &n| product.checked_mul(n));
        let letters = matches!(dataset.dtype(), Datatype::FixedPoint { size: 2, signed: false, .. });
        if !letters || count.is_none_or(|count| count > 64) {
            return Ok(None);
        }
        let letters: Vec<u16> = dataset.read_array::<u16>()?.iter().copied().collect();
        Ok(Some(String::from_utf16_lossy(&letters).chars().filter(|c| !c.is_control()).collect()))
    }

    /// An array with the axes of MATLAB, which are those of the file in reverse.
    fn array(path: &Path, layer: &str, dataset: &Dataset, budget: &mut u64) -> Result<Tensor> {
        let shape = dataset.shape();
        let what = format!("{layer}: weights of shape {shape:?}");
        let width = match dataset.dtype() {
            Datatype::FloatingPoint { size: size @ (4 | 8), .. } => u64::from(*size),
            _ => return Err(Error::content(path, format!("{what} are neither single nor double"), REMEDY)),
        };
        let bytes = shape.iter().try_fold(width, |product, &n| product.checked_mul(n));
        check_room(path, &what, bytes, *budget, 3)?;
        *budget -= bytes.unwrap_or(0);
        let damaged = |e| refuse(path, &format!("{layer}: "), &e);
        let flat = match width {
            4 => Tensor::f_from_slice(
                &dataset.read_array::<f32>().map_err(damaged)?.iter().copied().collect::<Vec<_>>(),
            )?,
            _ => Tensor::f_from_slice(
                &dataset.read_array::<f64>().map_err(damaged)?.iter().copied().collect::<Vec<_>>(),
            )?,
        };
        if flat.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::content(path, format!("{what} are not all finite"), REMEDY));
        }
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let reversed: Vec<i64> = (0..shape.len() as i64).rev().collect();
        Ok(flat.f_reshape(&shape)?.f_permute(&reversed)?.f_contiguous()?)
    }
}
