//! Regularizers that do not see constants.

use super::measure::{largest, normal};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_priors::Regularizer;
use tch::{Device, Kind, Tensor};

/// `R(0) = 0`, the gradient of every constant image is zero, and `R(x + t) = R(x)`, to rounding (1e-14, 1e-12; the gradient in relation
/// to that of a drawn image), for float64 images of the given shape.
///
/// # Errors
/// The [`Violation`].
pub fn constants(
    subject: &str,
    regularizer: &dyn Regularizer,
    shape: &[i64],
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "unseen constants", subject };
    let zero = Tensor::zeros(shape, (Kind::Double, Device::Cpu));
    trial.at_most(1e-14, trial.ok(regularizer.value(&zero))?.abs(), "the value of the image 0 is")?;
    let x = normal(seed, "image", shape) * 0.1;
    let (value, gradient) = trial.ok(regularizer.value_and_grad(&x))?;
    for t in [0.7, -1.3] {
        let (_, flat) = trial.ok(regularizer.value_and_grad(&(&zero + t)))?;
        let share = largest(&flat) / largest(&gradient).max(1e-300);
        trial.at_most(
            1e-12,
            share,
            format!("the gradient at the constant image {t} is, of one elsewhere,"),
        )?;
        let moved = trial.ok(regularizer.value(&(&x + t)))?;
        let detail =
            format!("value {value:.9e}, {moved:.9e} with {t} added to all pixels, relative distance");
        trial.at_most(1e-12, (moved - value).abs() / value.abs().max(1e-300), detail)?;
    }
    Ok(())
}
