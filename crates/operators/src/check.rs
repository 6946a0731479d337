//! Checks that every operator makes on what it is given.

use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// Checks that `x` is a floating-point batch in `space`.
pub(crate) fn element(what: &str, x: &Tensor, space: Space) -> Result<()> {
    space.check(what, x)?;
    if x.is_floating_point() {
        return Ok(());
    }
    Err(Error::value(what, "floating-point values (convert with to_kind)", format!("{:?}", x.kind())))
}

/// Checks that an operator's domain holds at least one pixel.
pub(crate) fn domain(space: Space) -> Result<()> {
    if space.batch(1).iter().all(|&n| n > 0) {
        return Ok(());
    }
    let expected = "at least one channel, row and column, and slice of volumes";
    Err(Error::value("domain", expected, format!("{space:?}")))
}
