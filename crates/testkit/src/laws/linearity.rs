//! Linear operators are linear.

use super::measure::{BATCH, largest, normal, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::Operator;

const TOLERANCE: f64 = 1e-12;

/// `A(2 x - 3 y) = 2 A x - 3 A y` and `A 0 = 0`, in the maximum norm relative to the values.
///
/// # Errors
/// The [`Violation`].
pub fn linearity(subject: &str, a: &dyn Operator, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "linearity", subject };
    let shape = a.domain().batch(BATCH);
    let (x, y) = (normal(seed, "linearity x", &shape), normal(seed, "linearity y", &shape));
    let (ax, ay) = (trial.ok(a.apply(&x))?, trial.ok(a.apply(&y))?);
    let zero = trial.ok(a.apply(&x.zeros_like()))?;
    trial.at_most(0.0, largest(&zero), "A 0 is not 0 but")?;
    let combined = trial.ok(a.apply(&(&x * 2.0 - &y * 3.0)))?;
    let error = relative_distance(&combined, &(ax * 2.0 - ay * 3.0));
    trial.at_most(TOLERANCE, error, "relative distance of A(2x - 3y) from 2Ax - 3Ay")
}
