//! Checkpoints: named tensors together with all that is needed to use them, in one safetensors file.
//!
//! The file can be read by every safetensors library; its `__metadata__` holds text by key. These keys are
//! always written:
//!
//! | key | value |
//! | --- | --- |
//! | `format` | [`FORMAT`], the version of this file format |
//! | `smalti_version` | the version of the crate that wrote the file |
//! | `sha256` | SHA-256 of the tensor data, so that a damaged file is noticed |
//!
//! The same content gives the same bytes.

use crate::error::{Error, Result};
use crate::files;
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{cmp::Reverse, fmt::Display, fmt::Write, str::FromStr};
use tch::{Kind, Tensor};

/// The version of the file format that this crate writes; it reads this and older ones.
pub const FORMAT: u32 = 1;

/// The dtypes that a checkpoint keeps.
const DTYPES: [(Kind, Dtype); 6] = [
    (Kind::Double, Dtype::F64),
    (Kind::Float, Dtype::F32),
    (Kind::Int64, Dtype::I64),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

const MAKE_AGAIN: &str = "copy the file again or make it again by training";
const OTHER_FILE: &str = "use a checkpoint that was made with these settings, or train again";

/// Named tensors and metadata.
///
/// ```
/// use smalti_base::checkpoint::Checkpoint;
/// use tch::{Device, Kind, Tensor};
/// # fn main() -> smalti_base::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("flow.safetensors");
/// let mut checkpoint = Checkpoint::default();
/// checkpoint.tensors.insert("weight".into(), Tensor::ones([3, 2], (Kind::Float, Device::Cpu)));
/// checkpoint.set_meta("patch_size", 6);
/// checkpoint.save(&path)?;
///
/// let mut checkpoint = Checkpoint::load(&path)?;
/// let patch_size: i64 = checkpoint.meta_parsed("patch_size")?;
/// let weight = checkpoint.take("weight", &[3, 2], Kind::Float)?;
/// # assert_eq!((patch_size, weight.size()), (6, vec![3, 2]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Tensors by name: float32, float64, bfloat16, int64, uint8 or bool, of any shape and on any device.
    pub tensors: BTreeMap<String, Tensor>,
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
    /// Where it was loaded from, for messages.
    path: Option<PathBuf>,
}

/// The header of a safetensors file.
#[derive(Serialize)]
struct Header<'a> {
    __metadata__: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<&'a str, TensorInfo>,
}

impl Checkpoint {
    /// Writes the checkpoint to `path` as a whole or not at all.
    ///
    /// Tensors are moved to the CPU and made contiguous; their dtypes stay.
    ///
    /// # Errors
    /// [`Error::Value`] where a tensor has another dtype than those above or is called `__metadata__`;
    /// [`Error::File`] where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write_atomically(path, &self.to_bytes()?)
    }

    /// Reads a checkpoint; all tensors are on the CPU.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is damaged, is no safetensors
    /// file or no checkpoint of Smalti, or has a newer [`FORMAT`].
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let damaged = |problem: String| Error::content(path, problem, MAKE_AGAIN);
        let no_file = |e| damaged(format!("is damaged, or no safetensors file ({e})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(no_file)?;
        let metadata: BTreeMap<_, _> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        check_format(path, &metadata)?;
        let data = &bytes[bytes.len() - header.data_len()..];
        if metadata.get("sha256").is_some_and(|hash| *hash != hex(Sha256::digest(data))) {
            return Err(damaged("is damaged (its data do not have the SHA-256 that was saved)".into()));
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(no_file)?.iter() {
            let (dtype, shape) = (view.dtype(), view.shape());
            let problem = || format!("tensor {name} ({dtype:?} {shape:?}) is of a kind that is never saved");
            let tensor = read_tensor(dtype, shape, view.data()).ok_or_else(|| damaged(problem()))?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Self { tensors, metadata, path: Some(path.to_owned()) })
    }

    /// Takes the tensor `name` out, which must have exactly this shape and dtype.
    ///
    /// # Errors
    /// [`Error::Content`] naming the file and the tensor; the tensor then stays where it is.
    pub fn take(&mut self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor> {
        self.check(name, shape, kind)?;
        self.tensors.remove(name).ok_or_else(|| self.wrong(format!("has no tensor {name}")))
    }

    /// Checks that there is a tensor `name` of exactly this shape and dtype: before memory is taken for something that
    /// is said to be as large as it.
    ///
    /// # Errors
    /// [`Error::Content`] naming the file and the tensor.
    pub fn check(&self, name: &str, shape: &[i64], kind: Kind) -> Result<()> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(self.wrong(format!("has no tensor {name}")));
        };
        let (size, found) = (tensor.size(), tensor.kind());
        if size == shape && found == kind {
            return Ok(());
        }
        Err(self.wrong(format!("tensor {name}: expected {kind:?} {shape:?}, got {found:?} {size:?}")))
    }

    /// The metadata of `key`.
    ///
    /// # Errors
    /// [`Error::Content`] naming the file and the key where there is none.
    pub fn meta(&self, key: &str) -> Result<&str> {
        let found = self.metadata.get(key).map(String::as_str);
        found.ok_or_else(|| self.wrong(format!("has no metadata {key}")))
    }

    /// The metadata of `key`, parsed.
    ///
    /// # Errors
    /// [`Error::Content`] naming the file and the key where there is none or it cannot be parsed.
    pub fn meta_parsed<T>(&self, key: &str) -> Result<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.meta(key)?;
        text.parse().map_err(|e| self.wrong(format!("metadata {key} = {text:?} cannot be read ({e})")))
    }

    /// Sets the metadata of `key`; numbers printed by Rust come back exactly.
    pub fn set_meta(&mut self, key: &str, value: impl Display) {
        self.metadata.insert(key.to_owned(), value.to_string());
    }

    /// Puts all of `part` under names that begin with `name.`: the state of something within this one.
    pub fn insert_part(&mut self, name: &str, part: Self) {
        let under = |key: String| format!("{name}.{key}");
        self.tensors.extend(part.tensors.into_iter().map(|(key, tensor)| (under(key), tensor)));
        self.metadata.extend(part.metadata.into_iter().map(|(key, text)| (under(key), text)));
    }

    /// Takes out what [`Checkpoint::insert_part`] put in; empty where that was nothing.
    pub fn take_part(&mut self, name: &str) -> Self {
        fn part<T>(of: &mut BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
            let all = std::mem::take(of).into_iter();
            let (inside, outside): (Vec<_>, Vec<_>) = all.partition(|(key, _)| key.starts_with(prefix));
            of.extend(outside);
            inside.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
        }
        let prefix = format!("{name}.");
        Self {
            tensors: part(&mut self.tensors, &prefix),
            metadata: part(&mut self.metadata, &prefix),
            path: self.path.clone(),
        }
    }

    fn wrong(&self, problem: String) -> Error {
        let path = self.path.as_deref().unwrap_or(Path::new("checkpoint in memory"));
        Error::content(path, problem, OTHER_FILE)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        // The widest types first, as the format advises: all data are then aligned.
        let mut order: Vec<_> = self.tensors.iter().collect();
        order.sort_by_key(|(name, tensor)| (Reverse(tensor.kind().elt_size_in_bytes()), *name));
        let mut data = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, tensor) in order {
            if name == "__metadata__" {
                return Err(Error::value("name of a tensor to save", "any other than __metadata__", name));
            }
            let Some((kind, dtype)) = DTYPES.into_iter().find(|(kind, _)| *kind == tensor.kind()) else {
                let known = DTYPES.map(|(kind, _)| format!("{kind:?}")).join(", ");
                let got = format!("{:?}", tensor.kind());
                return Err(Error::value(format!("tensor {name} to save"), format!("one of {known}"), got));
            };
            let begin = data.len();
            data.resize(begin + tensor.numel() * kind.elt_size_in_bytes(), 0);
            tensor.f_copy_data_u8(&mut data[begin..], tensor.numel())?;
            let shape = tensor.size().iter().map(|&n| n as usize).collect();
            tensors.insert(name.as_str(), TensorInfo { dtype, shape, data_offsets: (begin, data.len()) });
        }
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), FORMAT.to_string());
        metadata.insert("smalti_version".into(), env!("CARGO_PKG_VERSION").into());
        metadata.insert("sha256".into(), hex(Sha256::digest(&data)));
        let mut header = serde_json::to_vec(&Header { __metadata__: &metadata, tensors })
            .map_err(|e| Error::value("checkpoint to save", "names and metadata that JSON can hold", e))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes()[..], &header, &data].concat())
    }
}

/// What a safetensors file says about itself: metadata, and names, types and shapes of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
    /// Name, type and shape of every tensor.
    pub tensors: Vec<(String, String, Vec<usize>)>,
}

/// The head of a safetensors file, whoever has written it.
///
/// # Errors
/// [`Error::File`] where it cannot be read; [`Error::Content`] where it is damaged, or no such file.
pub fn head(path: &Path) -> Result<Head> {
    let bytes = files::read(path)?;
    let damaged =
        |e| Error::content(path, format!("is damaged, or no safetensors file ({e})"), "copy it again");
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let named = header.tensors();
    let mut tensors: Vec<_> = named
        .iter()
        .map(|(name, info)| (name.clone(), format!("{:?}", info.dtype), info.shape.clone()))
        .collect();
    tensors.sort();
    Ok(Head { metadata, tensors })
}

fn check_format(path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
    let format = metadata.get("format").and_then(|f| f.parse::<u32>().ok());
    match (metadata.get("smalti_version"), format) {
        (Some(_), Some(1..=FORMAT)) => Ok(()),
        (Some(version), Some(newer)) if newer > FORMAT => {
            let problem =
                format!("has format {newer} of Smalti {version}; this version reads up to {FORMAT}");
            Err(Error::content(path, problem, "update Smalti"))
        }
        _ => Err(Error::content(
            path,
            "is a safetensors file, but no checkpoint of Smalti (metadata format and smalti_version)",
            "give a file that Smalti has saved",
        )),
    }
}

fn read_tensor(dtype: Dtype, shape: &[usize], data: &[u8]) -> Option<Tensor> {
    let (kind, _) = *DTYPES.iter().find(|(_, known)| *known == dtype)?;
    let shape: Vec<i64> = shape.iter().map(|&n| i64::try_from(n).ok()).collect::<Option<_>>()?;
    if kind == Kind::Bool {
        // By way of numbers, since a byte that is neither 0 nor 1 is no bool.
        return Tensor::f_from_data_size(data, &shape, Kind::Uint8).ok()?.f_ne(0).ok();
    }
    Tensor::f_from_data_size(data, &shape, kind).ok()
}

/// SHA-256 of the shapes and float32 values of `tensors`, e.g. to tell training data apart: 64 hexadecimal
/// digits, the same on every machine and device.
///
/// # Shapes
/// Any; `[2, 3]` and `[3, 2]` with the same values differ, and so do `[a, b]` and `[b, a]`.
///
/// # Errors
/// [`Error::Torch`] where a tensor cannot be converted to float32.
pub fn data_hash(tensors: &[&Tensor]) -> Result<String> {
    let mut hash = Sha256::new();
    for tensor in tensors {
        let size = tensor.size();
        hash.update((size.len() as u64).to_le_bytes());
        size.iter().for_each(|n| hash.update(n.to_le_bytes()));
        let mut values = vec![0_f32; tensor.numel()];
        tensor.f_to_kind(Kind::Float)?.f_copy_data(&mut values, tensor.numel())?;
        values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    }
    Ok(hex(hash.finalize()))
}

/// SHA-256 of a text, in lower-case hexadecimal: a short name for a long identity.
pub fn text_hash(text: &str) -> String {
    bytes_hash(text.as_bytes())
}

/// SHA-256 of bytes, such as those of a file, in lower-case hexadecimal.
pub fn bytes_hash(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
