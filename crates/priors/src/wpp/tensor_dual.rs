//! The semi-dual on tensors: its value, its averaged supergradient steps, its gradient in the rows.

use super::tensor_transform::{BUDGET, TensorReferences, check_potential};
use smalti_base::Result;
use tch::{Device, Kind, Tensor};

/// Iterates at the start that the average leaves out, as in [`smalti_kernels::transport::DualMethod::AveragedSgd`].
const LEFT_OUT: usize = 2;

/// Weights are counted in this part of the whole mass.
const UNIT: f64 = 1.0 / (1u64 << 62) as f64;

/// The weights `a_i` of rows, with sum 1.
#[derive(Debug)]
pub(super) struct Masses {
    /// In whole units: adding those up gives the same in every order, which atomic additions on GPUs do not keep.
    whole: Tensor,
    unit: f64,
    /// As they are, float64 `[N, 1]`; none: all `1 / N`.
    weights: Option<Tensor>,
}

impl Masses {
    /// Of `count` rows, all the same where there are no weights.
    pub(super) fn new(count: i64, weights: Option<&[f64]>, device: Device) -> Result<Self> {
        let Some(weights) = weights else {
            let whole = Tensor::f_ones([count], (Kind::Int64, device))?;
            return Ok(Self { whole, unit: 1.0 / count as f64, weights: None });
        };
        let whole: Vec<i64> = weights.iter().map(|w| (w / UNIT) as i64).collect();
        let whole = Tensor::f_from_slice(&whole)?.f_to_device(device)?;
        let weights = Tensor::f_from_slice(weights)?.f_to_device(device)?.f_unsqueeze(1)?;
        Ok(Self { whole, unit: UNIT, weights: Some(weights) })
    }

    /// The mass that each of `count` references wins: float64 `[count]`.
    fn shares(&self, winners: &Tensor, count: i64) -> Result<Tensor> {
        let mut sums = Tensor::f_zeros([count], (Kind::Int64, winners.device()))?;
        let sums = sums.f_index_add_(0, winners, &self.whole)?;
        Ok(sums.f_to_kind(Kind::Double)?.f_mul_scalar(self.unit)?)
    }

    /// `a_i v_i` for `v: [N, k]`, float64.
    fn weighed(&self, v: &Tensor) -> Result<Tensor> {
        Ok(match &self.weights {
            None => v.f_mul_scalar(self.unit)?,
            Some(weights) => v.f_mul(weights)?,
        })
    }
}

/// What was found for rows `x`.
pub(super) struct TensorSolution {
    /// `sum_i a_i value_i + mean_j psi_j`.
    pub(super) value: f64,
    /// Float64 `[M]`.
    pub(super) psi: Tensor,
    /// Int64 `[N]`.
    pub(super) winners: Tensor,
}

/// `steps` averaged supergradient steps of size `step` for rows `x: [N, d]` from `psi: [M]`, float64; none evaluates the
/// semi-dual at `psi`. The device is waited for once before and once after all steps.
pub(super) fn solve(
    references: &TensorReferences,
    masses: &Masses,
    x: &Tensor,
    psi: &Tensor,
    (steps, step): (usize, f64),
) -> Result<TensorSolution> {
    check_potential(psi)?;
    let count = references.len();
    let (mut iterate, mut average) = (psi.shallow_clone(), psi.shallow_clone());
    for t in 0..steps {
        let shares = masses.shares(&references.winners(x, &iterate, BUDGET)?, count)?;
        let ascent = shares.f_neg()?.f_add_scalar(1.0 / count as f64)?.f_mul_scalar(step)?;
        iterate = iterate.f_add(&ascent)?;
        let part = 1.0 / (t + 1).saturating_sub(LEFT_OUT).max(1) as f64;
        average = average.f_add(&iterate.f_sub(&average)?.f_mul_scalar(part)?)?;
    }
    let winners = references.winners(x, &average, BUDGET)?;
    let values = references.values(x, &average, &winners, BUDGET)?;
    let first = masses.weighed(&values.f_unsqueeze(1)?)?.f_sum(Kind::Double)?;
    let value = first.f_add(&average.f_mean(Kind::Double)?)?.f_double_value(&[])?;
    Ok(TensorSolution { value, psi: average, winners })
}

/// The gradient of the value in the rows, winners held fixed (Danskin): `a_i 2 (x_i - y_winner)`, float64 `[N, d]`.
pub(super) fn gradient(
    references: &TensorReferences,
    masses: &Masses,
    x: &Tensor,
    winners: &Tensor,
) -> Result<Tensor> {
    masses.weighed(&references.to_winners(x, winners)?.f_mul_scalar(2.0)?)
}
