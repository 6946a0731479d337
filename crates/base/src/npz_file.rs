//! Archives of arrays that numpy has written (`.npz`), read without running any code that is in them.

use crate::error::{Error, Result};
use crate::files;
use npyz::{DType, NpyFile, Order, TypeChar, npz::NpzArchive};
use std::{collections::BTreeMap, io, path::Path};
use tch::Tensor;

/// Decoded arrays above this size are taken for corrupt files.
const LARGEST_DECODED_BYTES: u64 = 4 << 30;

/// All float32 and float64 arrays of an `.npz` file, compressed or not, by their names; arrays of other types are left
/// out. On the CPU, contiguous, in the dtype of the file.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is no `.npz` file, or is damaged.
pub fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bad = |e: String| {
        let problem = format!("is not a readable .npz file ({e})");
        Error::content(path, problem, "write it again by numpy.savez, or copy it again")
    };
    let mut archive = NpzArchive::new(io::Cursor::new(files::read(path)?)).map_err(|e| bad(e.to_string()))?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(bad("no arrays in it".into()));
    }
    let mut arrays = BTreeMap::new();
    for name in names {
        let in_array = |e: String| bad(format!("array {name}: {e}"));
        let array = archive.by_name(&name).map_err(|e| in_array(e.to_string()))?;
        let array = array.ok_or_else(|| in_array("missing".into()))?;
        if let Some(tensor) = read(array).map_err(in_array)? {
            arrays.insert(name, tensor);
        }
    }
    Ok(arrays)
}

/// The values of one array, `None` where it does not hold floats.
fn read(array: NpyFile<impl io::Read>) -> Result<Option<Tensor>, String> {
    let DType::Plain(ty) = array.dtype() else { return Ok(None) };
    let size = match (ty.type_char(), ty.size_field()) {
        (TypeChar::Float, size @ (4 | 8)) => size,
        _ => return Ok(None),
    };
    let shape: Vec<u64> = array.shape().to_vec();
    let bytes = shape.iter().try_fold(size, |product, &n| product.checked_mul(n));
    if bytes.is_none_or(|bytes| bytes > LARGEST_DECODED_BYTES) {
        return Err(format!("shape {shape:?}, which is more than {LARGEST_DECODED_BYTES} bytes"));
    }
    let fortran = array.order() == Order::Fortran;
    let values = match size {
        4 => array.into_vec::<f32>().map_err(|e| e.to_string()).map(|v| Tensor::f_from_slice(&v)),
        _ => array.into_vec::<f64>().map_err(|e| e.to_string()).map(|v| Tensor::f_from_slice(&v)),
    };
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    let shaped = |values: Tensor| -> Result<Tensor, tch::TchError> {
        if !fortran {
            return values.f_reshape(&shape);
        }
        let backwards: Vec<i64> = shape.iter().rev().copied().collect();
        let axes: Vec<i64> = (0..shape.len() as i64).rev().collect();
        values.f_reshape(&backwards)?.f_permute(&axes)?.f_contiguous()
    };
    values?.and_then(shaped).map(Some).map_err(|e| crate::error::first_line(&e))
}
