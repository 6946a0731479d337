//! Sums over rows, folded back to the array that the rows are read from, on all threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::{huge_pages::zeros, rows::Rows};

/// Parts that are summed up at once: a fixed number, so that threads change no bit.
const PARTS: usize = 16;

impl Rows {
    /// Lets `fill(rows, first, sum)` add what some rows contribute to the array from position `first` on (see
    /// [`Rows::add_adjoint`]), for all rows part by part. What it returned, in the order of the rows, and the whole sum.
    ///
    /// Where parts follow each other along the array they are added where they belong: all at once, or, where each overlaps
    /// the next one as those of windows of an image do, every second one and then the others; otherwise each to an array of
    /// its own.
    pub(crate) fn fold<R: Send>(
        &self,
        fill: impl Fn(Range<usize>, usize, &mut [f64]) -> R + Sync,
    ) -> (Vec<R>, Vec<f64>) {
        for turns in 1..=2 {
            let parts = self.parts(turns * PARTS);
            if parts.windows(turns + 1).all(|parts| parts[0].1.end <= parts[turns].1.start) {
                return self.in_turns(&parts, turns, fill);
            }
        }
        self.side_by_side(&self.parts(PARTS), fill)
    }

    /// At most `count` runs of about as many rows, and the places that each of them is read from.
    fn parts(&self, count: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let size = self.len().div_ceil(count);
        let rows = (0..self.len()).step_by(size).map(|first| first..self.len().min(first + size));
        rows.map(|rows| (rows.clone(), self.places(rows))).collect()
    }

    /// Parts of which every `turns`-th one is apart from the next.
    fn in_turns<R: Send>(
        &self,
        parts: &[(Range<usize>, Range<usize>)],
        turns: usize,
        fill: impl Fn(Range<usize>, usize, &mut [f64]) -> R + Sync,
    ) -> (Vec<R>, Vec<f64>) {
        let mut sum = zeros(self.data().len());
        let mut results = Vec::with_capacity(parts.len());
        for turn in 0..turns {
            let mut rest = &mut sum[..];
            let mut behind = 0;
            let mut slices = Vec::with_capacity(parts.len());
            for (rows, places) in parts.iter().skip(turn).step_by(turns) {
                let (here, after) = rest[places.start - behind..].split_at_mut(places.len());
                slices.push((rows.clone(), places.start, here));
                (rest, behind) = (after, places.end);
            }
            let of_turn = slices.into_par_iter().map(|(rows, first, sum)| fill(rows, first, sum));
            results.push(of_turn.collect::<Vec<R>>().into_iter());
        }
        let results = (0..parts.len()).filter_map(|part| results[part % turns].next()).collect();
        (results, sum)
    }

    /// Parts anywhere.
    fn side_by_side<R: Send>(
        &self,
        parts: &[(Range<usize>, Range<usize>)],
        fill: impl Fn(Range<usize>, usize, &mut [f64]) -> R + Sync,
    ) -> (Vec<R>, Vec<f64>) {
        let filled = parts.par_iter().map(|(rows, places)| {
            let mut sum = zeros(places.len());
            (fill(rows.clone(), places.start, &mut sum), sum)
        });
        let (results, sums): (Vec<R>, Vec<Vec<f64>>) = filled.unzip();
        let mut total = zeros(self.data().len());
        let size = total.len().div_ceil(PARTS);
        total.par_chunks_mut(size).enumerate().for_each(|(c, total)| {
            let here = c * size..c * size + total.len();
            for ((_, places), sum) in parts.iter().zip(&sums) {
                let (first, last) = (places.start.max(here.start), places.end.min(here.end));
                if first < last {
                    let values = &sum[first - places.start..last - places.start];
                    let total = &mut total[first - here.start..last - here.start];
                    total.iter_mut().zip(values).for_each(|(t, v)| *t += v);
                }
            }
        });
        (results, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::KernelError;

    /// Rows apart, windows that overlap, and windows in any order.
    #[test]
    fn every_value_of_every_row_arrives_once() -> Result<(), KernelError> {
        let image: Vec<f32> = (0..40 * 30).map(|v| (v % 17) as f32).collect();
        let windows = Rows::windows(image.clone(), &[40, 30], &[3, 4], &[1, 1])?;
        let shuffled: Vec<usize> = (0..windows.len()).map(|i| (i * 611) % windows.len()).collect();
        let all = [
            Rows::dense(image.clone(), 8)?,
            windows.clone(),
            windows.clone().at(&shuffled)?,
            windows.clone().at(&[5, 700])?,
            Rows::windows(image.clone(), &[40, 30], &[40, 2], &[1, 1])?,
        ];
        for rows in all {
            let (counts, sum) = rows.fold(|range, first, sum| {
                let mut gradient = vec![0.0; rows.dim()];
                for i in range.clone() {
                    gradient.iter_mut().enumerate().for_each(|(k, g)| *g = (i + 100 * k) as f64);
                    rows.add_adjoint(i, &gradient, first, sum);
                }
                range
            });
            let mut expected = vec![0.0; image.len()];
            for i in 0..rows.len() {
                let gradient: Vec<f64> = (0..rows.dim()).map(|k| (i + 100 * k) as f64).collect();
                rows.add_adjoint(i, &gradient, 0, &mut expected);
            }
            assert_eq!(sum, expected);
            assert_eq!(counts.into_iter().flatten().collect::<Vec<_>>(), (0..rows.len()).collect::<Vec<_>>());
        }
        Ok(())
    }
}
