//! A regularizer is one function of the image between two refreshes, and the same one for the same step.

use super::measure::relative_distance;
use crate::violation::{Trial, Violation};
use smalti_priors::Regularizer;
use tch::Tensor;

/// After `refresh(step)`, repeated calls give the same value and gradient; after other steps in between,
/// `refresh(step)` brings back the same value: exactly, for steps 0, 1 and 7.
///
/// # Errors
/// The [`Violation`].
pub fn repeatable(subject: &str, regularizer: &mut dyn Regularizer, x: &Tensor) -> Result<(), Violation> {
    let trial = Trial { law: "repeatable values", subject };
    let mut first = Vec::new();
    for step in [0, 1, 7] {
        trial.ok(regularizer.refresh(step))?;
        let value = trial.ok(regularizer.value(x))?;
        let again = trial.ok(regularizer.value(x))?;
        trial.at_most(
            0.0,
            (value - again).abs(),
            format!("step {step}, value changes between two calls by"),
        )?;
        let (value_1, gradient_1) = trial.ok(regularizer.value_and_grad(x))?;
        let (value_2, gradient_2) = trial.ok(regularizer.value_and_grad(x))?;
        let change = (value_1 - value_2).abs().max(relative_distance(&gradient_1, &gradient_2));
        trial.at_most(0.0, change, format!("step {step}, value or gradient change between two calls by"))?;
        first.push((step, value));
    }
    for (step, value) in first {
        trial.ok(regularizer.refresh(step))?;
        let again = trial.ok(regularizer.value(x))?;
        let detail = format!("step {step} again, value {again:.9e} instead of {value:.9e}, distance");
        trial.at_most(0.0, (value - again).abs(), detail)?;
    }
    Ok(())
}
