//! Decoded images, whatever file they come from, and what is refused.

use crate::value_range::Stored;

/// A decoded image: `height x width` pixels of `channels` interleaved samples, as [`load_gray`](super::load_gray) says.
pub(super) struct Raster {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) samples: Vec<f32>,
    pub(super) stored: Stored,
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
