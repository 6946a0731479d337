//! Stacks of images out of HDF5 files.

use crate::error::{Error, Result};
use crate::files;
use hdf5_reader::{Dataset, Datatype, H5Type, Hdf5File};
use std::path::Path;
use tch::Tensor;

/// What [`super::load_crops`] promises.
pub(super) fn load(path: &Path, name: Option<&str>) -> Result<Tensor> {
    let damaged = |e: hdf5_reader::error::Error| {
        let answer = e.to_string().replace('\n', " ");
        Error::content(path, format!("is damaged, or no HDF5 file ({answer})"), "copy or download it again")
    };
    let file = Hdf5File::from_vec(files::read(path)?).map_err(damaged)?;
    let datasets = find(&file.root_group().map_err(damaged)?, name).map_err(damaged)?;
    if datasets.is_empty() {
        let problem = match name {
            Some(name) => format!("has no dataset {name:?} in its root group or in a group of it"),
            None => "has no dataset in its root group".into(),
        };
        return Err(Error::content(path, problem, "give a file of crops, or the name of its datasets"));
    }
    let mut parts = Vec::new();
    let mut first: Option<(String, [i64; 2])> = None;
    for (place, dataset) in &datasets {
        let wrong = |problem: String| {
            Error::content(
                path,
                format!("dataset {place}: {problem}"),
                "give a file of grey images of one size",
            )
        };
        let shape: Vec<i64> = dataset.shape().iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
        let (n, size) = match shape[..] {
            [h, w] => (1, [h, w]),
            [n, h, w] | [n, 1, h, w] => (n, [h, w]),
            _ => return Err(wrong(format!("expected [H, W], [N, H, W] or [N, 1, H, W], got {shape:?}"))),
        };
        if shape.contains(&0) {
            return Err(wrong(format!("expected at least one pixel, got {shape:?}")));
        }
        match &first {
            Some((known, other)) if *other != size => {
                return Err(wrong(format!("expected images of {other:?} as in {known}, got {size:?}")));
            }
            Some(_) => {}
            None => first = Some((place.clone(), size)),
        }
        let values = values(dataset).map_err(damaged)?;
        let values = values.ok_or_else(|| {
            wrong(format!("expected float32, float64 or integers of 8 to 32 bits, got {:?}", dataset.dtype()))
        })?;
        if let Some(k) = values.iter().position(|v| !v.is_finite()) {
            let (row, column) = (k as i64 / size[1] % size[0], k as i64 % size[1]);
            return Err(wrong(format!(
                "expected finite values, got {} at row {row}, column {column}",
                values[k]
            )));
        }
        parts.push(Tensor::f_from_slice(&values)?.f_reshape([n, 1, size[0], size[1]])?);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// The datasets asked for with their full names, in order.
fn find(
    root: &hdf5_reader::group::Group,
    name: Option<&str>,
) -> Result<Vec<(String, Dataset)>, hdf5_reader::error::Error> {
    let (groups, datasets) = root.members()?;
    let mut found = Vec::new();
    for dataset in datasets {
        if name.is_none_or(|name| dataset.name() == name) {
            found.push((dataset.name().to_owned(), dataset));
        }
    }
    for group in groups.iter().filter(|_| name.is_some()) {
        for dataset in group.datasets()? {
            if name == Some(dataset.name()) {
                found.push((format!("{}/{}", group.name(), dataset.name()), dataset));
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

/// The values in row-major order; `None` where they are no numbers that this reads.
fn values(dataset: &Dataset) -> Result<Option<Vec<f32>>, hdf5_reader::error::Error> {
    fn read<T: H5Type + Into<f64>>(
        dataset: &Dataset,
        largest: f64,
    ) -> Result<Option<Vec<f32>>, hdf5_reader::error::Error> {
        let array = dataset.read_array::<T>()?;
        Ok(Some(array.into_iter().map(|v| (v.into() / largest) as f32).collect()))
    }
    match *dataset.dtype() {
        Datatype::FloatingPoint { size: 4, .. } => read::<f32>(dataset, 1.0),
        Datatype::FloatingPoint { size: 8, .. } => read::<f64>(dataset, 1.0),
        Datatype::FixedPoint { size: 1, signed: false, .. } => read::<u8>(dataset, f64::from(u8::MAX)),
        Datatype::FixedPoint { size: 1, signed: true, .. } => read::<i8>(dataset, f64::from(i8::MAX)),
        Datatype::FixedPoint { size: 2, signed: false, .. } => read::<u16>(dataset, f64::from(u16::MAX)),
        Datatype::FixedPoint { size: 2, signed: true, .. } => read::<i16>(dataset, f64::from(i16::MAX)),
        Datatype::FixedPoint { size: 4, signed: false, .. } => read::<u32>(dataset, f64::from(u32::MAX)),
        Datatype::FixedPoint { size: 4, signed: true, .. } => read::<i32>(dataset, f64::from(i32::MAX)),
        _ => Ok(None),
    }
}
