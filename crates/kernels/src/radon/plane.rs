//! Lines of values with zeros around them, so that nobody asks whether a window leaves the image.

use super::number::Number;
use rayon::prelude::*;

/// Zeros before and after every line: a window of 32 values that meets the line lies inside.
pub(super) const PAD: usize = 40;

/// Where a position lies in a line with [`PAD`] zeros in front: the pixel below it, and its weight of the next one.
#[inline(always)]
pub(super) fn split<T: Number>(position: f64) -> (usize, T) {
    let from_start = position + PAD as f64;
    // 32 bits, which processors convert at once, are more than a line has.
    let pixel = from_start as i32;
    (pixel as usize, T::of(from_start - f64::from(pixel)))
}

/// Lines of `width` values each, one after the other.
pub(super) struct Plane<T> {
    data: Vec<T>,
    width: usize,
    stride: usize,
}

impl<T: Number> Plane<T> {
    /// Zeros.
    pub(super) fn zeros(lines: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(16) + 2 * PAD;
        Self { data: vec![T::ZERO; lines * stride], width, stride }
    }

    /// Lines filled one by one, on the threads of the current pool.
    pub(super) fn filled(lines: usize, width: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let mut plane = Self::zeros(lines, width);
        let padded = plane.data.par_chunks_mut(plane.stride).enumerate().with_min_len(8);
        padded.for_each(|(k, line)| fill(k, &mut line[PAD..PAD + width]));
        plane
    }

    /// A line with its zeros; its values begin at [`PAD`].
    #[inline(always)]
    pub(super) fn padded(&self, line: usize) -> &[T] {
        &self.data[line * self.stride..][..self.stride]
    }

    /// The values of a line.
    pub(super) fn values(&self, line: usize) -> &[T] {
        &self.padded(line)[PAD..PAD + self.width]
    }

    /// Groups of at most `count` lines with their zeros, each with the number of its first line.
    pub(super) fn groups_mut(
        &mut self,
        count: usize,
    ) -> impl IndexedParallelIterator<Item = (usize, &mut [T])> {
        let chunks = self.data.par_chunks_mut(count * self.stride).enumerate();
        chunks.map(move |(k, group)| (k * count, group))
    }

    /// Length of a line with its zeros.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }
}
