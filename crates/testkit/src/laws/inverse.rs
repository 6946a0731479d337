//! The two directions of a bijection are inverse to each other.

use super::measure::{largest, normal};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_flows::Bijection;
use tch::Tensor;

/// `T(T^-1(x)) = x` and `T^-1(T(z)) = z` for a random latent `z`, both to `tolerance` times the largest value
/// (1e-10 suits float64); the log-determinants of the two directions cancel, and have shape `[B]`.
///
/// # Errors
/// The [`Violation`].
pub fn inverse(
    subject: &str,
    flow: &dyn Bijection,
    x: &Tensor,
    cond: Option<&Tensor>,
    tolerance: f64,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the inverse", subject };
    let there = trial.ok(flow.to_latent(x, cond))?;
    let back = trial.ok(flow.to_data(&there.value, cond))?;
    compare(trial, "T(T^-1(x))", x, (&back.value, &there.log_det, &back.log_det), tolerance)?;

    let z = normal(seed, "inverse z", &there.value.size()).to_device(x.device());
    let there = trial.ok(flow.to_data(&z, cond))?;
    trial.same_shape("T(z)", &there.value.size(), &x.size())?;
    let back = trial.ok(flow.to_latent(&there.value, cond))?;
    compare(trial, "T^-1(T(z))", &z, (&back.value, &there.log_det, &back.log_det), tolerance)
}

fn compare(
    trial: Trial,
    what: &str,
    start: &Tensor,
    (end, there, back): (&Tensor, &Tensor, &Tensor),
    tolerance: f64,
) -> Result<(), Violation> {
    trial.same_shape(what, &end.size(), &start.size())?;
    let error = largest(&(end - start)) / largest(start).max(1.0);
    trial.at_most(tolerance, error, format!("relative distance of {what} from its start"))?;
    for log_det in [there, back] {
        trial.same_shape("log_det", &log_det.size(), &[start.size()[0]])?;
    }
    let sum = largest(&(there + back)) / largest(there).max(1.0);
    trial.at_most(tolerance, sum, format!("log-determinants along {what} do not cancel, relative sum"))
}
