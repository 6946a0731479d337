//! The vector-Jacobian product is that of autograd.

use super::measure::{BATCH, autograd, normal, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::Operator;

const TOLERANCE: f64 = 1e-11;

/// `J_F(x)^T v` equals autograd's gradient of `<F(x), v>`, in the maximum norm relative to the values.
///
/// # Errors
/// The [`Violation`].
pub fn vjp(subject: &str, f: &dyn Operator, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "the vector-Jacobian product", subject };
    let x = normal(seed, "vjp x", &f.domain().batch(BATCH));
    let v = normal(seed, "vjp v", &f.range().batch(BATCH));
    let ours = trial.ok(f.vjp(&x, &v))?;
    trial.same_shape("J^T v", &ours.size(), &x.size())?;
    let expected = trial.ok(autograd(&x, |x| Ok(f.apply(x)? * &v)))?;
    trial.at_most(TOLERANCE, relative_distance(&ours, &expected), "relative distance from autograd")
}
