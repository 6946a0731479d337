//! Files of MATLAB 7.3 (HDF5): arrays in cells, and networks that MatConvNet has saved, read without running any code that is in them.
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
pub fn load_network(path: &Path) -> Result<Vec<Layer>> {
    #[cfg(feature = "hdf5")]
    return file::load_network(path);
    #[cfg(not(feature = "hdf5"))]
    Err(Error::Feature { path: path.to_owned(), format: "MATLAB 7.3", feature: "hdf5" })
}

/// Array number `index`, from 0, of the variable `name` of a file, a cell of arrays: with the axes that MATLAB has, float32 or float64 as
/// it is stored, on the CPU.
///
/// # Errors
/// As [`load_network`], and [`Error::Content`] where the cell has no such array.
pub fn load_of_cell(path: &Path, name: &str, index: usize) -> Result<Tensor> {
    #[cfg(feature = "hdf5")]
    return file::load_of_cell(path, name, index);
    #[cfg(not(feature = "hdf5"))]
    {
        let _ = (name, index);
        Err(Error::Feature { path: path.to_owned(), format: "MATLAB 7.3", feature: "hdf5" })
    }
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

    /// Layers of a network, weights of a layer, and arrays of a cell, at most.
    const MOST: u64 = 4096;
    /// Where MATLAB keeps what cells refer to.
    const REFERRED: &str = "#refs#";

    /// A file, and what its cells refer to by its place in it.
    struct Opened<'a> {
        path: &'a Path,
        /// What a reader is told to do.
        remedy: &'static str,
        /// Bytes that its arrays may take.
        budget: u64,
        root: Group,
        groups: BTreeMap<u64, Group>,
        datasets: BTreeMap<u64, Dataset>,
    }

    impl<'a> Opened<'a> {
        /// The file, which has a variable `name`.
        fn new(path: &'a Path, name: &str, remedy: &'static str) -> Result<Self> {
            refuse_older(path)?;
            let opened = open(path)?;
            let root = opened.file.root_group().map_err(|e| refuse(path, "", &e))?;
            let (groups, datasets) = root.member_names().map_err(|e| refuse(path, "", &e))?;
            let has = |name: &str| groups.iter().chain(&datasets).any(|n| n == name);
            if let Some(missing) = [name, REFERRED].into_iter().find(|name| !has(name)) {
                return Err(Error::content(path, format!("has no {missing}"), remedy));
            }
            let in_referred = |e| refuse(path, &format!("{REFERRED}: "), &e);
            let referred = root.group(REFERRED).map_err(in_referred)?;
            let (groups, datasets) = referred.members().map_err(in_referred)?;
            Ok(Self {
                path,
                remedy,
                budget: deflated_at_most(opened.bytes()),
                root,
                groups: groups.into_iter().map(|group| (group.address(), group)).collect(),
                datasets: datasets.into_iter().map(|dataset| (dataset.address(), dataset)).collect(),
            })
        }

        fn wrong(&self, problem: String) -> Error {
            Error::content(self.path, problem, self.remedy)
        }

        fn damaged(&self, place: &str) -> impl Fn(Hdf5Error) -> Error + use<'a> {
            let (path, place) = (self.path, format!("{place}: "));
            move |e| refuse(path, &place, &e)
        }
    }

    pub(super) fn load_of_cell(path: &Path, name: &str, index: usize) -> Result<Tensor> {
        let remedy = "give a cell of arrays as MATLAB saves it: save(FILE, NAME, '-v7.3')";
        let mut opened = Opened::new(path, name, remedy)?;
        let (_, datasets) = opened.root.member_names().map_err(opened.damaged(""))?;
        if !datasets.iter().any(|n| n == name) {
            return Err(opened.wrong(format!("{name} is no cell of arrays")));
        }
        let cell = opened.root.dataset(name).map_err(opened.damaged(name))?;
        let places = references(&opened.root, &cell).map_err(opened.damaged(name))?;
        let places =
            places.ok_or_else(|| opened.wrong(format!("{name} is no cell of 1 to {MOST} arrays")))?;
        let place = places.get(index).ok_or_else(|| {
            opened.wrong(format!("{name} has {} arrays, none with number {index} from 0", places.len()))
        })?;
        array(&mut opened, &format!("{name} {index}"), *place)
    }

    pub(super) fn load_network(path: &Path) -> Result<Vec<Layer>> {
        let remedy = "give a network as MatConvNet saves it: net.layers in a file of MATLAB 7.3";
        let mut opened = Opened::new(path, "net", remedy)?;
        let (groups, _) = opened.root.member_names().map_err(opened.damaged(""))?;
        if !groups.iter().any(|group| group == "net") {
            return Err(opened.wrong("has no group net".into()));
        }
        let net = opened.root.group("net").map_err(opened.damaged("group net"))?;
        let (_, fields) = net.member_names().map_err(opened.damaged("group net"))?;
        if !fields.iter().any(|field| field == "layers") {
            return Err(opened.wrong("has no net.layers".into()));
        }
        let layers = net.dataset("layers").map_err(opened.damaged("net.layers"))?;
        let places = references(&net, &layers).map_err(opened.damaged("net.layers"))?;
        let places =
            places.ok_or_else(|| opened.wrong(format!("net.layers is no cell of 1 to {MOST} layers")))?;
        let layer = |(k, place): (usize, u64)| {
            let name = format!("layer {}", k + 1);
            let group = opened.groups.remove(&place);
            let group = group.ok_or_else(|| opened.wrong(format!("{name} is no struct")))?;
            let (_, fields) = group.member_names().map_err(opened.damaged(&name))?;
            if !fields.iter().any(|field| field == "type") {
                return Err(opened.wrong(format!("{name} has no type")));
            }
            let kind = text(&group.dataset("type").map_err(opened.damaged(&name))?)
                .map_err(opened.damaged(&name))?;
            let kind = kind.ok_or_else(|| opened.wrong(format!("{name} has a type that is no text")))?;
            let mut weights = Vec::new();
            if fields.iter().any(|field| field == "weights") {
                let cell = group.dataset("weights").map_err(opened.damaged(&name))?;
                for place in references(&group, &cell).map_err(opened.damaged(&name))?.unwrap_or_default() {
                    weights.push(array(&mut opened, &format!("{name}: weights"), place)?);
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
            let remedy = "save it again in MATLAB: save(FILE, NAME, '-v7.3')";
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

    /// An array that a cell refers to, with the axes of MATLAB, which are those of the file in reverse.
    fn array(opened: &mut Opened<'_>, name: &str, place: u64) -> Result<Tensor> {
        let dataset = opened.datasets.get(&place);
        let dataset = dataset.ok_or_else(|| opened.wrong(format!("{name}: no array")))?;
        let shape = dataset.shape();
        let what = format!("{name} of shape {shape:?}");
        let width = match dataset.dtype() {
            Datatype::FloatingPoint { size: size @ (4 | 8), .. } => u64::from(*size),
            _ => return Err(opened.wrong(format!("{what}: neither single nor double"))),
        };
        let bytes = shape.iter().try_fold(width, |product, &n| product.checked_mul(n));
        check_room(opened.path, &what, bytes, opened.budget, 3)?;
        let damaged = opened.damaged(name);
        let flat = match width {
            4 => Tensor::f_from_slice(
                &dataset.read_array::<f32>().map_err(damaged)?.iter().copied().collect::<Vec<_>>(),
            )?,
            _ => Tensor::f_from_slice(
                &dataset.read_array::<f64>().map_err(damaged)?.iter().copied().collect::<Vec<_>>(),
            )?,
        };
        if flat.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(opened.wrong(format!("{what}: not all finite")));
        }
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        opened.budget -= bytes.unwrap_or(0);
        let reversed: Vec<i64> = (0..shape.len() as i64).rev().collect();
        Ok(flat.f_reshape(&shape)?.f_permute(&reversed)?.f_contiguous()?)
    }
}
