//! Single arrays as numpy writes them (`.npy`), read without running any code that is in them.

use crate::error::{Error, Result};
use crate::files::{self, check_room};
use crate::value_range::Stored;
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The first bytes of every such file.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// Brackets in each other that a head may have: the library reads them by recursion.
const DEEPEST: usize = 16;

/// Loads an array of floats or integers, integers divided by the largest value of their type, and says what that was.
///
/// # Shapes
/// That of the array, float32, contiguous, on the CPU.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it is no such file, is cut off, announces more than it holds,
/// or holds something else than float32, float64 or integers of 8 to 32 bits.
pub fn load(path: &Path) -> Result<(Tensor, Stored)> {
    let bytes = files::read(path)?;
    let bad = |e: String| {
        let problem = format!("is not a readable .npy file ({})", e.lines().next().unwrap_or_default());
        Error::content(path, problem, "write it again by numpy.save, or copy it again")
    };
    check_head(&bytes).map_err(bad)?;
    let array = NpyFile::new(&bytes[..]).map_err(|e| bad(e.to_string()))?;
    let DType::Plain(ty) = array.dtype() else { return Err(bad("an array of records".into())) };
    let shape: Vec<u64> = array.shape().to_vec();
    let announced = shape.iter().try_fold(ty.size_field(), |product, &n| product.checked_mul(n));
    check_room(path, &format!("an array of shape {shape:?}"), announced, bytes.len() as u64, 6)?;
    let fortran = array.order() == Order::Fortran;
    let (values, stored) = match (ty.type_char(), ty.size_field()) {
        (TypeChar::Float, 4) => (values::<f32>(array, Stored::FLOAT), Stored::FLOAT),
        (TypeChar::Float, 8) => (values::<f64>(array, Stored::FLOAT), Stored::FLOAT),
        (TypeChar::Uint, 1) => (values::<u8>(array, Stored::unsigned(8)), Stored::unsigned(8)),
        (TypeChar::Uint, 2) => (values::<u16>(array, Stored::unsigned(16)), Stored::unsigned(16)),
        (TypeChar::Uint, 4) => (values::<u32>(array, Stored::unsigned(32)), Stored::unsigned(32)),
        (TypeChar::Int, 1) => (values::<i8>(array, Stored::signed(8)), Stored::signed(8)),
        (TypeChar::Int, 2) => (values::<i16>(array, Stored::signed(16)), Stored::signed(16)),
        (TypeChar::Int, 4) => (values::<i32>(array, Stored::signed(32)), Stored::signed(32)),
        _ => {
            return Err(bad(format!(
                "an array of {ty}; float32, float64 and integers of 8 to 32 bits are read"
            )));
        }
    };
    let values = Tensor::f_from_slice(&values.map_err(bad)?)?;
    let axes: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    if !fortran {
        return Ok((values.f_reshape(&axes)?, stored));
    }
    let backwards: Vec<i64> = axes.iter().rev().copied().collect();
    let order: Vec<i64> = (0..axes.len() as i64).rev().collect();
    Ok((values.f_reshape(&backwards)?.f_permute(&order)?.f_contiguous()?, stored))
}

/// Saves a tensor as a float32 array in row-major order, values as they are.
///
/// # Shapes
/// Any, any float dtype (float64 is rounded to float32) and device.
///
/// # Errors
/// [`Error::Shape`] for integers; [`Error::File`] where the file cannot be written, and then nothing is left of it.
pub fn save(path: &Path, values: &Tensor) -> Result<()> {
    if !values.is_floating_point() {
        return Err(Error::shape("array to save", "float values", values.kind()));
    }
    let axes = values.size();
    let flat =
        values.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])?;
    let list: String = axes.iter().map(|n| format!("{n}, ")).collect();
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", list.trim_end());
    // Magic, version, length and head together are a multiple of 64 bytes.
    let length = (10 + head.len() + 1).next_multiple_of(64) - 10;
    let head = format!("{head:<width$}\n", width = length - 1);
    let mut bytes = [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), head.as_bytes()].concat();
    bytes.extend(Vec::<f32>::try_from(flat)?.into_iter().flat_map(f32::to_le_bytes));
    files::write_atomically(path, &bytes)
}

/// Values divided by the unit of their type.
fn values<T: Deserialize + Into<f64>>(array: NpyFile<&[u8]>, stored: Stored) -> Result<Vec<f32>, String> {
    let values = array.into_vec::<T>().map_err(|e| e.to_string())?;
    Ok(values.into_iter().map(|v| (v.into() / stored.unit) as f32).collect())
}

/// Whether the head is as long as it says, and no deeper than the library can read.
fn check_head(bytes: &[u8]) -> Result<(), String> {
    let (start, length): (usize, usize) = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Err("it is cut off".into()),
    };
    let Some(head) =
        bytes.starts_with(MAGIC).then(|| bytes.get(start..start.saturating_add(length))).flatten()
    else {
        return Err("it is cut off, or something else".into());
    };
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in head {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEEPEST { Err(format!("a head of {deepest} brackets in each other")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn npy(descr: &str, fortran: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let head = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        [MAGIC, &[1, 0], &(head.len() as u16).to_le_bytes(), head.as_bytes(), values].concat()
    }

    #[test]
    fn what_is_saved_comes_back_exactly() {
        let (_folder, path) = file("a.npy", b"");
        let values = Tensor::from_slice(&[0.1_f32, -3.0, f32::NAN, 1e30, 5.0, 6.0]).reshape([1, 2, 3]);
        save(&path, &values).unwrap();
        let (back, stored) = load(&path).unwrap();
        assert_eq!((back.size(), stored), (vec![1, 2, 3], Stored::FLOAT));
        let bits = |t: &Tensor| {
            Vec::<f32>::try_from(t.reshape([-1])).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(&back), bits(&values));
        assert!(save(&path, &Tensor::from_slice(&[1_i64])).is_err());
    }

    #[test]
    fn integers_are_divided_and_columns_come_first_where_the_file_says_so() {
        let values: Vec<u8> = [0_u16, 65535, 13107, 26214].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (_folder, path) = file("a.npy", &npy("<u2", "True", "(2, 2)", &values));
        let (image, stored) = load(&path).unwrap();
        assert_eq!((stored.kind, stored.bits), ("uint16", 16));
        let expected = Tensor::from_slice(&[0.0_f32, 0.2, 1.0, 0.4]).reshape([2, 2]);
        assert!((image - expected).abs().max().double_value(&[]) < 1e-7);
    }

    #[test]
    fn damaged_files_are_one_clear_line() {
        let deep = npy("<f4", "False", &"(".repeat(40), &[]);
        for (bytes, problem) in [
            (&b""[..], "cut off"),
            (&b"\x93NUMPY\x01\x00\xff\xff"[..], "cut off"),
            (&npy("<f4", "False", "(9, 9)", &[0; 8])[..], "announces an array of shape [9, 9]"),
            (&npy("<c8", "False", "(1,)", &[0; 8])[..], "are read"),
            (&deep[..], "brackets"),
        ] {
            let (_folder, path) = file("a.npy", bytes);
            let line = load(&path).unwrap_err().to_string();
            assert!(line.contains(problem) && line.lines().count() == 1, "{line}");
        }
    }
}
