//! Soft minima and the masses of a plan in float64, one pair after the other: for an `eps` that float32 cannot resolve
//! among the squared distances.

use rayon::prelude::*;

use super::{bounds::squared_distance, softmin::Side};
use crate::{
    error::KernelError,
    rows::Rows,
    simd::{Isa, Kernel, LANES, Lanes, dispatch},
};

/// Queries that share one reading of the references.
const CHUNK: usize = 16;

/// What [`softmin`](super::softmin()) gives, with scores in float64.
///
/// # Errors
/// Those of [`softmin`](super::softmin()).
pub(super) fn softmin(queries: &Rows, references: Side<'_>, eps: f64) -> Result<Vec<f64>, KernelError> {
    let heights = references.heights(queries.dim(), eps)?;
    Ok(for_each_query(queries, references.rows, |_, costs| {
        let scores = || heights.iter().zip(costs).map(|(height, cost)| height - cost);
        let top = scores().fold(f64::NEG_INFINITY, f64::max);
        -top - eps * scores().map(|score| ((score - top) / eps).exp()).sum::<f64>().ln()
    }))
}

/// What the plan `P_ij = a_i b_j exp((phi_i + psi_j - |x_i - y_j|^2) / eps)` sends from each row `i` of `from`, the
/// potential `phi` and the weights `a` of which that side has. Infinite where a potential does not fit at all.
///
/// Both marginals of one plan are its masses from either side: every `P_ij` has the same bits in both.
pub(super) fn masses(from: Side<'_>, to: Side<'_>, eps: f64) -> Vec<f64> {
    let weight = |side: &Side<'_>, i: usize| side.weights.map_or(1.0 / side.rows.len() as f64, |w| w[i]);
    for_each_query(from.rows, to.rows, |i, costs| {
        let a = weight(&from, i);
        let mass = |(j, cost): (usize, &f64)| {
            let share = a * weight(&to, j);
            // A weight of 0 times an overflow is 0.
            let gap = || from.potential[i] + to.potential[j] - cost;
            if share > 0.0 { share * (gap() / eps).exp() } else { 0.0 }
        };
        costs.iter().enumerate().map(mass).sum()
    })
}

/// What `of` makes of each query and its squared distances to all references, in the order of the queries.
fn for_each_query(queries: &Rows, references: &Rows, of: impl Fn(usize, &[f64]) -> f64 + Sync) -> Vec<f64> {
    let mut values = vec![0.0; queries.len()];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(c, values)| {
        let first = c * CHUNK;
        let costs = dispatch(Isa::V4, Costs { queries, references, first, count: values.len() });
        let costs = costs.chunks_exact(references.len());
        values
            .iter_mut()
            .zip(costs)
            .enumerate()
            .for_each(|(k, (value, costs))| *value = of(first + k, costs));
    });
    values
}

/// Squared distances of some queries to all references, query by query.
struct Costs<'a> {
    queries: &'a Rows,
    references: &'a Rows,
    first: usize,
    count: usize,
}

impl Kernel for Costs<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Vec<f64> {
        lanes.run(
            #[inline(always)]
            || {
                let (stride, all) = (self.queries.dim().next_multiple_of(LANES), self.references.len());
                let mut rows = vec![0.0; self.count * stride];
                let rows_mut = rows.chunks_exact_mut(stride).enumerate();
                rows_mut.for_each(|(k, row)| self.queries.read(self.first + k, row));
                let (mut reference, mut costs) = (vec![0.0; stride], vec![0.0; self.count * all]);
                for j in 0..all {
                    self.references.read(j, &mut reference);
                    for (k, row) in rows.chunks_exact(stride).enumerate() {
                        costs[k * all + j] = squared_distance(row, &reference);
                    }
                }
                costs
            },
        )
    }
}
