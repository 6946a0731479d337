//! Archives of arrays that numpy has written (`.npz`), read without running any code that is in them.

use crate::error::{Error, Result};
use crate::files::{self, check_room, deflated_at_most};
use npyz::{DType, NpyFile, Order, TypeChar, npz::NpzArchive};
use std::io::{self, Read};
use std::{collections::BTreeMap, path::Path};
use tch::Tensor;

/// All float32 and float64 arrays of an `.npz` file, compressed or not, in either byte order and either order of axes, by their
/// names; arrays of other types are left out. On the CPU, contiguous in row-major order, in the dtype of the file.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is no `.npz` file, is damaged, or announces more than it
/// can hold.
pub fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bad = |e: String| {
        // Some answers show the place, in further lines.
        let problem = format!("is not a readable .npz file ({})", e.lines().next().unwrap_or_default());
        Error::content(path, problem, "write it again by numpy.savez, or copy it again")
    };
    let bytes = files::read(path)?;
    let length = bytes.len() as u64;
    let mut archive = NpzArchive::new(io::Cursor::new(bytes)).map_err(|e| bad(e.to_string()))?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(bad("no arrays in it".into()));
    }
    let mut arrays = BTreeMap::new();
    for name in names {
        let in_array = |e: String| bad(format!("array {name}: {e}"));
        check_head(&mut archive, &name).map_err(in_array)?;
        let array = archive.by_name(&name).map_err(|e| in_array(e.to_string()))?;
        let array = array.ok_or_else(|| in_array("missing".into()))?;
        let Some(size) = float_size(&array) else { continue };
        let bytes = array.shape().iter().try_fold(size, |product, &n| product.checked_mul(n));
        let what = format!("array {name} of shape {:?}", array.shape());
        check_room(path, &what, bytes, deflated_at_most(length), 3)?;
        if let Some(tensor) = read(array, size).map_err(in_array)? {
            arrays.insert(name, tensor);
        }
    }
    Ok(arrays)
}

/// The library takes as much memory as the head of an array announces for itself, and reads its brackets by recursion:
/// one whose head is long or deep is refused before. numpy reads heads of at most 10,000 bytes.
fn check_head(archive: &mut NpzArchive<impl io::Read + io::Seek>, name: &str) -> Result<(), String> {
    const LONGEST: u64 = 10_000;
    const DEEPEST: usize = 16;
    let entry = archive.zip_archive().by_name(&npyz::npz::file_name_from_array_name(name));
    let mut head = Vec::new();
    // Magic, version, and the length in 2 bytes, or, from version 2 on, in 4.
    let read = entry.map_err(|e| e.to_string())?.take(12 + LONGEST).read_to_end(&mut head);
    read.map_err(|e| e.to_string())?;
    let (text, length) = match head[..] {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, u64::from(u16::from_le_bytes([a, b]))),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => (12, u64::from(u32::from_le_bytes([a, b, c, d]))),
        _ => return Err("is cut off".into()),
    };
    if length > LONGEST {
        return Err(format!("has a head of {length} bytes, more than {LONGEST}"));
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in head[text..].iter().take(length as usize) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEEPEST { Err(format!("has a head of {deepest} brackets in each other")) } else { Ok(()) }
}

/// Bytes of a value, `None` where they are no floats that are read.
fn float_size(array: &NpyFile<impl io::Read>) -> Option<u64> {
    let DType::Plain(ty) = array.dtype() else { return None };
    match (ty.type_char(), ty.size_field()) {
        (TypeChar::Float, size @ (4 | 8)) => Some(size),
        _ => None,
    }
}

/// The values of one array, `None` where it does not hold floats of `size` bytes.
fn read(array: NpyFile<impl io::Read>, size: u64) -> Result<Option<Tensor>, String> {
    let shape: Vec<u64> = array.shape().to_vec();
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
