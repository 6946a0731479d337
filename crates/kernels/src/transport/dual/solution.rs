//! What solvers of the semi-dual find.

use crate::transport::CTransform;

/// What a solver has found.
#[derive(Debug, Clone)]
pub struct Solution {
    /// `sum_i w_i value_i + mean_j psi_j` at the final potential: a lower bound of `W_2^2`, for
    /// [`DualMethod::Converge`](super::DualMethod::Converge) with a margin for rounding.
    pub value: f64,
    /// The cost of a transport plan, with a margin for rounding: an upper bound of `W_2^2`, where the method has one.
    pub upper: Option<f64>,
    /// The c-transform of the final potential, for [`Queries::gradient`](super::super::Queries::gradient). The gradient
    /// of `value` in the rows takes weights that add up to 1.
    pub transform: CTransform,
    /// c-transforms of all queries, and what searches cost in terms of those.
    pub evaluations: usize,
    /// Whether the gap asked for was reached.
    pub converged: bool,
}

impl Solution {
    /// `(upper - value) / upper`, at least 0: by how much, relative to the upper bound, `value` can be below `W_2^2`.
    pub fn gap(&self) -> Option<f64> {
        let gap = |upper: f64| if upper > self.value { (upper - self.value) / upper } else { 0.0 };
        self.upper.map(gap)
    }
}

/// The semi-dual.
pub(super) fn semi_dual_value(transform: &CTransform, weights: Option<&[f64]>, psi: &[f64]) -> f64 {
    let first = match weights {
        None => transform.mean(),
        Some(weights) => transform.values.iter().zip(weights).map(|(v, w)| v * w).sum(),
    };
    first + psi.iter().sum::<f64>() / psi.len() as f64
}
