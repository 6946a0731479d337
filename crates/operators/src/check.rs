//! What every operator checks of what it is given, and what all linear ones answer alike.

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

/// The methods of [`Operator`](crate::Operator) that linear operators have in common: the spaces, from fields, and the
/// vector-Jacobian product, which is the adjoint for every `x` in the domain.
macro_rules! linear {
    ($domain:ident => $range:ident) => {
        fn domain(&self) -> smalti_base::Space {
            self.$domain
        }

        fn range(&self) -> smalti_base::Space {
            self.$range
        }

        fn vjp(&self, x: &tch::Tensor, v: &tch::Tensor) -> smalti_base::Result<tch::Tensor> {
            $crate::check::element("image", x, self.$domain)?;
            self.adjoint(v)
        }
    };
}

pub(crate) use linear;
