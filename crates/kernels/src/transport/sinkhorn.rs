//! Entropic and semi-unbalanced optimal transport in the log domain.
//!
//! Between queries `x_i` of weight `a_i` (sum 1) and `M` references `y_j` of weight `b_j = 1 / M`, with the full square
//! as cost,
//!
//! `OT(x) = min_P sum_ij P_ij |x_i - y_j|^2 + eps KL(P | a b^T) + rho KL(P^T 1 | b)`, `P 1 = a`,
//!
//! `KL(p | q) = sum p log(p / q) - p + q`. Balanced transport is `rho = infinity`: there `P^T 1 = b`. It is the maximum
//! over `psi` of the semi-dual
//!
//! `H(psi, x) = sum_i a_i phi_i + mean_j rho (1 - exp(-psi_j / rho))`, of which the last term is `mean_j psi_j` where
//! balanced, and `phi_i` is the [soft minimum](super::softmin) at `psi`. So the queries' marginal is exact for every
//! `psi`, `H` is a lower bound of `OT`, and what remains is the marginal of the references. Nothing is debiased:
//! `OT` of a set and itself is not 0.
//!
//! One iteration is `psi_j = rho / (rho + eps) softmin_i(phi)_j`, then where relaxed the constant that makes
//! `mean_j exp(-psi_j / rho) = 1`, which is the best one (Séjourné, Vialard and Peyré, "Faster unbalanced optimal
//! transport: translation invariant Sinkhorn and 1-D Frank-Wolfe", 2022, section 3). A start without a potential begins with a large `eps` that
//! shrinks by a factor in each iteration (Schmitzer, "Stabilized sparse scaling algorithms", 2019, section 3).
//!
//! ```
//! use smalti_kernels::{rows::Rows, transport::{SinkhornMethod, SinkhornSolver}};
//! # fn main() -> Result<(), smalti_kernels::error::KernelError> {
//! let method = SinkhornMethod { tolerance: 1e-4, ..SinkhornMethod::new(0.01) };
//! let mut sinkhorn = SinkhornSolver::new(Rows::dense(vec![0.0, 1.0, 5.0], 1)?, method)?;
//! let solution = sinkhorn.solve(&Rows::dense(vec![2.0, 0.0, 0.0], 1)?, None)?;
//! assert!(solution.converged);
//! assert!((solution.value - 10.0 / 3.0).abs() < 0.05); // 0 -> 0, 0 -> 1, 2 -> 5, and the entropy
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use super::{
    soft_gradient,
    softmin::{Side, softmin},
    weights::normalised,
};
use crate::{error::KernelError, rows::Rows};

/// How entropic transport is computed. Single settings are changed by `SinkhornMethod { rho: Some(0.1),
/// ..SinkhornMethod::new(0.01) }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SinkhornMethod {
    /// Entropic smoothing, positive, in units of the full square `|x - y|^2`.
    pub eps: f64,
    /// Weight of the Kullback-Leibler divergence of the references' marginal, positive, in the same units; none: the
    /// marginal holds exactly.
    pub rho: Option<f64>,
    /// Factor by which `eps` shrinks in every iteration of a start without a potential, above 0 and at most 1; 1
    /// starts with `eps` itself.
    pub annealing: f64,
    /// Most iterations for one solution, at least 1.
    pub iterations: usize,
    /// Done where the marginal error ([`SoftSolution::marginal_error`]) is at most this, at least 0.
    pub tolerance: f64,
}

impl SinkhornMethod {
    /// Balanced, with `eps` for the cost `|x - y|^2`: annealing by 0.5, at most 100 iterations, to a marginal error
    /// of 1e-2.
    pub fn new(eps: f64) -> Self {
        Self { eps, rho: None, annealing: 0.5, iterations: 100, tolerance: 1e-2 }
    }

    fn checked(self) -> Result<Self, KernelError> {
        for (what, value) in
            [("entropic smoothing eps", self.eps), ("marginal relaxation rho", self.rho.unwrap_or(1.0))]
        {
            if !(1e-30..1e30).contains(&value) {
                return Err(KernelError::new(what, "a positive number in 1e-30..1e30", value));
            }
        }
        if !(self.annealing > 0.0 && self.annealing <= 1.0) {
            return Err(KernelError::new("annealing factor", "a number above 0, at most 1", self.annealing));
        }
        if self.iterations == 0 {
            return Err(KernelError::new("SinkhornSolver iterations", "at least 1", 0));
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return Err(KernelError::new("tolerance of the marginal", "a number >= 0", self.tolerance));
        }
        Ok(self)
    }
}

/// What Sinkhorn's iteration has found.
#[derive(Debug, Clone)]
pub struct SoftSolution {
    /// `H(psi, x)` at the final potential, summed in float64.
    pub value: f64,
    /// The gradient of `H(psi, x)` at that `psi`, which is the gradient of `OT` at the maximum, with respect to the flat
    /// array behind the query rows, in its layout.
    pub gradient: Vec<f64>,
    /// By how much the references' marginal is off: `sum_j |(P^T 1)_j - b_j exp(-psi_j / rho)|`, in `[0, 2]` where
    /// balanced. It is the 1-norm of the gradient of `H` in `psi`.
    pub marginal_error: f64,
    /// Iterations, two soft minima of all pairs each; one more was spent on the marginal.
    pub iterations: usize,
    /// Whether the tolerance was reached.
    pub converged: bool,
}

/// Sinkhorn's iteration against fixed references, with the potential from which the next solution starts.
#[derive(Debug, Clone)]
pub struct SinkhornSolver {
    references: Arc<Rows>,
    method: SinkhornMethod,
    /// The mean square of the references around their mean.
    spread: f64,
    psi: Option<Vec<f64>>,
}

impl SinkhornSolver {
    /// Without a potential to start from.
    ///
    /// # Errors
    /// A setting out of range.
    pub fn new(references: Rows, method: SinkhornMethod) -> Result<Self, KernelError> {
        let method = method.checked()?;
        let spread = spread(&references);
        Ok(Self { references: Arc::new(references), method, spread, psi: None })
    }

    /// The reference rows.
    pub fn references(&self) -> &Rows {
        &self.references
    }

    /// The potential of the last solution, one value for each reference row, where there was one.
    pub fn potential(&self) -> Option<&[f64]> {
        self.psi.as_deref()
    }

    /// Sets the potential to start from.
    ///
    /// # Errors
    /// A number of values other than the references', values that are not finite or above 1e30 in size; the old
    /// potential then stays.
    pub fn set_potential(&mut self, psi: &[f64]) -> Result<(), KernelError> {
        self.side(psi).checked()?;
        self.psi = Some(psi.to_vec());
        Ok(())
    }

    /// Improves the potential for these queries and keeps it. `weights` (one for each query, not negative, of any
    /// sum) default to equal ones. An error above the tolerance is no failure: see [`SoftSolution::converged`].
    ///
    /// # Errors
    /// Rows of another length than the references, weights that do not fit, a potential to start from that is so far
    /// from these rows that `H` is not finite.
    pub fn solve(&mut self, queries: &Rows, weights: Option<&[f64]>) -> Result<SoftSolution, KernelError> {
        let SinkhornMethod { eps, rho, annealing, iterations, tolerance } = self.method;
        let weights = normalised(queries.len(), weights)?;
        let weights = weights.as_deref();
        let mut psi = self.psi.clone().unwrap_or_else(|| vec![0.0; self.references.len()]);
        let mut smoothing = if self.psi.is_none() && annealing < 1.0 { self.spread.max(eps) } else { eps };
        let mut used = 0;
        let (phi, marginal_error) = loop {
            let phi = softmin(queries, self.side(&psi), smoothing)?;
            let back =
                softmin(&self.references, Side { rows: queries, weights, potential: &phi }, smoothing)?;
            if smoothing <= eps {
                let error = marginal_error(&psi, &back, eps, rho);
                if error <= tolerance || used >= iterations {
                    break (phi, error);
                }
            }
            if used < iterations {
                psi = next(back, smoothing, rho);
                used += 1;
            }
            smoothing = if used < iterations { eps.max(smoothing * annealing) } else { eps };
        };
        let (phi, gradient) = soft_gradient::exact(queries, self.side(&psi), weights, eps, &phi)?;
        let value = semi_dual(&phi, weights, &psi, rho);
        if !value.is_finite() {
            let expected = "one near the solution; start without a potential";
            return Err(KernelError::new(
                "potential psi of these images",
                expected,
                format!("a value of {value}"),
            ));
        }
        self.psi = Some(psi);
        Ok(SoftSolution {
            value,
            gradient,
            marginal_error,
            iterations: used,
            converged: marginal_error <= tolerance,
        })
    }

    fn side<'a>(&'a self, psi: &'a [f64]) -> Side<'a> {
        Side { rows: &self.references, weights: None, potential: psi }
    }
}

/// The next potential from the soft minima of the references.
fn next(mut back: Vec<f64>, eps: f64, rho: Option<f64>) -> Vec<f64> {
    let Some(rho) = rho else { return back };
    back.iter_mut().for_each(|v| *v *= rho / (rho + eps));
    let least = back.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = back.iter().map(|v| ((least - v) / rho).exp()).sum::<f64>() / back.len() as f64;
    let shift = rho * mean.ln() - least;
    back.iter_mut().for_each(|v| *v += shift);
    back
}

/// The mean square of rows around their mean.
fn spread(rows: &Rows) -> f64 {
    let (count, mut row) = (rows.len() as f64, vec![0.0; rows.dim()]);
    let (mut sums, mut squares) = (vec![0.0_f64; rows.dim()], 0.0);
    for i in 0..rows.len() {
        rows.read(i, &mut row);
        for (sum, v) in sums.iter_mut().zip(&row) {
            *sum += f64::from(*v);
            squares += f64::from(*v).powi(2);
        }
    }
    (squares / count - sums.iter().map(|s| (s / count).powi(2)).sum::<f64>()).max(0.0)
}

/// `sum_j |(P^T 1)_j - b_j exp(-psi_j / rho)|`: the marginal is `b_j exp((psi_j - back_j) / eps)`.
fn marginal_error(psi: &[f64], back: &[f64], eps: f64, rho: Option<f64>) -> f64 {
    let error = |(psi, back): (&f64, &f64)| {
        let wanted = rho.map_or(1.0, |rho| (-psi / rho).exp());
        (((psi - back) / eps).exp() - wanted).abs()
    };
    psi.iter().zip(back).map(error).sum::<f64>() / psi.len() as f64
}

/// `H` from the soft minima of the queries.
fn semi_dual(phi: &[f64], weights: Option<&[f64]>, psi: &[f64], rho: Option<f64>) -> f64 {
    let first = match weights {
        None => phi.iter().sum::<f64>() / phi.len() as f64,
        Some(weights) => phi.iter().zip(weights).map(|(v, w)| v * w).sum(),
    };
    let of_reference = |psi: &f64| rho.map_or(*psi, |rho| -rho * (-psi / rho).exp_m1());
    first + psi.iter().map(of_reference).sum::<f64>() / psi.len() as f64
}
