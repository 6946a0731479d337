//! Data consistency: a linear bijection that scales what an image differs by from its observation.

use crate::bijection::{Bijection, Mapped};
use smalti_base::{Error, Result, Seed};
use smalti_operators::{LinearOperator, MinimumNorm, PseudoInverse};
use tch::{Kind, Tensor};

/// The last layer of a conditional flow whose observations are `y = A x + noise`: latent to data
///
/// `x = z + (s - 1) A^+ (A z - y)`, so that `A x - y = s (A z - y)`,
///
/// with the pseudo-inverse `A^+` and a scale `s > 0`; data to latent the same with `1 / s`. What `A` does not see of an image
/// stays. `log |det J| = m log s` with the number `m` of observed values: the rows of `A` are linearly independent.
///
/// # The scale
/// Of the backward Kullback-Leibler divergence of a WPPFlow (see `smalti_solvers::WppFlowTraining`), divided by `m`, likelihood and
/// log-determinant depend on `s` as `s^2 r^2 / (2 sigma^2) - log s`, where `r` is the root mean square of `A z - y` over the
/// flow's samples. The minimum is at `s = sigma / r`: samples are then as far from the data as the noise is, which is also
/// the discrepancy principle of Morozov. ([`DataConsistency::scaled_to_noise`]; what the prior says of `s` is left out.) The scale may
/// be another for every observation, with `r` of samples for it: the flow stays a bijection for each.
///
/// # Shapes
/// Images `[B, C, H, W]` in the domain of the operator, conditions `[B, C', H', W']` in its range.
pub struct DataConsistency<A> {
    operator: A,
    scale: f64,
    solver: PseudoInverse,
}

impl<A> std::fmt::Debug for DataConsistency<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataConsistency").finish_non_exhaustive()
    }
}

impl<A: LinearOperator> DataConsistency<A> {
    /// With the scale `s`. `solver` computes the pseudo-inverse: what its tolerance leaves is missing in the result, while the
    /// log-determinant is exact. Whether the rows of the operator are independent is tried on a random observation,
    /// in float64 on the CPU.
    ///
    /// # Errors
    /// [`Error::Value`] where `s` is not a positive number, or where the solver does not reach its tolerance: rows are
    /// dependent, or too nearly so.
    pub fn new(operator: A, scale: f64, solver: PseudoInverse) -> Result<Self> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::value("scale of data consistency", "a positive number", scale));
        }
        let _no_grad = tch::no_grad_guard();
        let any = Seed::new(0).at("observation for data consistency", 0).normal(&operator.range().batch(1));
        reached(&solver.apply(&operator, &any.f_to_kind(Kind::Double)?)?)?;
        Ok(Self { operator, scale, solver })
    }

    /// Another scale, for samples whose root mean squared residual is `residual`: it becomes `noise`, the standard deviation of
    /// the noise. Samples that are closer to the data stay as they are.
    ///
    /// # Errors
    /// [`Error::Value`] where the noise is not a positive number (without noise there is no density) or the residual not a
    /// finite one.
    pub fn scaled_to_noise(self, residual: f64, noise: f64) -> Result<Self> {
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(Error::value("noise of the observations", "a positive number", noise));
        }
        if !residual.is_finite() {
            return Err(Error::value("residual of the samples", "a finite number", residual));
        }
        Ok(Self { scale: noise / residual.max(noise), ..self })
    }

    /// The scale `s`.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    fn map(&self, x: &Tensor, cond: Option<&Tensor>, scale: f64) -> Result<Mapped> {
        let (range, size) = (self.operator.range(), x.size());
        let y = cond
            .filter(|y| y.size() == range.batch(size.first().copied().unwrap_or(0)) && y.kind() == x.kind());
        let Some(y) = y else {
            let got = cond.map_or("none".into(), |y| format!("{:?} {:?}", y.kind(), y.size()));
            let expected = format!("{:?} observations of {size:?}, in {range:?}", x.kind());
            return Err(Error::shape("condition of data consistency", expected, got));
        };
        if scale == 1.0 {
            let log_det = Tensor::f_zeros([size[0]], (x.kind(), x.device()))?;
            return Ok(Mapped { value: x.shallow_clone(), log_det });
        }
        let residual = self.operator.apply(x)?.f_sub(y)?;
        let correction = self.solver.apply(&self.operator, &residual)?;
        reached(&correction)?;
        let value = x.f_add(&correction.x.f_mul_scalar(scale - 1.0)?)?;
        let log_det = Tensor::f_full([size[0]], range.len() as f64 * scale.ln(), (x.kind(), x.device()))?;
        Ok(Mapped { value, log_det })
    }
}

fn reached(found: &MinimumNorm) -> Result<()> {
    if found.converged {
        return Ok(());
    }
    let expected = "an operator with independent rows, or a larger tolerance of the pseudo-inverse";
    let got = format!("no convergence in {} iterations", found.iterations);
    Err(Error::value("data consistency", expected, got))
}

impl<A: LinearOperator> Bijection for DataConsistency<A> {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.map(x, cond, 1.0 / self.scale)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.map(z, cond, self.scale)
    }
}
