//! Projection angles from a file.

use npyz::{DType, NpyFile, TypeChar};
use smalti_base::{Error, Result, files};
use std::path::Path;

/// The unit of the angles in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AngleUnit {
    /// 360 to a turn.
    Degrees,
    /// `2 pi` to a turn.
    Radians,
}

/// The angles of a file in radians, in its order: `.npy` (one axis, float32 or float64), otherwise text with one number a
/// line. Empty lines and what follows `#` are left out, and so is a first line that is no number (the heading of a column).
///
/// Where the angles look as if they had the other unit (degrees within one radian-sized turn, radians over more than 20
/// turns), a warning says so.
///
/// # Errors
/// [`Error::File`] where the file cannot be read; [`Error::Content`] where it has no angle, something else than one finite
/// number a line, or is no such array.
pub fn read_angles(path: &Path, unit: AngleUnit) -> Result<Vec<f64>> {
    let bytes = files::read(path)?;
    let numbers = if bytes.starts_with(b"\x93NUMPY") { array(&bytes) } else { text(&bytes) };
    let remedy = "one angle a line, or a .npy array of floats with one axis";
    let numbers = numbers.map_err(|problem| Error::content(path, problem, remedy))?;
    if numbers.is_empty() {
        return Err(Error::content(path, "has no angles", remedy));
    }
    if let Some(k) = numbers.iter().position(|angle| !angle.is_finite()) {
        return Err(Error::content(path, format!("angle {k} is {}", numbers[k]), remedy));
    }
    let largest = numbers.iter().fold(0.0_f64, |largest, angle| largest.max(angle.abs()));
    match unit {
        AngleUnit::Degrees if numbers.len() > 10 && largest <= 6.3 => {
            tracing::warn!("{}: all angles are within {largest} degrees: are they radians?", path.display());
        }
        AngleUnit::Radians if largest > 126.0 => {
            tracing::warn!("{}: angles up to {largest} radians: are they degrees?", path.display());
        }
        _ => {}
    }
    Ok(match unit {
        AngleUnit::Degrees => numbers.into_iter().map(f64::to_radians).collect(),
        AngleUnit::Radians => numbers,
    })
}

fn text(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is neither text nor a .npy array".to_owned())?;
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let lines = lines.map(|(k, line)| (k, line.split('#').next().unwrap_or_default().trim()));
    let mut numbers = Vec::new();
    for (place, (k, line)) in lines.filter(|(_, line)| !line.is_empty()).enumerate() {
        match line.parse() {
            Ok(number) => numbers.push(number),
            Err(_) if place == 0 && !line.contains(|c: char| c.is_ascii_digit()) => {}
            Err(_) => return Err(format!("line {} is no number: {:.40}", k + 1, line)),
        }
    }
    Ok(numbers)
}

fn array(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let array = NpyFile::new(bytes).map_err(|e| e.to_string())?;
    let DType::Plain(ty) = array.dtype() else { return Err("is an array of records".into()) };
    let shape = array.shape().to_vec();
    if shape.len() != 1 {
        return Err(format!("is an array of shape {shape:?}"));
    }
    let values = match (ty.type_char(), ty.size_field()) {
        (TypeChar::Float, 4) => array.into_vec::<f32>().map(|v| v.into_iter().map(f64::from).collect()),
        (TypeChar::Float, 8) => array.into_vec::<f64>(),
        _ => return Err(format!("is an array of {ty}")),
    };
    values.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    fn read(name: &str, bytes: &[u8], unit: AngleUnit) -> Result<Vec<f64>, String> {
        let folder = std::env::temp_dir().join(format!("smalti-angles-{}-{name}", std::process::id()));
        std::fs::write(&folder, bytes).unwrap();
        let found = read_angles(&folder, unit).map_err(|e| e.to_string());
        std::fs::remove_file(&folder).unwrap();
        found
    }

    /// A `.npy` file of version 1 with these bytes of values.
    fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn text_and_arrays_give_radians() {
        let close =
            |a: Vec<f64>, b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        let text = "\u{feff}angle\r\n0\r\n90.0 # quarter\r\n\r\n-1.8e2\r\n";
        assert!(close(read("a.csv", text.as_bytes(), AngleUnit::Degrees).unwrap(), &[0.0, PI / 2.0, -PI]));
        assert!(close(read("b.txt", b"0.5\n3\n", AngleUnit::Radians).unwrap(), &[0.5, 3.0]));
        let double: Vec<u8> = [0.0_f64, 180.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let single: Vec<u8> = [0.25_f32, 1.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(close(read("c.npy", &npy("<f8", "(2,)", &double), AngleUnit::Degrees).unwrap(), &[0.0, PI]));
        assert!(close(
            read("d.npy", &npy("<f4", "(2,)", &single), AngleUnit::Radians).unwrap(),
            &[0.25, 1.5]
        ));
    }

    #[test]
    fn what_is_no_list_of_angles_is_refused_in_one_line() {
        let line = |name: &str, bytes: &[u8]| {
            let line = read(name, bytes, AngleUnit::Degrees).unwrap_err();
            assert_eq!(line.lines().count(), 1, "{line}");
            line
        };
        assert!(line("e.txt", b"").contains("no angles"));
        assert!(line("f.csv", b"0\n1,2\n").contains("line 2 is no number: 1,2"));
        // Only a first line, and only words, are a heading.
        assert!(line("k.csv", b"1x\n2\n").contains("line 1 is no number: 1x"));
        assert!(line("l.csv", b"0\nangle\n").contains("line 2 is no number: angle"));
        assert!(line("m.csv", b"angle\nunit\n0\n").contains("line 2 is no number: unit"));
        assert!(line("g.txt", b"nan\n").contains("angle 0 is NaN"));
        assert!(line("h.txt", b"\xff\xfe\x00").contains("neither text"));
        assert!(line("i.npy", &npy("<f8", "(1, 2)", &[0; 16])).contains("shape [1, 2]"));
        assert!(line("j.npy", &npy("<i4", "(2,)", &[0; 8])).contains("array of"));
        assert!(read_angles(Path::new("/nowhere/angles.txt"), AngleUnit::Degrees).is_err());
    }
}
