//! Closed forms of the quadratic problem between data and an image.

use super::measure::{self, BATCH, length};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::LinearOperator;

const TOLERANCE: f64 = 1e-10;

/// Where an operator has a resolvent, `x = (A^T A + alpha)^-1 r` satisfies the normal equation `(A^T A + alpha) x = r` for random `r` and
/// weights `alpha` of 1e-3 to 10: the norm of its residual, relative to that of `r`. Says whether there is a resolvent.
///
/// # Errors
/// The [`Violation`].
pub fn resolvent(subject: &str, a: &dyn LinearOperator, seed: Seed) -> Result<bool, Violation> {
    let trial = Trial { law: "the resolvent", subject };
    let Some(resolvent) = a.resolvent() else { return Ok(false) };
    let r = measure::normal(seed, "resolvent r", &a.domain().batch(BATCH));
    for alpha in [1e-3, 0.1, 10.0] {
        let x = trial.ok(resolvent.solve(&r, alpha))?;
        trial.same_shape("(A* A + alpha)^-1 r", &x.size(), &r.size())?;
        let again = trial.ok(a.normal(&x))? + &x * alpha;
        let detail = format!("share of the residual of the normal equation, alpha {alpha}");
        trial.at_most(TOLERANCE, length(&(again - &r)) / length(&r), detail)?;
    }
    Ok(true)
}
