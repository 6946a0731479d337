//! The two layouts of matrices in bfloat16: rows for the left operand of a product, panels for the right one.

use super::block::{BLOCK, Block};
use super::buffer::Buffer;
use super::transpose::transpose;
use super::{round, rounding, widen};
use pulp::Arch;

/// How many bfloat16 numbers stand for one float32 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandPrecision {
    /// One: a relative error of at most 2^-9.
    Single,
    /// Two, whose sum is meant: a relative error of at most about 2^-17.
    Double,
}

impl OperandPrecision {
    fn parts(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Double => 2,
        }
    }
}

/// `n` rounded up to what blocks need.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(32)
}

/// A matrix row by row, padded with zeros to multiples of 32 rows and columns: the left operand of a product.
#[derive(Debug, Clone, Default)]
pub struct Bf16Rows {
    /// Bf16Rows and columns without padding.
    pub(super) shape: (usize, usize),
    /// The rounded values, and what rounding has left over.
    pub(super) parts: Vec<Buffer>,
}

/// A matrix in panels of 16 columns, each panel holding two rows (one after the other in every column) after
/// another, padded like [`Bf16Rows`]: the right operand of a product.
#[derive(Debug, Clone, Default)]
pub struct Bf16Panels {
    /// Bf16Rows and columns without padding.
    pub(super) shape: (usize, usize),
    pub(super) parts: Vec<Buffer>,
}

impl Bf16Rows {
    /// The zero matrix.
    pub fn zeros(rows: usize, columns: usize, precision: OperandPrecision) -> Self {
        let part = || Buffer::zeros(padded(rows) * padded(columns));
        Self { shape: (rows, columns), parts: (0..precision.parts()).map(|_| part()).collect() }
    }

    /// A matrix whose values, and those of the padding, are still to be written.
    pub(crate) fn stale(shape: (usize, usize), parts: usize) -> Self {
        let part = |_| Buffer::stale(padded(shape.0) * padded(shape.1));
        Self { shape, parts: (0..parts).map(part).collect() }
    }

    /// A row-major float32 matrix whose rows begin `stride` values apart, rounded.
    pub fn new(
        values: &[f32],
        rows: usize,
        columns: usize,
        stride: usize,
        precision: OperandPrecision,
    ) -> Self {
        let mut out = Self::stale((rows, columns), precision.parts());
        for part in &mut out.parts {
            if padded(columns) > columns {
                part.fill(0);
            } else {
                part[rows * columns..].fill(0);
            }
        }
        out.set(values, stride);
        out
    }

    /// Replaces the values, as [`Bf16Rows::new`] takes them.
    pub fn set(&mut self, values: &[f32], stride: usize) {
        let (rows, columns) = self.shape;
        let width = padded(columns);
        for r in 0..rows {
            let from = &values[r * stride..r * stride + columns];
            let (first, rest) = self.parts.split_at_mut(1);
            let high = &mut first[0][r * width..r * width + columns];
            match rest.first_mut() {
                None => Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        for (h, x) in high.iter_mut().zip(from) {
                            *h = round(*x);
                        }
                    },
                ),
                Some(low) => {
                    let low = &mut low[r * width..r * width + columns];
                    Arch::new().dispatch(
                        #[inline(always)]
                        || {
                            for ((h, l), x) in high.iter_mut().zip(low).zip(from) {
                                *h = round(*x);
                                *l = round(*x - widen(*h));
                            }
                        },
                    );
                }
            }
        }
    }

    /// Writes `max(value + bias, 0)` of a block of values, rounded: a bias for every column, and ReLU.
    pub(crate) fn put_relu(&mut self, row: usize, column: usize, block: &Block, bias: &[f32; BLOCK]) {
        let width = padded(self.shape.1);
        rounding::relu(&mut self.parts[0][row * width + column..], width, block, bias);
    }

    /// Writes a block of values, rounded, where `active` is not zero, and zeros elsewhere: the way back through ReLU.
    pub(crate) fn put_where(&mut self, row: usize, column: usize, block: &Block, active: &Bf16Rows) {
        let width = padded(self.shape.1);
        let at = row * width + column;
        rounding::masked(&mut self.parts[0][at..], &active.parts[0][at..], width, block);
    }

    /// The sum of every column.
    pub(crate) fn column_sums(&self) -> Vec<f32> {
        let (rows, columns) = self.shape;
        let width = padded(columns);
        let mut out = vec![0.0; columns];
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for part in &self.parts {
                    for line in part.chunks_exact(width).take(rows) {
                        for (o, v) in out.iter_mut().zip(line) {
                            *o += widen(*v);
                        }
                    }
                }
            },
        );
        out
    }

    /// Bf16Rows without padding.
    pub fn rows(&self) -> usize {
        self.shape.0
    }

    /// Columns without padding.
    pub fn columns(&self) -> usize {
        self.shape.1
    }

    /// The same matrix in panels.
    pub fn panels(&self) -> Bf16Panels {
        let (rows, columns) = self.shape;
        let (height, width) = (padded(rows), padded(columns));
        let mut out = Bf16Panels::stale(self.shape, self.parts.len());
        for (from, to) in self.parts.iter().zip(&mut out.parts) {
            for pair in 0..height / 2 {
                let (upper, lower) = from[2 * pair * width..][..2 * width].split_at(width);
                Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        for panel in 0..width / 16 {
                            let at = panel * 16 * height + pair * 32;
                            let line =
                                interleaved(sixteen(&upper[panel * 16..]), sixteen(&lower[panel * 16..]));
                            write(&line, &mut to[at..at + 32]);
                        }
                    },
                );
            }
        }
        out
    }

    /// The transpose in panels.
    pub fn transposed_panels(&self) -> Bf16Panels {
        let (rows, columns) = self.shape;
        let (height, width) = (padded(rows), padded(columns));
        let mut out = Bf16Panels::stale((columns, rows), self.parts.len());
        for (from, to) in self.parts.iter().zip(&mut out.parts) {
            for panel in 0..height / 16 {
                for pair in 0..width / 2 / 16 {
                    let from = &from[panel * 16 * width + pair * 32..];
                    let at = panel * 16 * width + pair * 16 * 32;
                    Arch::new().dispatch(
                        #[inline(always)]
                        || {
                            let mut tile = [[0_u32; 16]; 16];
                            for (line, from) in tile.iter_mut().zip(from.chunks(width)) {
                                *line = pairs(from);
                            }
                            transpose(&mut tile);
                            put(&tile, &mut to[at..at + 512], 32);
                        },
                    );
                }
            }
        }
        out
    }

    /// The transpose.
    pub fn transpose(&self) -> Bf16Rows {
        let (rows, columns) = self.shape;
        let (height, width) = (padded(rows), padded(columns));
        let mut out = Bf16Rows::stale((columns, rows), self.parts.len());
        for (from, to) in self.parts.iter().zip(&mut out.parts) {
            for top in (0..height).step_by(32) {
                for left in (0..width).step_by(16) {
                    let from = &from[top * width + left..];
                    Arch::new().dispatch(
                        #[inline(always)]
                        || {
                            let mut tile = [[0_u32; 16]; 16];
                            for (line, from) in tile.iter_mut().zip(from.chunks(2 * width)) {
                                *line = interleaved(sixteen(from), sixteen(&from[width..]));
                            }
                            transpose(&mut tile);
                            put(&tile, &mut to[left * height + top..], height);
                        },
                    );
                }
            }
        }
        out
    }
}

impl Bf16Panels {
    fn stale(shape: (usize, usize), parts: usize) -> Self {
        let part = |_| Buffer::stale(padded(shape.0) * padded(shape.1));
        Self { shape, parts: (0..parts).map(part).collect() }
    }

    /// Columns without padding.
    pub fn columns(&self) -> usize {
        self.shape.1
    }

    /// Replaces the columns from `column`, a multiple of [`BLOCK`], on by those of `from`.
    pub(crate) fn replace_columns(&mut self, column: usize, from: &Bf16Panels) {
        for (to, from) in self.parts.iter_mut().zip(&from.parts) {
            to[column * padded(self.shape.0)..][..from.len()].copy_from_slice(from);
        }
    }

    /// Replaces the rows from `row`, a multiple of [`BLOCK`], on by those of `from`.
    pub(crate) fn replace_rows(&mut self, row: usize, from: &Bf16Panels) {
        let (height, part) = (16 * padded(self.shape.0), 16 * padded(from.shape.0));
        for (to, from) in self.parts.iter_mut().zip(&from.parts) {
            for (to, from) in to.chunks_exact_mut(height).zip(from.chunks_exact(part)) {
                to[16 * row..][..part].copy_from_slice(from);
            }
        }
    }
}

/// The first 16 numbers.
#[inline(always)]
fn sixteen(from: &[u16]) -> &[u16; 16] {
    from.first_chunk().unwrap_or(&[0; 16])
}

/// Pairs of the numbers of two rows.
#[inline(always)]
fn interleaved(upper: &[u16; 16], lower: &[u16; 16]) -> [u32; 16] {
    std::array::from_fn(|c| u32::from(upper[c]) | u32::from(lower[c]) << 16)
}

/// 32 numbers as 16 pairs.
#[inline(always)]
fn pairs(from: &[u16]) -> [u32; 16] {
    let from: &[u16; 32] = from.first_chunk().unwrap_or(&[0; 32]);
    std::array::from_fn(|k| u32::from(from[2 * k]) | u32::from(from[2 * k + 1]) << 16)
}

/// 16 pairs as 32 numbers.
#[inline(always)]
fn write(line: &[u32; 16], to: &mut [u16]) {
    for (o, v) in to.as_chunks_mut::<2>().0.iter_mut().zip(line) {
        *o = [*v as u16, (*v >> 16) as u16];
    }
}

/// Writes 16 rows of 16 pairs, `stride` numbers apart.
#[inline(always)]
fn put(tile: &[[u32; 16]; 16], to: &mut [u16], stride: usize) {
    for (line, to) in tile.iter().zip(to.chunks_mut(stride)) {
        write(line, &mut to[..32]);
    }
}
