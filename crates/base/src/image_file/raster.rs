//! Decoded images, whatever file they come from, and what is refused.

/// A decoded image: `height x width` pixels of `channels` interleaved samples, as [`load_gray`](super::load_gray) says.
pub(super) struct Raster {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) samples: Vec<f32>,
    pub(super) stored: Stored,
}

/// What samples were before they were divided by the largest value of their type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// The type, for readers.
    pub(super) kind: &'static str,
    /// What they were divided by; 1 of floats.
    pub(super) unit: f64,
    /// Bits of unsigned integers that stand for grey values; 0 of all else.
    pub(super) bits: u32,
}

impl Stored {
    pub(super) const FLOAT: Self = Self { kind: "float", unit: 1.0, bits: 0 };

    /// Unsigned integers.
    pub(super) fn unsigned(bits: u32) -> Self {
        let kind = match bits {
            16 => "uint16",
            32 => "uint32",
            64 => "uint64",
            _ => "uint8",
        };
        Self { kind, unit: (2.0_f64).powi(bits as i32) - 1.0, bits }
    }

    /// Signed integers.
    #[cfg(feature = "tiff")]
    pub(super) fn signed(bits: u32) -> Self {
        let kind = match bits {
            16 => "int16",
            32 => "int32",
            64 => "int64",
            _ => "int8",
        };
        Self { kind, unit: (2.0_f64).powi(bits as i32 - 1) - 1.0, bits: 0 }
    }
}

pub(super) const SAVE_AGAIN: &str = "save or download the file again";

/// How many values are NaN or infinite, and where the first is.
pub(super) struct NonFinite {
    count: usize,
    row: usize,
    pub(super) column: usize,
}

impl NonFinite {
    /// `row_length`: samples in one row.
    pub(super) fn find(samples: &[f32], row_length: usize) -> Option<Self> {
        let first = samples.iter().position(|v| !v.is_finite())?;
        let count = samples[first..].iter().filter(|v| !v.is_finite()).count();
        Some(Self { count, row: first / row_length, column: first % row_length })
    }
}

impl std::fmt::Display for NonFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, row, column } = self;
        let pixels = if *count == 1 { "pixel" } else { "pixels" };
        write!(
            f,
            "{count} NaN or infinite {pixels}, the first at row {row}, column {column} (counted from 0)"
        )
    }
}
