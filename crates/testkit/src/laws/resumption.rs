//! A regularizer that takes back a state goes on as the one that saved it.

use super::measure::relative_distance;
use crate::violation::{Trial, Violation};
use smalti_priors::Regularizer;
use tch::Tensor;

const TOLERANCE: f64 = 1e-12;

/// `regularizer` is evaluated at `x` after `refresh(0)` and `refresh(1)`, and its state given to `other`, which was made
/// in the same way; after `refresh(2)` both have the same value and gradient at `x`, to 1e-12 relative.
///
/// # Errors
/// The [`Violation`].
pub fn resumption(
    subject: &str,
    regularizer: &mut dyn Regularizer,
    other: &mut dyn Regularizer,
    x: &Tensor,
) -> Result<(), Violation> {
    let trial = Trial { law: "resumption", subject };
    for step in [0, 1] {
        trial.ok(regularizer.refresh(step))?;
        trial.ok(regularizer.value(x))?;
    }
    if let Some(state) = regularizer.save() {
        trial.ok(other.restore(state))?;
    }
    trial.ok(regularizer.refresh(2))?;
    trial.ok(other.refresh(2))?;
    let (value, gradient) = trial.ok(regularizer.value_and_grad(x))?;
    let (again, slope) = trial.ok(other.value_and_grad(x))?;
    let change = (value - again).abs() / value.abs().max(again.abs()).max(1e-300);
    let detail = format!("value {again:.9e} instead of {value:.9e}, relative distance of value or gradient");
    trial.at_most(TOLERANCE, change.max(relative_distance(&gradient, &slope)), detail)
}
