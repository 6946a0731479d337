//! The exact c-transform between two sets of rows: what a semi-dual solver of optimal transport evaluates.
//!
//! For query rows `x_i` (`i < N`), reference rows `y_j` (`j < M`) and a potential `psi_j`
//!
//! `value_i = min_j |x_i - y_j|^2 - psi_j`, `winner_i = argmin_j`.
//!
//! The cost is the full square, without a factor 1/2. With it the squared Wasserstein distance between the uniform
//! measures on both sets is `W_2^2 = max_psi mean_i value_i + mean_j psi_j` (Peyré and Cuturi, "Computational
//! optimal transport", 2019, section 5.3). A supergradient in `psi_j` is `1 / M` less the share of the
//! queries that `j` won ([`CTransform::shares`]); the gradient in `x_i` is `2 (x_i - y_winner) / N`
//! ([`Queries::gradient`]), as in the Wasserstein patch prior of Hertrich, Houdard and Redenbach (2022).
//!
//! [`wasserstein1`] is `W_1` of two small samples, by an exact [`assignment()`].
//!
//! Entropic transport replaces the minimum by a soft one, [`softmin()`], and is solved by [`SinkhornSolver`].
//!
//! # Exactness
//! Values are `sum_k (x_ik - y_jk)^2 - psi_j` in float64 from the float32 rows, summed in an order that is the same on all
//! processors, and the winner is the one a search over all pairs would find: the lowest index among equal
//! values, where of equal rows only the one of largest `psi` (the lowest index again) takes part. Neither instructions, nor the number of threads, nor the winners that a search starts from change a bit.
//! All bounds used to skip pairs have rigorous margins for rounding.
//!
//! # Cost
//! `O(N + M)` memory. References and queries are indexed once ([`References`], [`Queries`]), the potential is new at
//! every call. Most pairs are skipped by bounds in the leading principal axes; where that does not pay, as for
//! noise, all pairs are looked at with vector instructions, of bytes where the processor multiplies those faster.
//! Where one potential follows another closely, as in the last steps of a solver, [`Queries::cache_candidates`] pays: it costs as much as one and a half to ten transforms, and most later ones
//! then take a tenth of the time.
//!
//! ```
//! use std::sync::Arc;
//! use smalti_kernels::{rows::Rows, transport::{Queries, References}};
//! # fn main() -> Result<(), smalti_kernels::error::KernelError> {
//! let y = Rows::dense(vec![0.0, 0.0, 3.0, 4.0], 2)?;
//! let x = Rows::dense(vec![1.0, 0.0, 3.0, 3.0, 0.0, 0.5], 2)?;
//! let mut queries = Queries::new(&Arc::new(References::new(&y)?), x)?;
//! let result = queries.c_transform(&[0.0, 0.5])?;
//! assert_eq!(result.winners, [0, 1, 0]);
//! assert_eq!(result.values, [1.0, 0.5, 0.25]);
//! # Ok(())
//! # }
//! ```

mod assignment;
mod bounds;
mod brute_force;
mod bvh;
mod c_transform;
mod candidate_search;
mod candidates;
mod dual;
mod float_bounds;
mod initial_guess;
mod int8_bounds;
mod kd_tree;
mod packet;
mod packet_search;
mod pca;
mod potential;
mod queries;
mod reference_index;
mod references;
mod search;
mod sinkhorn;
mod soft_double;
mod soft_gradient;
#[cfg(test)]
mod soft_tests;
mod softmin;
mod strategy;
#[cfg(test)]
mod tests;
mod tiled_search;
mod weights;
mod worklist;

pub use assignment::{assignment, wasserstein1};
pub use c_transform::CTransform;
pub use dual::{DualMethod, DualSolver, Solution};
pub use queries::Queries;
pub use references::References;
pub use sinkhorn::{SinkhornMethod, SinkhornSolver, SoftSolution};
pub use softmin::{Side, softmin};
