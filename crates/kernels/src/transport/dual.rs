//! Solvers of the semi-dual of optimal transport: the potential `psi` that makes c-transforms a distance.
//!
//! For query rows `x_i` with weights `w_i` (uniform: `1 / N`; always normalised to sum 1) and `M` reference rows `y_j`
//! of weight `1 / M` each
//!
//! `W_2^2 = max_psi sum_i w_i min_j (|x_i - y_j|^2 - psi_j) + mean_j psi_j`.
//!
//! The cost is the full square, without a factor 1/2. For every `psi` the expression is a lower bound of `W_2^2`;
//! the cost of any transport plan with the right marginals is an upper bound. The difference of the two is the gap.
//!
//! Two methods ([`DualMethod`]): [`AveragedSgd`](DualMethod::AveragedSgd), a fixed number of supergradient steps as
//! published with the Wasserstein patch prior (Hertrich, Houdard and Redenbach, "Wasserstein patch prior for image
//! superresolution", 2022), which stops far below the maximum, and [`Converge`](DualMethod::Converge), which
//! ends with a plan and a certified gap.
//!
//! ```
//! use std::sync::Arc;
//! use smalti_kernels::{rows::Rows, transport::{DualMethod, DualSolver, Queries, References}};
//! # fn main() -> Result<(), smalti_kernels::error::KernelError> {
//! let references = Arc::new(References::new(&Rows::dense(vec![0.0, 1.0, 5.0], 1)?)?);
//! let mut queries = Queries::new(&references, Rows::dense(vec![2.0, 0.0, 0.0], 1)?)?;
//! let mut dual = DualSolver::new(&references, DualMethod::default())?;
//! let solution = dual.solve(&mut queries, None)?;
//! assert!(solution.converged);
//! assert!((solution.value - 10.0 / 3.0).abs() < 1e-2); // 0 -> 0, 0 -> 1, 2 -> 5
//! # Ok(())
//! # }
//! ```

mod ascent;
mod auction;
mod auction_solver;
mod augmenting_paths;
mod averaged_sgd;
mod entropic_lbfgs;
mod integer_marginals;
mod primal_dual;
mod shortlists;
mod solution;
#[cfg(test)]
mod tests;
mod transport_plan;

use std::sync::Arc;

use super::{Queries, References, weights};
use crate::error::KernelError;

pub use solution::Solution;

/// How to maximise the semi-dual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DualMethod {
    /// `steps` times `psi_j += step (1 / M - share_j)`, with `share_j` the weight of the queries that `j` wins. The result
    /// is the average of the iterates from the third on (of fewer steps, the last), as with PyTorch's `ASGD` at
    /// `t0 = 1`; its weight decay of 1e-4 and its decay of the step are left out.
    ///
    /// For parity with published results (10 or 20 steps of size 1). No upper bound, so never `converged`.
    AveragedSgd {
        /// Number of steps, at least 1.
        steps: usize,
        /// Size of a step, positive.
        step: f64,
    },
    /// Until the gap is at most `gap` times the upper bound, or no more than what rounding of weights and sums can be.
    Converge {
        /// Relative gap to reach, positive.
        gap: f64,
        /// Most evaluations of the c-transform to spend, at least 1, see [`Solution::evaluations`]; a solution without lists
        /// to go on with, such as the first one, may take eight more for those. About five let the potential follow rows that move a
        /// little from solution to solution, too few for a certified gap; to keep that takes about ten, with fewer queries than
        /// references twenty to thirty, and from nothing to a small gap about a hundred.
        evaluations: usize,
    },
}

impl Default for DualMethod {
    /// To a relative gap of 1e-3.
    fn default() -> Self {
        Self::Converge { gap: 1e-3, evaluations: 200 }
    }
}

/// A solver and its potential, from which the next solution starts: while the rows change little from one call to the
/// next, so does the potential.
#[derive(Debug, Clone)]
pub struct DualSolver {
    references: Arc<References>,
    method: DualMethod,
    psi: Vec<f64>,
    warm_start: Option<Arc<primal_dual::WarmStart>>,
}

impl DualSolver {
    /// A solver that starts from the potential zero.
    ///
    /// # Errors
    /// No step or evaluation, a step or gap that is not positive and finite.
    pub fn new(references: &Arc<References>, method: DualMethod) -> Result<Self, KernelError> {
        let (count, what, size) = match method {
            DualMethod::AveragedSgd { steps, step } => (steps, "step of a dual solver", step),
            DualMethod::Converge { gap, evaluations } => (evaluations, "relative gap of a dual solver", gap),
        };
        if count == 0 {
            return Err(KernelError::new("steps or evaluations of a dual solver", "at least 1", count));
        }
        if !(size > 0.0 && size.is_finite()) {
            return Err(KernelError::new(what, "a positive, finite number", size));
        }
        Ok(Self {
            references: Arc::clone(references),
            method,
            psi: vec![0.0; references.len()],
            warm_start: None,
        })
    }

    /// The method.
    pub fn method(&self) -> DualMethod {
        self.method
    }

    /// The potential, one value for each reference row.
    pub fn potential(&self) -> &[f64] {
        &self.psi
    }

    /// Sets the potential to start from: that of an earlier run.
    ///
    /// # Errors
    /// A number of values other than the references', values that are not finite or above 1e35 in size; the old
    /// potential then stays.
    pub fn set_potential(&mut self, psi: &[f64]) -> Result<(), KernelError> {
        self.references.index.check_potential(psi)?;
        self.psi.copy_from_slice(psi);
        Ok(())
    }

    /// Improves the potential for these queries and keeps it. `query_weights` (one for each query, not negative, of any sum)
    /// default to equal ones.
    ///
    /// A gap that was not reached is no error: see [`Solution::converged`].
    ///
    /// # Errors
    /// Queries of other references, weights of another number than the queries, negative or not finite, or all zero.
    pub fn solve(
        &mut self,
        queries: &mut Queries,
        query_weights: Option<&[f64]>,
    ) -> Result<Solution, KernelError> {
        if !Arc::ptr_eq(&self.references, queries.references()) {
            let got = format!("others, {} rows", queries.references().len());
            return Err(KernelError::new("references of the queries", "those of the dual solver", got));
        }
        let weights = weights::normalised(queries.len(), query_weights)?;
        match self.method {
            DualMethod::AveragedSgd { steps, step } => {
                averaged_sgd::solve(&mut self.psi, queries, weights.as_deref(), steps, step)
            }
            DualMethod::Converge { gap, evaluations } => {
                let goal = primal_dual::Goal { gap, evaluations };
                primal_dual::solve(&mut self.psi, &mut self.warm_start, queries, weights.as_deref(), goal)
            }
        }
    }
}
