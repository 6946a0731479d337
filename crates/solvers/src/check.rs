//! Checks that every reconstruction makes on what it is given.

use smalti_base::{Error, Result};
use smalti_operators::Operator;
use tch::Tensor;

/// Checks that `initial` and `observation` are one finite image each, of the operator's domain and range, with
/// one floating-point dtype on one device.
pub(crate) fn images(operator: &dyn Operator, initial: &Tensor, observation: &Tensor) -> Result<()> {
    operator.domain().check("initial image", initial)?;
    operator.range().check("observation", observation)?;
    let like = |t: &Tensor| (t.kind(), t.device());
    for (what, t) in [("initial image", initial), ("observation", observation)] {
        if t.size()[0] != 1 {
            return Err(Error::value(format!("batch of the {what}"), "1", t.size()[0]));
        }
        if !t.is_floating_point() {
            return Err(Error::value(
                what,
                "floating-point values (convert with to_kind)",
                format!("{:?}", t.kind()),
            ));
        }
        if t.isfinite().all().int64_value(&[]) == 0 {
            return Err(Error::value(what, "finite values", "NaN or infinity in it"));
        }
    }
    if like(initial) != like(observation) {
        let expected = format!("dtype and device of the initial image, {:?}", like(initial));
        return Err(Error::value("observation", expected, format!("{:?}", like(observation))));
    }
    Ok(())
}
