//! Every trainable parameter is trained.

use super::measure::largest;
use crate::violation::{Trial, Violation};
use smalti_base::Result as BaseResult;
use tch::{Kind, Tensor};

/// Every one of the named `parameters` receives a finite gradient from `loss()`, not zero everywhere.
///
/// Layers that start at zero hide what lies before them: perturb the parameters first.
///
/// # Errors
/// The [`Violation`], naming the parameter.
pub fn trainable(
    subject: &str,
    parameters: &[(String, Tensor)],
    loss: impl FnOnce() -> BaseResult<Tensor>,
) -> Result<(), Violation> {
    let trial = Trial { law: "trained parameters", subject };
    trial.at_most(0.0, f64::from(u8::from(parameters.is_empty())), "there are no parameters")?;
    for (_, parameter) in parameters {
        if parameter.grad().defined() {
            let _ = parameter.grad().zero_();
        }
    }
    trial.ok(trial.ok(loss())?.sum(Kind::Double).f_backward())?;
    for (name, parameter) in parameters {
        let gradient = parameter.grad();
        let size = if gradient.defined() { largest(&gradient) } else { 0.0 };
        let missing = f64::from(u8::from(!(size > 0.0 && size.is_finite())));
        trial.at_most(
            0.0,
            missing,
            format!("{name} has gradient {size:e}, so parameters without gradient"),
        )?;
    }
    Ok(())
}
