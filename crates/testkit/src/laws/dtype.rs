//! Operators keep the dtype.

use super::measure::{BATCH, normal, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_operators::Operator;
use tch::Kind;

/// Float32 stays float32 and float64 stays float64 in `apply` and `vjp`, with the same values up to float32's
/// rounding (1e-5 relative).
///
/// # Errors
/// The [`Violation`].
pub fn dtype(subject: &str, f: &dyn Operator, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "the kept dtype", subject };
    let x = normal(seed, "dtype x", &f.domain().batch(BATCH));
    let v = normal(seed, "dtype v", &f.range().batch(BATCH));
    let in_kind = |kind: Kind| -> Result<_, Violation> {
        let (x, v) = (x.to_kind(kind), v.to_kind(kind));
        let outputs = [("F(x)", trial.ok(f.apply(&x))?), ("J^T v", trial.ok(f.vjp(&x, &v))?)];
        for (what, output) in &outputs {
            let changed = f64::from(u8::from(output.kind() != kind));
            trial.at_most(0.0, changed, format!("{what} of {kind:?} input is {:?}", output.kind()))?;
        }
        Ok(outputs)
    };
    let (single, double) = (in_kind(Kind::Float)?, in_kind(Kind::Double)?);
    for ((what, single), (_, double)) in single.iter().zip(&double) {
        let error = relative_distance(&single.to_kind(Kind::Double), double);
        trial.at_most(1e-5, error, format!("{what} in float32, relative distance from float64"))?;
    }
    Ok(())
}
