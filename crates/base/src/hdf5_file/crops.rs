//! Stacks of images out of HDF5 files.

use super::listed::Listed;
use super::open::{self, refuse};
use crate::error::{Error, Result};
use crate::files::{check_room, deflated_at_most};
use crate::value_range::{self, Stored, ValueRange};
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, H5Type};
use std::path::Path;
use tch::Tensor;

/// What [`super::load_crops_in`] promises.
pub(super) fn load(path: &Path, name: Option<&str>, range: ValueRange) -> Result<Tensor> {
    let opened = open::open(path)?;
    let damaged = |e| refuse(path, "", &e);
    let datasets = find(path, &opened.file.root_group().map_err(damaged)?, name)?;
    if datasets.is_empty() {
        let problem = match name {
            Some(name) => format!("has no dataset {name:?} in its root group or in a group of it"),
            None => "has no dataset in its root group".into(),
        };
        return Err(Error::content(path, problem, "give a file of crops, or the name of its datasets"));
    }
    // Filled in where chunks are missing, a dataset may be larger than what deflate can make of the file.
    let chunked = deflated_at_most(opened.bytes()).saturating_add(64 << 20);
    let (mut all, mut images) = (Vec::new(), 0);
    let mut first: Option<(String, [i64; 2], Kind)> = None;
    for (place, dataset) in &datasets {
        let wrong = |problem: String| {
            Error::content(
                path,
                format!("dataset {place}: {problem}"),
                "give a file of grey images of one size",
            )
        };
        let (n, size) = layout(dataset.shape()).map_err(wrong)?;
        let kind = Kind::of(dataset.dtype()).ok_or_else(|| {
            wrong(format!(
                "expected float32, float64 or integers of 8 to 32 bits, got {}",
                name_of(dataset.dtype())
            ))
        })?;
        match &first {
            Some((known, other, _)) if *other != size => {
                return Err(wrong(format!("expected images of {other:?} as in {known}, got {size:?}")));
            }
            Some((known, _, other)) if other.name != kind.name && range != ValueRange::ByType => {
                return Err(wrong(format!("expected {} as in {known}, got {}", other.name, kind.name)));
            }
            Some(_) => {}
            None => first = Some((place.clone(), size, kind)),
        }
        let values = values_of(path, place, dataset, (n, size), kind, chunked)?;
        all.extend(values);
        images += n;
    }
    let Some((_, size, kind)) = first else { return Err(damaged(hdf5_reader::error::Error::InvalidMagic)) };
    let (least, most) = value_range::extremes(&all);
    if least == most && all.len() > 1 {
        tracing::warn!("{}: all pixels are {}", path.display(), f64::from(least) * kind.unit);
    }
    if let Some(bits) = value_range::bits_used(&all, kind.bits).filter(|_| range == ValueRange::ByType) {
        let largest = (1 << bits) - 1;
        tracing::warn!(
            "{}: {bits} bits in {}; if {largest} is white, give the range of values 0,{largest}",
            path.display(),
            kind.bits
        );
    }
    let taken = range.apply(&mut all, kind.unit, kind.name);
    let taken = taken.map_err(|problem| Error::content(path, problem, "give a range of values"))?;
    tracing::info!("{}: {images} images of {} x {} pixels, values {taken}", path.display(), size[0], size[1]);
    Ok(Tensor::f_from_slice(&all)?.f_reshape([images, 1, size[0], size[1]])?)
}

/// The values of a dataset of `n` images of `size`, divided as `kind` says; a chunked one holds at most `chunked` bytes.
fn values_of(
    path: &Path,
    place: &str,
    dataset: &Dataset,
    (n, size): (i64, [i64; 2]),
    kind: Kind,
    chunked: u64,
) -> Result<Vec<f32>> {
    let wrong = |problem: String| {
        Error::content(path, format!("dataset {place}: {problem}"), "give a file of grey images of one size")
    };
    let count = n.checked_mul(size[0]).and_then(|m| m.checked_mul(size[1]));
    let bytes = count.and_then(|count| count.checked_mul(kind.bytes)).and_then(|b| u64::try_from(b).ok());
    let what = format!("dataset {place}: {n} images of {} x {} pixels", size[0], size[1]);
    // Others are read from where they lie, which may be another file.
    let most = if dataset.chunks().is_some() { chunked } else { u64::MAX };
    // The library's copies, floats of all datasets, and the tensor.
    check_room(path, &what, bytes, most, 16 / kind.bytes as u64 + 2)?;
    let values =
        (kind.read)(dataset, kind.unit).map_err(|e| refuse(path, &format!("dataset {place}: "), &e))?;
    let wanted = count.and_then(|count| usize::try_from(count).ok());
    if Some(values.len()) != wanted {
        return Err(wrong(format!("holds {} values of {:?}", values.len(), dataset.shape())));
    }
    let bad = values.iter().filter(|v| !v.is_finite()).count();
    if let Some(k) = values.iter().position(|v| !v.is_finite()) {
        let (row, column) = (k as i64 / size[1] % size[0], k as i64 % size[1]);
        return Err(wrong(format!(
            "expected finite values, got {} at row {row}, column {column} ({bad} that are not)",
            values[k]
        )));
    }
    Ok(values)
}

/// What [`super::load_dataset`] promises.
pub(super) fn dataset(path: &Path, name: &str) -> Result<(Tensor, Stored)> {
    let opened = open::open(path)?;
    let damaged = |e| refuse(path, "", &e);
    let place = name.trim_matches('/');
    let mut group = opened.file.root_group().map_err(damaged)?;
    let missing = |group: &Group, wanted: &str| -> Error {
        let (groups, datasets) = group.member_names().unwrap_or_default();
        let there: Vec<String> = groups.into_iter().map(|name| format!("{name}/")).chain(datasets).collect();
        let problem = format!("has no {wanted:?} at {name}; there are {}", there.join(", "));
        Error::content(path, problem, "give the name of a dataset, as FILE.h5:/GROUP/DATASET")
    };
    let mut steps: Vec<&str> = place.split('/').collect();
    let last = steps.pop().unwrap_or_default();
    for step in steps {
        group = group.group(step).map_err(|_| missing(&group, step))?;
    }
    if !group.member_names().map_err(damaged)?.1.iter().any(|dataset| dataset == last) {
        return Err(missing(&group, last));
    }
    let dataset = group.dataset(last).map_err(|e| refuse(path, &format!("dataset {place}: "), &e))?;
    let wrong = |problem: String| {
        Error::content(path, format!("dataset {place}: {problem}"), "give a dataset that holds a grey image")
    };
    let (n, size) = layout(dataset.shape()).map_err(wrong)?;
    let kind = Kind::of(dataset.dtype()).ok_or_else(|| {
        wrong(format!(
            "expected float32, float64 or integers of 8 to 32 bits, got {}",
            name_of(dataset.dtype())
        ))
    })?;
    let chunked = deflated_at_most(opened.bytes()).saturating_add(64 << 20);
    let values = values_of(path, place, &dataset, (n, size), kind, chunked)?;
    let image = Tensor::f_from_slice(&values)?.f_reshape([n, 1, size[0], size[1]])?;
    Ok((image, Stored { kind: kind.name, unit: kind.unit, bits: kind.bits }))
}

/// What [`super::list`] promises.
pub(super) fn list(path: &Path) -> Result<Vec<Listed>> {
    let opened = open::open(path)?;
    let mut all = Vec::new();
    let root = opened.file.root_group().map_err(|e| refuse(path, "", &e))?;
    walk(path, &root, "", 0, &mut all)?;
    Ok(all)
}

/// Groups deeper than this, which links can make endless, are not listed.
const DEEPEST: usize = 8;

/// Datasets listed at most.
const MOST_LISTED: usize = 1000;

fn walk(path: &Path, group: &Group, place: &str, depth: usize, all: &mut Vec<Listed>) -> Result<()> {
    let wrong = |e| refuse(path, &format!("group {place}/: "), &e);
    let (groups, datasets) = group.member_names().map_err(wrong)?;
    for name in datasets {
        if all.len() >= MOST_LISTED {
            return Ok(());
        }
        let listed = match group.dataset(&name) {
            Ok(dataset) => Listed {
                name: format!("{place}/{name}"),
                shape: dataset.shape().to_vec(),
                kind: name_of(dataset.dtype()),
            },
            Err(e) => Listed {
                name: format!("{place}/{name}"),
                shape: Vec::new(),
                kind: format!("unreadable ({})", e.to_string().replace('\n', " ")),
            },
        };
        all.push(listed);
    }
    for name in groups.into_iter().filter(|_| depth < DEEPEST) {
        let inner = group.group(&name).map_err(wrong)?;
        walk(path, &inner, &format!("{place}/{name}"), depth + 1, all)?;
    }
    Ok(())
}

/// How many images of how many rows and columns a dataset of this shape is; else what is wrong with it.
fn layout(shape: &[u64]) -> Result<(i64, [i64; 2]), String> {
    let shape: Vec<i64> = shape.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
    // Small squares are patches; other images of at most four columns are none that anybody learns from, but channels of colour are
    // as many.
    if let [_, h, channels @ 1..=4] | [_, 5..=i64::MAX, h, channels @ 1..=4] = shape[..]
        && (h != channels || shape.len() == 4)
    {
        return Err(format!(
            "{shape:?} looks like [H, W, C] with {channels} channels last; expected [H, W], [N, H, W] or [N, 1, H, W]: \
             make it grey, or move the axis (numpy.moveaxis); a stack of narrow images is [N, 1, H, W]"
        ));
    }
    let (n, size) = match shape[..] {
        [h, w] => (1, [h, w]),
        [n, h, w] | [n, 1, h, w] => (n, [h, w]),
        _ => return Err(format!("expected [H, W], [N, H, W] or [N, 1, H, W], got {shape:?}")),
    };
    if shape.contains(&0) {
        return Err(format!("expected at least one pixel, got {shape:?}"));
    }
    Ok((n, size))
}

/// The datasets asked for with their full names, in order. Others are not opened: they may be of any kind.
fn find(path: &Path, root: &Group, name: Option<&str>) -> Result<Vec<(String, Dataset)>> {
    let wrong = |e| refuse(path, "", &e);
    let (groups, datasets) = root.member_names().map_err(wrong)?;
    let mut found = Vec::new();
    let mut add = |group: &Group, place: String, dataset: &str| {
        let opened = group.dataset(dataset).map_err(|e| refuse(path, &format!("dataset {place}: "), &e))?;
        found.push((place, opened));
        Ok::<_, Error>(())
    };
    for dataset in datasets.iter().filter(|dataset| name.is_none_or(|name| *dataset == name)) {
        add(root, dataset.clone(), dataset)?;
    }
    if let Some(name) = name {
        for place in groups {
            let group = root.group(&place).map_err(wrong)?;
            let (_, datasets) = group.member_names().map_err(wrong)?;
            if datasets.iter().any(|dataset| dataset == name) {
                add(&group, format!("{place}/{name}"), name)?;
            }
        }
    }
    let key = |place: &str| {
        let number = place.split('/').next().and_then(|first| first.parse::<u64>().ok());
        (number.unwrap_or(u64::MAX), place.to_owned())
    };
    found.sort_by_cached_key(|(place, _)| key(place));
    Ok(found)
}

/// A type of values that is read.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    bytes: i64,
    /// What values are divided by.
    unit: f64,
    /// Bits of unsigned integers, 0 of all else.
    bits: u32,
    /// Reads the values in row-major order and divides them.
    read: fn(&Dataset, f64) -> Result<Vec<f32>, hdf5_reader::error::Error>,
}

impl Kind {
    fn of(datatype: &Datatype) -> Option<Self> {
        fn read<T: H5Type + Into<f64>>(
            dataset: &Dataset,
            unit: f64,
        ) -> Result<Vec<f32>, hdf5_reader::error::Error> {
            let array = dataset.read_array::<T>()?;
            Ok(array.into_iter().map(|v| (v.into() / unit) as f32).collect())
        }
        let kind = |name, bytes, unit: f64, bits, read| Self { name, bytes, unit, bits, read };
        Some(match *datatype {
            Datatype::FloatingPoint { size: 4, .. } => kind("float32", 4, 1.0, 0, read::<f32>),
            Datatype::FloatingPoint { size: 8, .. } => kind("float64", 8, 1.0, 0, read::<f64>),
            Datatype::FixedPoint { size, signed: false, .. } => match size {
                1 => kind("uint8", 1, u8::MAX.into(), 8, read::<u8>),
                2 => kind("uint16", 2, u16::MAX.into(), 16, read::<u16>),
                4 => kind("uint32", 4, u32::MAX.into(), 32, read::<u32>),
                _ => return None,
            },
            Datatype::FixedPoint { size, signed: true, .. } => match size {
                1 => kind("int8", 1, i8::MAX.into(), 0, read::<i8>),
                2 => kind("int16", 2, i16::MAX.into(), 0, read::<i16>),
                4 => kind("int32", 4, i32::MAX.into(), 0, read::<i32>),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// The name of a type, for readers.
fn name_of(datatype: &Datatype) -> String {
    match datatype {
        Datatype::FixedPoint { size, signed, .. } => {
            format!("{}int{}", if *signed { "" } else { "u" }, 8 * u64::from(*size))
        }
        Datatype::FloatingPoint { size, .. } => format!("float{}", 8 * u64::from(*size)),
        other => {
            let text = format!("{other:?}");
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            format!("the type {} of HDF5", &text[..end])
        }
    }
}
