//! The normal operator is the adjoint of the operator.

use super::measure::{self, BATCH, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::LinearOperator;

const TOLERANCE: f64 = 1e-12;

/// `normal(x)` equals `adjoint(apply(x))` for random `x`, in the maximum norm relative to the values.
///
/// # Errors
/// The [`Violation`].
pub fn normal(subject: &str, a: &dyn LinearOperator, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "the normal operator", subject };
    let x = measure::normal(seed, "normal x", &a.domain().batch(BATCH));
    let ours = trial.ok(a.normal(&x))?;
    let expected = trial.ok(a.apply(&x).and_then(|y| a.adjoint(&y)))?;
    trial.same_shape("A* A x", &ours.size(), &x.size())?;
    trial.at_most(TOLERANCE, relative_distance(&ours, &expected), "relative distance from A* (A x)")
}
