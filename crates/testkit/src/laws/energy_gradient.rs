//! The gradient of an energy.

use super::measure::{central_differences, largest};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_flows::stochastic::Energy;
use tch::{Kind, Tensor};

/// `energy_and_grad` gives the values of `energy`, one for each row (1e-11 relative), and a gradient that row by row equals central
/// differences along itself and along random directions, to `tolerance` times its norm (1e-6 suits smooth energies
/// in float64), at the float64 rows `x: [B, d]`. A row alone has the value that it has among others.
///
/// # Errors
/// The [`Violation`].
pub fn energy_gradient(
    subject: &str,
    energy: &dyn Energy,
    x: &Tensor,
    tolerance: f64,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the energy's gradient", subject };
    let values = trial.ok(energy.energy(x))?;
    trial.same_shape("the energies", &values.size(), &x.size()[..1])?;
    let (with_gradient, gradient) = trial.ok(energy.energy_and_grad(x))?;
    let error = largest(&(&values - with_gradient)) / largest(&values).max(1e-300);
    trial.at_most(1e-11, error, "values with and without gradient, relative distance")?;
    trial.same_shape("the gradient", &gradient.size(), &x.size())?;
    for row in 0..x.size()[0] {
        let (x, gradient) = (x.narrow(0, row, 1), gradient.narrow(0, row, 1));
        let value = |x: &Tensor| Ok(energy.energy(x)?.f_sum(Kind::Double)?.f_double_value(&[])?);
        let alone = trial.ok(value(&x))?;
        let among = values.double_value(&[row]);
        let detail = format!("row {row}: {among:.9e} among others, alone {alone:.9e}, relative distance");
        trial.at_most(1e-11, (alone - among).abs() / among.abs().max(1e-300), detail)?;
        central_differences(trial, (&x, &gradient), seed.derive("row", row as u64), tolerance, value)?;
    }
    Ok(())
}
