//! What the numbers that a file stores mean: which of them is 0 and which is 1.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The range of stored numbers that becomes `[0, 1]`.
///
/// Everything here is scored with a range of 1, and settings of methods belong to images in `[0, 1]`: an image in other
/// units gives other results and other scores.
///
/// In text and in experiment files it is `by_type`, `by_data`, or the two numbers: `[0, 4095]` in TOML, `0,4095` in text.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum ValueRange {
    /// Integers are divided by the largest value of their type (so signed ones lie in `[-1, 1]`), floats come as they are
    /// stored.
    #[default]
    ByType,
    /// `(v - min) / (max - min)` with the smallest and the largest value of the file; what belongs together, such as an image
    /// and its reference, is then brought to different units if it lies in different files.
    ByData,
    /// `(v - low) / (high - low)` of stored values `v`, whatever their type; others than those between the two are kept.
    Given {
        /// The stored value that becomes 0.
        low: f64,
        /// The stored value that becomes 1; larger than `low`.
        high: f64,
    },
}

impl ValueRange {
    /// [`ValueRange::Given`], checked.
    ///
    /// # Errors
    /// [`Error::Value`] where one is not finite or `high` is not larger.
    pub fn given(low: f64, high: f64) -> Result<Self> {
        if low.is_finite() && (high - low).is_finite() && high > low {
            return Ok(Self::Given { low, high });
        }
        Err(Error::value(
            "range of values",
            "two finite numbers, the second one larger",
            format!("{low}, {high}"),
        ))
    }

    /// Brings `values`, which are stored ones divided by `unit` (the largest value of their type; 1 of floats), into this
    /// range, and says in words which was taken.
    ///
    /// # Errors
    /// A problem in words where the range is that of constant data.
    pub(crate) fn apply(self, values: &mut [f32], unit: f64, kind: &str) -> Result<String, String> {
        let (low, high) = match self {
            Self::ByType if unit == 1.0 => return Ok(format!("{kind} as stored")),
            Self::ByType => return Ok(format!("{kind} divided by {unit}")),
            Self::Given { low, high } => (low, high),
            Self::ByData => {
                let (least, most) = extremes(values);
                if most <= least {
                    return Err(format!("is constant ({least}), so its data give no range of values"));
                }
                (f64::from(least) * unit, f64::from(most) * unit)
            }
        };
        values.iter_mut().for_each(|v| *v = ((f64::from(*v) * unit - low) / (high - low)) as f32);
        Ok(format!("{kind} from {low} to {high}"))
    }
}

/// What values were stored as, before they were divided by the largest value of their type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    /// The type, for readers: `uint16`, `float`.
    pub kind: &'static str,
    /// What they were divided by; 1 of floats.
    pub unit: f64,
    /// Bits of unsigned integers that stand for grey values; 0 of all else.
    pub bits: u32,
}

impl Stored {
    /// Floats.
    pub const FLOAT: Self = Self { kind: "float", unit: 1.0, bits: 0 };

    /// Unsigned integers of so many bits.
    pub fn unsigned(bits: u32) -> Self {
        let kind = match bits {
            16 => "uint16",
            32 => "uint32",
            64 => "uint64",
            _ => "uint8",
        };
        Self { kind, unit: (2.0_f64).powi(bits as i32) - 1.0, bits }
    }

    /// Signed integers of so many bits.
    pub fn signed(bits: u32) -> Self {
        let kind = match bits {
            16 => "int16",
            32 => "int32",
            64 => "int64",
            _ => "int8",
        };
        Self { kind, unit: (2.0_f64).powi(bits as i32 - 1) - 1.0, bits: 0 }
    }
}

/// How many bits of an unsigned integer type with `bits` bits are used, where that is a number that cameras have and
/// images are dark for: 8, 10, 12 or 14 of 16. `values` are the stored ones divided by the type's largest.
pub fn bits_used(values: &[f32], bits: u32) -> Option<u32> {
    let most = (f64::from(extremes(values).1) * f64::from(u16::MAX)).round();
    (bits == 16 && most > 0.0).then_some(())?;
    [8, 10, 12, 14].into_iter().find(|&used| most < f64::from(1_u32 << used))
}

/// The smallest and the largest value.
pub fn extremes(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &v| (least.min(v), most.max(v)))
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByType => f.write_str("by_type"),
            Self::ByData => f.write_str("by_data"),
            Self::Given { low, high } => write!(f, "{low},{high}"),
        }
    }
}

impl FromStr for ValueRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "by_type" => return Ok(Self::ByType),
            "by_data" => return Ok(Self::ByData),
            _ => {}
        }
        let numbers = text
            .split_once(',')
            .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
        let (low, high) = numbers.ok_or_else(|| {
            Error::value("range of values", "by_type, by_data or two numbers, e.g. 0,4095", text)
        })?;
        Self::given(low, high)
    }
}

/// How a range is written in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"by_type\", \"by_data\" or two numbers such as [0, 4095]")]
enum Written {
    Named(String),
    Given([f64; 2]),
}

impl TryFrom<Written> for ValueRange {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Named(text) => text.parse(),
            Written::Given([low, high]) => Self::given(low, high),
        }
    }
}

impl From<ValueRange> for Written {
    fn from(range: ValueRange) -> Self {
        match range {
            ValueRange::Given { low, high } => Self::Given([low, high]),
            named => Self::Named(named.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        let given = ValueRange::Given { low: 0.0, high: 4095.0 };
        for (text, range) in
            [("by_type", ValueRange::ByType), ("by_data", ValueRange::ByData), ("0,4095", given)]
        {
            assert_eq!((text.parse::<ValueRange>().unwrap(), range.to_string()), (range, text.into()));
        }
        for wrong in ["", "by", "1", "2,1", "0,inf", "NaN,1", "1,1"] {
            assert!(wrong.parse::<ValueRange>().is_err(), "{wrong}");
        }
        let json = |text: &str| serde_json::from_str::<ValueRange>(text);
        assert_eq!(json("[0, 4095]").unwrap(), given);
        assert_eq!(json(&serde_json::to_string(&ValueRange::ByData).unwrap()).unwrap(), ValueRange::ByData);
        assert!(json("[3, 3]").unwrap_err().to_string().contains("the second one larger"));
        assert!(json("{}").unwrap_err().to_string().contains("such as [0, 4095]"));
    }

    #[test]
    fn bits_that_cameras_have_are_recognised() {
        let of = |most: u16| bits_used(&[0.0, f32::from(most) / 65535.0], 16);
        for (most, bits) in [
            (1, Some(8)),
            (255, Some(8)),
            (256, Some(10)),
            (4095, Some(12)),
            (4096, Some(14)),
            (16384, None),
            (0, None),
        ] {
            assert_eq!(of(most), bits, "{most}");
        }
        assert_eq!(bits_used(&[0.1], 8), None);
    }
}
