//! The gradient of a regularizer.

use super::measure::central_differences;
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_priors::Regularizer;
use tch::Tensor;

/// `value_and_grad` gives the value of `value` (1e-11 relative), and a gradient equal to central differences
/// along itself and along random directions, to `tolerance` times its norm (1e-6 suits smooth regularizers in
/// float64), at the float64 image `x: [1, C, H, W]`.
///
/// # Errors
/// The [`Violation`].
pub fn regularizer_gradient(
    subject: &str,
    regularizer: &dyn Regularizer,
    x: &Tensor,
    tolerance: f64,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the regularizer's gradient", subject };
    let value = trial.ok(regularizer.value(x))?;
    let (with_gradient, gradient) = trial.ok(regularizer.value_and_grad(x))?;
    let error = (value - with_gradient).abs() / value.abs().max(1e-300);
    let detail = format!("value {value:.9e}, with gradient {with_gradient:.9e}, relative distance");
    trial.at_most(1e-11, error, detail)?;
    central_differences(trial, (x, &gradient), seed, tolerance, |x| regularizer.value(x))
}
