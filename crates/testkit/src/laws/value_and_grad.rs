//! Value and gradient at once are those asked for one by one.

use crate::violation::{Trial, Violation};
use smalti_operators::Likelihood;
use tch::{Kind, Tensor};

/// `value_and_grad` gives what `nll` and `grad` give, bit by bit, at the batch `u` and the observation `y`: so figures do not
/// depend on which of them a solver asks for.
///
/// # Errors
/// The [`Violation`].
pub fn value_and_grad(
    subject: &str,
    likelihood: &dyn Likelihood,
    (u, y): (&Tensor, &Tensor),
) -> Result<(), Violation> {
    let trial = Trial { law: "value and gradient at once", subject };
    let (value, gradient) = trial.ok(likelihood.value_and_grad(u, y))?;
    for (what, at_once, alone) in [
        ("value", value, trial.ok(likelihood.nll(u, y))?),
        ("gradient", gradient, trial.ok(likelihood.grad(u, y))?),
    ] {
        trial.same_shape(what, &at_once.size(), &alone.size())?;
        let others = at_once.ne_tensor(&alone).sum(Kind::Double).double_value(&[]);
        trial.at_most(0.0, others, format!("numbers of the {what} that differ when asked for alone"))?;
    }
    Ok(())
}
