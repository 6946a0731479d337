//! The adjoint is exact.

use super::measure::{BATCH, inner, length, normal};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::{LinearOperator, PowerIteration};

const TOLERANCE: f64 = 1e-12;

/// `|<A x, y> - <x, A^T y>| <= 1e-12 |A| |x| |y|` for random `x` and for `y` both random and equal to `A x`,
/// where a wrong scale shows best; the violation prints the fitted scale `<A x, y> / <x, A^T y>`.
///
/// # Errors
/// The [`Violation`].
pub fn adjoint(subject: &str, a: &dyn LinearOperator, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "the adjoint", subject };
    let rough = PowerIteration::default().with_max_iterations(20);
    let estimate = trial.ok(rough.norm(a, seed))?.norm;
    let x = normal(seed, "adjoint x", &a.domain().batch(BATCH));
    let ax = trial.ok(a.apply(&x))?;
    // A wrong adjoint can mislead the power iteration; |A| is never below |A x| / |x|.
    let norm = estimate.max(length(&ax) / length(&x));
    for y in [ax.shallow_clone(), normal(seed, "adjoint y", &a.range().batch(BATCH))] {
        let aty = trial.ok(a.adjoint(&y))?;
        trial.same_shape("A* y", &aty.size(), &x.size())?;
        let (forward, backward) = (inner(&ax, &y), inner(&x, &aty));
        let error = (forward - backward).abs() / (norm * length(&x) * length(&y)).max(1e-300);
        let detail = format!(
            "<Ax, y> = {forward:.9e}, <x, A*y> = {backward:.9e}, fitted scale {:.9}, error / (|A| |x| |y|)",
            forward / backward
        );
        trial.at_most(TOLERANCE, error, detail)?;
    }
    Ok(())
}
