//! Soft minima and their gradient in the query rows, in float64 for the pairs that count.

use super::{
    bounds::squared_distance,
    softmin::{BLOCK, Block, Side, WINDOW, scores, tile},
};
use crate::{
    error::KernelError,
    rows::Rows,
    simd::{Isa, Kernel, LANES, Lanes, dispatch},
};

/// Queries that share blocks.
const CHUNK: usize = 192;

/// The [soft minima](super::softmin) `phi` again, with squared distances in float64, and the gradient of `sum_i a_i phi_i`
/// with respect to the flat array behind the rows: `2 a_i (x_i - mean_i)` folded back, `mean_i` being the mean of the
/// references under `b_j exp((psi_j + phi_i - |x_i - y_j|^2) / eps)`. `near` are the soft minima to float32 precision.
pub(super) fn exact(
    queries: &Rows,
    references: Side<'_>,
    weights: Option<&[f64]>,
    eps: f64,
    near: &[f64],
) -> Result<(Vec<f64>, Vec<f64>), KernelError> {
    let heights = references.heights(queries.dim(), eps)?;
    let count = queries.len();
    let (values, sum) = queries.fold(|range, place, sum| {
        let mut values = Vec::with_capacity(range.len());
        for first in range.clone().step_by(CHUNK) {
            let end = range.end.min(first + CHUNK);
            let (references, heights) = (references.rows, &heights[..]);
            let near = &near[first..end];
            let sums = dispatch(Isa::V4, Means { queries, references, heights, eps, first, near });
            for (i, sums) in (first..end).zip(sums) {
                values.push(-sums.top - eps * sums.total.ln());
                let factor = 2.0 * weights.map_or(1.0 / count as f64, |weights| weights[i]);
                let gradient: Vec<f64> = sums.gaps.iter().map(|gap| factor * gap / sums.total).collect();
                queries.add_adjoint(i, &gradient, place, sum);
            }
        }
        values
    });
    Ok((values.concat(), sum))
}

/// Sums over references under the weights of one query, relative to the best score so far.
struct Sums {
    /// The best `psi_j + eps log b_j - |x - y_j|^2`.
    top: f64,
    /// Of the weights.
    total: f64,
    /// Of the weights times `x - y`.
    gaps: Vec<f64>,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, score: f64, eps: f64, x: &[f32], y: &[f32]) {
        if score > self.top {
            let old = ((self.top - score) / eps).exp();
            self.total *= old;
            self.gaps.iter_mut().for_each(|gap| *gap *= old);
            self.top = score;
        }
        let weight = ((score - self.top) / eps).exp();
        self.total += weight;
        for ((gap, x), y) in self.gaps.iter_mut().zip(x).zip(y) {
            *gap += weight * (f64::from(*x) - f64::from(*y));
        }
    }
}

/// Relative error of scores in float32, with a margin.
const ROUNDING: f64 = 4e-6;

/// The sums of some queries.
struct Means<'a> {
    queries: &'a Rows,
    references: &'a Rows,
    heights: &'a [f64],
    eps: f64,
    first: usize,
    near: &'a [f64],
}

impl Kernel for Means<'_> {
    type Output = Vec<Sums>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Vec<Sums> {
        lanes.run(
            #[inline(always)]
            || if L::WIDE { self.tiles::<L, 12>(lanes) } else { self.tiles::<L, 4>(lanes) },
        )
    }
}

impl Means<'_> {
    #[inline(always)]
    fn tiles<L: Lanes, const X: usize>(self, lanes: L) -> Vec<Sums> {
        let (dim, stride) = (self.queries.dim(), self.queries.dim().next_multiple_of(LANES));
        let (mut row, mut block) = (vec![0.0; dim], Block::new(dim));
        let mut out = Block::scores::<X>();
        let tiles: Vec<Vec<[f32; X]>> = (0..self.near.len())
            .step_by(X)
            .map(|at| tile(self.queries, self.first + at, self.near.len() - at, &mut row))
            .collect();
        let mut rows = vec![0.0; self.near.len() * stride];
        rows.chunks_exact_mut(stride).enumerate().for_each(|(i, row)| self.queries.read(self.first + i, row));
        let mut sums: Vec<Sums> = self
            .near
            .iter()
            .map(|_| Sums { top: f64::NEG_INFINITY, total: 0.0, gaps: vec![0.0; dim] })
            .collect();
        let sizes = self.heights.iter().filter(|h| h.is_finite());
        let slack = WINDOW * self.eps + ROUNDING * sizes.fold(0.0, |most: f64, h| most.max(h.abs()));
        for first in (0..self.references.len()).step_by(BLOCK) {
            block.fill(self.references, self.heights, first);
            for (t, tile) in tiles.iter().enumerate() {
                scores(lanes, tile, &block, &mut out);
                for (i, scores) in (t * X..self.near.len()).zip(out.iter()) {
                    let cut = (-self.near[i] - slack - ROUNDING * self.near[i].abs()) as f32;
                    let of_query = (&rows[i * stride..][..stride], &mut sums[i]);
                    self.pairs(&block, first, block.filled(scores), cut, of_query);
                }
            }
        }
        sums
    }

    /// Adds the references of a block whose scores are not below `cut`.
    #[inline(always)]
    fn pairs(
        &self,
        block: &Block,
        first: usize,
        scores: &[[f32; LANES]],
        cut: f32,
        (x, sums): (&[f32], &mut Sums),
    ) {
        for (g, scores) in scores.iter().enumerate() {
            // One branch for sixteen.
            if !scores.iter().fold(false, |any, &score| any | (score >= cut)) {
                continue;
            }
            for (l, _) in scores.iter().enumerate().filter(|(_, score)| **score >= cut) {
                let b = g * LANES + l;
                let Some(height) = self.heights.get(first + b) else { continue };
                let y = &block.rows[b * x.len()..][..x.len()];
                sums.add(height - squared_distance(x, y), self.eps, x, y);
            }
        }
    }
}
