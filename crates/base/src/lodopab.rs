//! The published HDF5 files of LoDoPaB-CT, read slice by slice.
//!
//! | content | file | dataset `data`, float32 | values |
//! | --- | --- | --- | --- |
//! | ground truth | `ground_truth_train_000.hdf5` | `[128, 362, 362]` | attenuation / `mu_max`, in `[0, 1]`, no unit |
//! | observation | `observation_train_000.hdf5` | `[128, 1000, 513]` | `-log(max(k, 0.1) / 4096) / mu_max` in m, `k` photons counted |
//!
//! Parts are `train` (35820 slices in 280 files), `validation` (3522 in 28) and `test` (3553 in 28); files are numbered from
//! `000`, the last one of a part is shorter, and slice `128 f + s` is slice `s` of file `f`. The datasets are chunked,
//! here also contiguous or compressed by gzip. `mu_max` is 81.35858 / m; nothing is rescaled when reading.
//!
//! # Orientation
//! A ground truth is indexed `[x, y]`: rows from the patient's right to the left, columns from the chest to the back, both
//! `(k + 1/2) 0.26 m / 362 - 0.13 m` from the middle. (Pictures for people are usually transposed.) An observation is
//! indexed by angle, `(k + 1/2) pi / 1000`, and by detector pixel, 513 over `0.26 sqrt(2)` m.
//!
//! # Reference
//! J. Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography reconstruction", Scientific
//! Data 8 (2021), section "Data Records"; the data are Zenodo record 3384092.

use crate::error::{Error, Result};
use crate::hdf5_file::open::{self, options};
use hdf5_reader::storage::FileStorage;
use hdf5_reader::{Dataset, Datatype, Hdf5File, SliceInfo, SliceInfoElem};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::Tensor;

/// A part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For learning.
    Train,
    /// For choosing settings.
    Validation,
    /// For figures.
    Test,
}

impl Part {
    /// The name of the part in the names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Images.
    GroundTruth,
    /// Projections.
    Observation,
}

impl Content {
    /// Rows and columns of every slice of the published files.
    pub fn published_size(self) -> [i64; 2] {
        match self {
            Self::GroundTruth => [362, 362],
            Self::Observation => [1000, 513],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::GroundTruth => "ground_truth",
            Self::Observation => "observation",
        }
    }
}

const AGAIN: &str = "copy or download it again (Zenodo record 3384092)";

/// The slices of one content and part, over all files that are there.
///
/// Every file is looked into once when this is made, so that a file that is missing in between, cut off or of another
/// size is found before hours of work; a slice is read when it is asked for, and no more of the file than its chunks.
pub struct Slices {
    /// Every file with the number of the slices up to its end.
    files: Vec<(PathBuf, usize)>,
    size: [i64; 2],
    /// The file read last.
    open: Option<(usize, Dataset)>,
}

impl Slices {
    /// The files of `content` and `part` in `folder`, slices of `size` rows and columns
    /// ([`Content::published_size`]).
    ///
    /// # Errors
    /// [`Error::File`] where the first file is missing or one cannot be read; [`Error::Content`] where a file is no HDF5
    /// file, is cut off, has no dataset `data`, or one of another shape or kind of values; or where a file
    /// comes after one that is missing.
    pub fn open(folder: &Path, content: Content, part: Part, size: [i64; 2]) -> Result<Self> {
        let path = |k: usize| folder.join(format!("{}_{}_{k:03}.hdf5", content.name(), part.name()));
        let mut files = Vec::new();
        let mut total = 0;
        while files.is_empty() || path(files.len()).exists() {
            let path = path(files.len());
            total += dataset(&path, size)?.shape()[0] as usize;
            files.push((path, total));
        }
        let missing = path(files.len());
        if let Some(later) = (1..=8).map(|k| path(files.len() + k)).find(|p| p.exists()) {
            let problem = format!("is missing, but {} is there", later.display());
            return Err(Error::content(
                &missing,
                problem,
                "download the missing file, or move the later ones",
            ));
        }
        Ok(Self { files, size, open: None })
    }

    /// How many slices there are.
    pub fn len(&self) -> usize {
        self.files.last().map_or(0, |&(_, end)| end)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slice number `index`: `[1, 1, rows, columns]`, float32 on the CPU, values as they are stored.
    ///
    /// # Errors
    /// [`Error::Value`] where there is no such slice; [`Error::Content`] where the file is damaged, or holds NaN or infinity
    /// in this slice.
    pub fn read(&mut self, index: usize) -> Result<Tensor> {
        let file = self.files.partition_point(|&(_, end)| end <= index);
        let Some((path, end)) = self.files.get(file) else {
            let expected = format!("below {}, their number", self.len());
            return Err(Error::value("number of a LoDoPaB slice", expected, index));
        };
        let dataset = match self.open.take() {
            Some((open, dataset)) if open == file => dataset,
            _ => dataset(path, self.size)?,
        };
        let within = index + dataset.shape()[0] as usize - end;
        let all = SliceInfoElem::Slice { start: 0, end: u64::MAX, step: 1 };
        let selection = SliceInfo { selections: vec![SliceInfoElem::Index(within as u64), all.clone(), all] };
        let values: Vec<f32> = match dataset.read_slice::<f32>(&selection) {
            Ok(array) => array.into_iter().collect(),
            Err(e) => return Err(damaged(path, &format!("slice {within}: "), &e)),
        };
        let [rows, columns] = self.size;
        if let Some(k) = values.iter().position(|v| !v.is_finite()) {
            let (row, column) = (k as i64 / columns, k as i64 % columns);
            let problem = format!("slice {within} has {} at row {row}, column {column}", values[k]);
            return Err(Error::content(path, problem, AGAIN));
        }
        self.open = Some((file, dataset));
        Ok(Tensor::f_from_slice(&values)?.f_reshape([1, 1, rows, columns])?)
    }
}

impl fmt::Debug for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slices").field("files", &self.files).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Ground truths with their observations.
#[derive(Debug)]
pub struct Pairs {
    ground_truths: Slices,
    observations: Slices,
}

impl Pairs {
    /// The published files of `part` in `folder`.
    ///
    /// # Errors
    /// Those of [`Slices::open`]; [`Error::Content`] where there are fewer ground truths than observations.
    pub fn open(folder: &Path, part: Part) -> Result<Self> {
        let sizes = [Content::GroundTruth, Content::Observation].map(Content::published_size);
        Self::with_sizes(folder, part, sizes)
    }

    /// The same for slices of other sizes: those of the images, then those of the observations.
    ///
    /// # Errors
    /// The same.
    pub fn with_sizes(folder: &Path, part: Part, sizes: [[i64; 2]; 2]) -> Result<Self> {
        let ground_truths = Slices::open(folder, Content::GroundTruth, part, sizes[0])?;
        let observations = Slices::open(folder, Content::Observation, part, sizes[1])?;
        let (images, data) = (ground_truths.len(), observations.len());
        if images < data {
            let problem = format!("has {data} observations of part {} for {images} images", part.name());
            return Err(Error::content(folder, problem, "download the missing ground truths"));
        }
        Ok(Self { ground_truths, observations })
    }

    /// How many pairs there are: as many as observations. (The published program that made the data left the last file of
    /// ground truths at its full length, with zeros behind.)
    pub fn len(&self) -> usize {
        self.observations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Image and observation number `index`, `[1, 1, H, W]` each.
    ///
    /// # Errors
    /// Those of [`Slices::read`].
    pub fn read(&mut self, index: usize) -> Result<(Tensor, Tensor)> {
        let observation = self.observations.read(index)?;
        Ok((self.ground_truths.read(index)?, observation))
    }
}

fn damaged(path: &Path, place: &str, e: &hdf5_reader::error::Error) -> Error {
    match open::refuse(path, place, e) {
        Error::Content { path, problem, remedy } if problem.contains("is damaged") => {
            let problem = problem.replacen("is damaged, or", "is damaged, cut off or", 1);
            Error::content(&path, problem, if remedy.contains("again") { AGAIN } else { &remedy })
        }
        other => other,
    }
}

/// The dataset `data` of a file, checked.
fn dataset(path: &Path, [rows, columns]: [i64; 2]) -> Result<Dataset> {
    let system = |e| Error::file(path, "reading", e);
    let handle = std::fs::File::open(path).map_err(system)?;
    let length = handle.metadata().map_err(system)?.len();
    let hdf5 = |e| damaged(path, "", &e);
    let storage = Arc::new(FileStorage::from_file(handle).map_err(hdf5)?);
    let file = Hdf5File::from_storage_with_options(storage, options(path, Arc::default())).map_err(hdf5)?;
    let whole = file.superblock().eof_address;
    if length < whole {
        return Err(Error::content(path, format!("is cut off: {length} of {whole} bytes are there"), AGAIN));
    }
    let datasets = file.root_group().and_then(|root| root.datasets()).map_err(hdf5)?;
    let wrong = |problem: String| {
        Err(Error::content(path, problem, "give the files of LoDoPaB-CT, or say which size its slices have"))
    };
    let Some(dataset) = datasets.into_iter().find(|d| d.name() == "data") else {
        return wrong("has no dataset \"data\"".into());
    };
    match *dataset.shape() {
        [n, h, w] if n > 0 && [h, w] == [rows as u64, columns as u64] => {}
        ref shape => {
            return wrong(format!("dataset data: expected [N, {rows}, {columns}] with N > 0, got {shape:?}"));
        }
    }
    match dataset.dtype() {
        Datatype::FloatingPoint { size: 4, .. } => Ok(dataset),
        other => wrong(format!("dataset data: expected float32, got {other:?}")),
    }
}
