//! Regularizers whose gradient has a known Lipschitz constant.

use super::measure::{length, normal};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_priors::Regularizer;

/// `|grad R(x + d) - grad R(x)| <= L |d|` (1e-6 relative), for float64 images `x` of the given shape: constant, nearly so, and drawn ones.
/// Directions `d` are those of a power iteration for the largest curvature, short and long.
///
/// # Errors
/// The [`Violation`].
pub fn lipschitz_gradient(
    subject: &str,
    regularizer: &dyn Regularizer,
    constant: f64,
    shape: &[i64],
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the Lipschitz constant of the gradient", subject };
    for spread in [0.0, 1e-3, 1e-2, 0.1] {
        let x = normal(seed, "image", shape) * spread + 0.5;
        let (_, here) = trial.ok(regularizer.value_and_grad(&x))?;
        for step in [1e-4, 1e-2, 1.0] {
            let mut d = normal(seed, "direction", shape);
            for _ in 0..20 {
                let size = length(&d).max(1e-300);
                d *= step / size;
                let (_, there) = trial.ok(regularizer.value_and_grad(&(&x + &d)))?;
                let change = there - &here;
                let (found, by) = (length(&change), length(&d));
                let rounding = 1e-13 * length(&here);
                let detail = format!(
                    "a step of {by:.3e} from an image of spread {spread} changes the gradient by {found:.6e}, its rate"
                );
                trial.at_most(constant * (1.0 + 1e-6), (found - rounding) / by, detail)?;
                d = change;
            }
        }
    }
    Ok(())
}
