//! Soft minima between two sets of rows: the c-transform of entropic optimal transport.
//!
//! For query rows `x_i`, reference rows `y_j` of weight `b_j`, a potential `psi_j` and `eps > 0`
//!
//! `value_i = -eps log sum_j b_j exp((psi_j - |x_i - y_j|^2) / eps)`,
//!
//! which tends to `min_j |x_i - y_j|^2 - psi_j` as `eps` tends to 0. The cost is the full square. Blocks of references
//! are laid out for vector instructions, looked at by a chunk of queries and forgotten: no more than a block is stored
//! for each thread, whatever the number of pairs.
//!
//! Squared distances are sums of squared differences in float32, never an expansion, so that close rows are right;
//! sums over references are in float64. Every query is summed up in the order of the references: threads change no bit.

use rayon::prelude::*;

use crate::{
    elementary::exp,
    error::KernelError,
    rows::Rows,
    simd::{Aligned, Group, Isa, Kernel, LANES, Lanes, dispatch},
};

/// Sixteens of references in a block.
const GROUPS: usize = 16;

/// Queries that share the blocks of one task.
const CHUNK: usize = 192;

/// What lies so many `eps` below the best weighs less than 1e-17 of it and is left out.
pub(super) const WINDOW: f64 = 40.0;

/// One side of a transport problem: rows, what each of them weighs (the same where not given), a potential.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// At least 0, of sum 1.
    pub weights: Option<&'a [f64]>,
    /// One value for each row.
    pub potential: &'a [f64],
}

/// `-eps log sum_j b_j exp((psi_j - |x_i - y_j|^2) / eps)` for all queries, on the threads of the current rayon pool.
///
/// Errors in a value are of the order of float32 rounding of the squared distances that count.
///
/// # Errors
/// Rows of different lengths, potentials or weights that are not finite or of another number than the references,
/// weights that are negative or all 0, an `eps` outside of `1e-30..1e30`.
pub fn softmin(queries: &Rows, references: Side<'_>, eps: f64) -> Result<Vec<f64>, KernelError> {
    let heights = references.heights(queries.dim(), eps)?;
    let mut values = vec![0.0; queries.len()];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(c, values)| {
        dispatch(
            Isa::V4,
            Soft { queries, references: references.rows, heights: &heights, eps, first: c * CHUNK, values },
        );
    });
    Ok(values)
}

impl Side<'_> {
    /// `psi_j + eps log b_j`, checked.
    pub(super) fn heights(&self, dim: usize, eps: f64) -> Result<Vec<f64>, KernelError> {
        let count = self.rows.len();
        if self.rows.dim() != dim {
            let expected = format!("{dim} as the query rows have");
            return Err(KernelError::new("length of the reference rows", expected, self.rows.dim()));
        }
        if !(1e-30..1e30).contains(&eps) {
            return Err(KernelError::new("entropic smoothing eps", "a number in 1e-30..1e30", eps));
        }
        self.checked()?;
        let Some(weights) = self.weights else {
            let same = -eps * (count as f64).ln();
            return Ok(self.potential.iter().map(|psi| psi + same).collect());
        };
        Ok(self.potential.iter().zip(weights).map(|(psi, w)| psi + eps * w.ln()).collect())
    }

    /// Refuses a potential and weights that are none of these rows.
    pub(super) fn checked(&self) -> Result<(), KernelError> {
        let count = self.rows.len();
        for (what, values) in [("potential", Some(self.potential)), ("weights", self.weights)] {
            let Some(values) = values else { continue };
            if values.len() != count {
                let expected = format!("{count}, one value for each row");
                return Err(KernelError::new(format!("length of the {what}"), expected, values.len()));
            }
            let wrong = |v: &f64| v.is_nan() || v.abs() > 1e30 || (what == "weights" && *v < 0.0);
            if let Some(j) = values.iter().position(wrong) {
                let got = format!("{} at position {j}", values[j]);
                let expected = "finite values of at most 1e30 in size, weights of at least 0";
                return Err(KernelError::new(what, expected, got));
            }
        }
        if self.weights.is_some_and(|weights| weights.iter().all(|w| *w == 0.0)) {
            return Err(KernelError::new("weights", "a positive one among them", "zeros only"));
        }
        Ok(())
    }
}

/// Some references, laid out in sixteens.
pub(super) struct Block {
    /// Value by value, group by group.
    panels: Vec<Aligned>,
    /// `psi_j + eps log b_j` in float32; -inf where there is no reference.
    heights: [Group; GROUPS],
    /// The rows one after the other, each with zeros up to a multiple of sixteen.
    pub(super) rows: Vec<f32>,
    /// Number of groups.
    groups: usize,
}

/// References of a block.
pub(super) const BLOCK: usize = GROUPS * LANES;

impl Block {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            panels: vec![Aligned([0.0; LANES]); GROUPS * dim],
            heights: [[f32::NEG_INFINITY; LANES]; GROUPS],
            rows: vec![0.0; BLOCK * dim.next_multiple_of(LANES)],
            groups: 0,
        }
    }

    /// Room for the scores of `X` queries.
    pub(super) fn scores<const X: usize>() -> Box<[Scores; X]> {
        Box::new([[[0.0; LANES]; GROUPS]; X])
    }

    /// The scores that belong to references of the block.
    pub(super) fn filled<'a>(&self, scores: &'a Scores) -> &'a [Group] {
        &scores[..self.groups]
    }

    /// The references from `first` on.
    pub(super) fn fill(&mut self, references: &Rows, heights: &[f64], first: usize) {
        let (dim, stride) = (references.dim(), references.dim().next_multiple_of(LANES));
        let count = (references.len() - first).min(BLOCK);
        self.groups = count.div_ceil(LANES);
        self.heights = [[f32::NEG_INFINITY; LANES]; GROUPS];
        for (b, row) in self.rows.chunks_exact_mut(stride).enumerate().take(count) {
            references.read(first + b, row);
            self.heights[b / LANES][b % LANES] = heights[first + b] as f32;
            for (panel, v) in self.panels[b / LANES * dim..].iter_mut().zip(&row[..dim]) {
                panel.0[b % LANES] = *v;
            }
        }
    }
}

/// Heights less squared distances of one query to the references of a block.
pub(super) type Scores = [Group; GROUPS];

/// The scores of up to `X` queries, given value by value.
#[inline(always)]
pub(super) fn scores<L: Lanes, const X: usize>(
    lanes: L,
    tile: &[[f32; X]],
    block: &Block,
    out: &mut [Scores; X],
) {
    let dim = tile.len();
    for (g, panel) in block.panels.chunks_exact(dim).enumerate().take(block.groups) {
        let mut sums = [lanes.splat(0.0); X];
        for (values, row) in tile.iter().zip(panel) {
            let row = lanes.load(&row.0);
            for (sum, &value) in sums.iter_mut().zip(values) {
                let gap = lanes.sub(lanes.splat(value), row);
                *sum = lanes.mul_add(gap, gap, *sum);
            }
        }
        let height = lanes.load(&block.heights[g]);
        for (out, sum) in out.iter_mut().zip(sums) {
            out[g] = lanes.store(lanes.sub(height, sum));
        }
    }
}

/// `X` queries from `first` on, value by value; the last one fills up the tile.
#[inline(always)]
pub(super) fn tile<const X: usize>(
    queries: &Rows,
    first: usize,
    count: usize,
    row: &mut [f32],
) -> Vec<[f32; X]> {
    let mut tile = vec![[0.0; X]; queries.dim()];
    for x in 0..X {
        queries.read(first + x.min(count - 1), row);
        tile.iter_mut().zip(&*row).for_each(|(values, &v)| values[x] = v);
    }
    tile
}

/// The largest of some scores.
#[inline(always)]
fn largest<L: Lanes>(lanes: L, scores: &[Group]) -> f32 {
    let mut best = lanes.splat(f32::NEG_INFINITY);
    for group in scores {
        best = lanes.max(best, lanes.load(group));
    }
    lanes.store(best).iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))
}

/// `sum exp((score - top) / eps)` over groups that reach into the window below `top`.
#[inline(always)]
fn total<L: Lanes>(lanes: L, scores: &[Group], top: f32, eps: f64) -> f64 {
    let (cut, inverse) = (lanes.splat(top - (WINDOW * eps) as f32), (1.0 / eps) as f32);
    let mut sums = [0.0_f32; LANES];
    for group in scores {
        if lanes.at_most(cut, lanes.load(group)) != 0 {
            for (sum, &score) in sums.iter_mut().zip(group) {
                *sum += exp((score - top) * inverse);
            }
        }
    }
    sums.iter().map(|&s| f64::from(s)).sum()
}

/// Soft minima of some queries.
struct Soft<'a> {
    queries: &'a Rows,
    references: &'a Rows,
    heights: &'a [f64],
    eps: f64,
    first: usize,
    values: &'a mut [f64],
}

impl Kernel for Soft<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        lanes.run(
            #[inline(always)]
            || if L::WIDE { self.tiles::<L, 12>(lanes) } else { self.tiles::<L, 4>(lanes) },
        );
    }
}

impl Soft<'_> {
    #[inline(always)]
    fn tiles<L: Lanes, const X: usize>(self, lanes: L) {
        let dim = self.queries.dim();
        let (mut row, mut block) = (vec![0.0; dim], Block::new(dim));
        let mut out = Block::scores::<X>();
        let tiles: Vec<Vec<[f32; X]>> = (0..self.values.len())
            .step_by(X)
            .map(|at| tile(self.queries, self.first + at, self.values.len() - at, &mut row))
            .collect();
        // The best score so far, and the sum relative to it.
        let mut state = vec![(f32::NEG_INFINITY, 0.0_f64); self.values.len()];
        for first in (0..self.references.len()).step_by(BLOCK) {
            block.fill(self.references, self.heights, first);
            for (tile, state) in tiles.iter().zip(state.chunks_mut(X)) {
                scores(lanes, tile, &block, &mut out);
                for ((top, sum), scores) in state.iter_mut().zip(out.iter()) {
                    let scores = block.filled(scores);
                    let best = largest(lanes, scores).max(*top);
                    if best > f32::NEG_INFINITY {
                        let old = ((f64::from(*top) - f64::from(best)) / self.eps).exp();
                        *sum = *sum * old + total(lanes, scores, best, self.eps);
                        *top = best;
                    }
                }
            }
        }
        for (value, (top, sum)) in self.values.iter_mut().zip(state) {
            *value = -f64::from(top) - self.eps * sum.ln();
        }
    }
}
