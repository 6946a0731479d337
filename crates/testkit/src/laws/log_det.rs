//! The log-determinant is that of the Jacobian.

use super::measure::largest;
use crate::violation::{Trial, Violation};
use smalti_base::{Result as BaseResult, Seed};
use smalti_flows::{Bijection, Mapped};
use tch::{Kind, Tensor};

/// `log_det` equals `log |det J|` of autograd's Jacobian for every element of the batch, in both directions:
/// at `x`, and at a random latent; to `tolerance` times the largest (1e-9 suits float64).
///
/// The Jacobian is `n x n` for elements of `n` values: keep them small (at most some dozens).
///
/// # Errors
/// The [`Violation`].
pub fn log_det(
    subject: &str,
    flow: &dyn Bijection,
    x: &Tensor,
    cond: Option<&Tensor>,
    tolerance: f64,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the log-determinant", subject };
    let latent = trial.ok(flow.to_latent(x, cond))?.value;
    let z = super::measure::normal(seed, "log_det z", &latent.size()).to_device(x.device());
    one_way(trial, "data to latent", x, tolerance, |x| flow.to_latent(x, cond))?;
    one_way(trial, "latent to data", &z, tolerance, |z| flow.to_data(z, cond))
}

fn one_way(
    trial: Trial,
    direction: &str,
    x: &Tensor,
    tolerance: f64,
    map: impl Fn(&Tensor) -> BaseResult<Mapped>,
) -> Result<(), Violation> {
    let b = x.size()[0];
    let x = x.detach().copy().set_requires_grad(true);
    let Mapped { value, log_det } = trial.ok(map(&x))?;
    trial.same_shape("log_det", &log_det.size(), &[b])?;
    let value = value.reshape([b, -1]);
    let n = value.size()[1];
    trial.same_shape("an element, as a vector,", &[n], &[x.numel() as i64 / b])?;
    let rows: Result<Vec<Tensor>, Violation> = (0..n)
        .map(|j| {
            // Summed over the batch: the rows of one Jacobian for each element, if elements do not mix.
            let output = value.select(1, j).sum(Kind::Double);
            let gradients = trial.ok(Tensor::f_run_backward(&[output], &[&x], true, false))?;
            Ok(Tensor::cat(&gradients, 0).reshape([b, 1, n]))
        })
        .collect();
    let (_, expected) = trial.ok(Tensor::f_linalg_slogdet(&Tensor::cat(&rows?, 1)))?;
    let error = largest(&(log_det.detach() - &expected)) / largest(&expected).max(1.0);
    let list = |t: &Tensor| Vec::<f64>::try_from(t.detach().to_kind(Kind::Double)).unwrap_or_default();
    let (got, expected) = (list(&log_det), list(&expected));
    let detail =
        format!("{direction}, log_det {got:.6?}, autograd's Jacobian says {expected:.6?}, relative error");
    trial.at_most(tolerance, error, detail)
}
