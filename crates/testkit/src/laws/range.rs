//! Operators map batches into their range, one element at a time.

use super::measure::{normal, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::{Seed, Space};
use smalti_operators::Operator;
use tch::Tensor;

const TOLERANCE: f64 = 1e-13;

/// Batches of 1 and 3 are mapped into the range and, by `vjp`, back into the domain; every element of a batch
/// gives what it gives alone; tensors of another shape are errors.
///
/// # Errors
/// The [`Violation`].
pub fn range(subject: &str, f: &dyn Operator, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "the range", subject };
    let (domain, range) = (f.domain(), f.range());
    let x = normal(seed, "range x", &domain.batch(3));
    let v = normal(seed, "range v", &range.batch(3));
    let (fx, jv) = (trial.ok(f.apply(&x))?, trial.ok(f.vjp(&x, &v))?);
    trial.same_shape("F(x)", &fx.size(), &range.batch(3))?;
    trial.same_shape("J^T v", &jv.size(), &domain.batch(3))?;
    for i in 0..3 {
        let (x, v) = (x.narrow(0, i, 1), v.narrow(0, i, 1));
        let (fx_alone, jv_alone) = (trial.ok(f.apply(&x))?, trial.ok(f.vjp(&x, &v))?);
        trial.same_shape("F(x) of one image", &fx_alone.size(), &range.batch(1))?;
        let in_batch = relative_distance(&fx.narrow(0, i, 1), &fx_alone);
        trial.at_most(
            TOLERANCE,
            in_batch,
            format!("F(x) of element {i} depends on its batch, relative distance"),
        )?;
        let in_batch = relative_distance(&jv.narrow(0, i, 1), &jv_alone);
        trial.at_most(
            TOLERANCE,
            in_batch,
            format!("J^T v of element {i} depends on its batch, relative distance"),
        )?;
    }
    let wider = Space { width: domain.width + 1, ..domain }.batch(1);
    let wider = Tensor::zeros(wider, (x.kind(), x.device()));
    let (alone, axis) = (x.get(0), x.narrow(0, 0, 1).unsqueeze(2));
    for (what, wrong) in
        [("too wide an image", &wider), ("an image without a batch", &alone), ("an axis too many", &axis)]
    {
        let accepted = f64::from(u8::from(f.apply(wrong).is_ok()));
        trial.at_most(0.0, accepted, format!("{what} was not refused"))?;
    }
    Ok(())
}
