//! Data consistency: a linear bijection that scales what an image differs by from its observation.

use crate::bijection::{Bijection, Mapped};
use smalti_base::{Error, Result};
use smalti_operators::{LinearOperator, PseudoInverse};
use tch::Tensor;

/// The last layer of a conditional flow whose observations are `y = A x + noise`: latent to data
///
/// `x = z + (s - 1) A^+ (A z - y)`, so that `A x - y = s (A z - y)`,
///
/// with the pseudo-inverse `A^+` and a scale `s > 0`; data to latent the same with `1 / s`. What `A` does not see of an image
/// stays. `log |det J| = m log s` with the number `m` of observed values, for operators with independent rows.
///
/// # The scale
/// Of the backward Kullback-Leibler divergence of a WPPFlow (see `smalti_solvers::WppFlowTraining`), divided by `m`, likelihood and
/// log-determinant depend on `s` as `s^2 r^2 / (2 sigma^2) - log s`, where `r` is the root mean square of `A z - y` over the
/// flow's samples. The minimum is at `s = sigma / r`: samples are then as far from the data as the noise is, which is also
/// the discrepancy principle of Morozov. ([`DataConsistency::to_noise`]; what the prior says of `s` is left out.)
///
/// # Shapes
/// Images `[B, C, H, W]` in the domain of the operator, conditions `[B, C', H', W']` in its range.
pub struct DataConsistency<A> {
    operator: A,
    scale: f64,
    solver: PseudoInverse,
}

impl<A: LinearOperator> DataConsistency<A> {
    /// With the scale `s`. `solver` computes the pseudo-inverse: what its tolerance leaves is missing in the result, while the
    /// log-determinant is exact.
    ///
    /// # Errors
    /// [`Error::Value`] where `s` is not a positive number.
    pub fn new(operator: A, scale: f64, solver: PseudoInverse) -> Result<Self> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::value("scale of data consistency", "a positive number", scale));
        }
        Ok(Self { operator, scale, solver })
    }

    /// For samples whose root mean squared residual is `residual`, so that it becomes `noise`, the standard deviation of the
    /// noise. Samples that are closer to the data stay as they are.
    ///
    /// # Errors
    /// [`Error::Value`] where the noise is not a positive number (without noise there is no density) or the residual not a
    /// finite one.
    pub fn to_noise(operator: A, residual: f64, noise: f64) -> Result<Self> {
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(Error::value("noise of the observations", "a positive number", noise));
        }
        if !residual.is_finite() {
            return Err(Error::value("residual of the samples", "a finite number", residual));
        }
        Self::new(operator, noise / residual.max(noise), PseudoInverse::default())
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
        let residual = self.operator.apply(x)?.f_sub(y)?;
        let correction = self.solver.apply(&self.operator, &residual)?;
        if !correction.converged {
            let expected = "an operator with independent rows, or a larger tolerance of the pseudo-inverse";
            let got = format!("no convergence in {} iterations", correction.iterations);
            return Err(Error::value("data consistency", expected, got));
        }
        let value = x.f_add(&correction.x.f_mul_scalar(scale - 1.0)?)?;
        let log_det = Tensor::f_full([size[0]], range.len() as f64 * scale.ln(), (x.kind(), x.device()))?;
        Ok(Mapped { value, log_det })
    }
}

impl<A: LinearOperator> Bijection for DataConsistency<A> {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.map(x, cond, 1.0 / self.scale)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.map(z, cond, self.scale)
    }
}
