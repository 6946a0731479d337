//! The importance terms along the paths of a stochastic flow add up to weights without bias.

use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_flows::stochastic::{ConditionalSnf, Energy, MixtureProblem};
use tch::{Kind, Tensor};

const PATHS: i64 = 40_000;

/// For a flow whose posterior energy is that of `problem`, at one observation `y`, both statistically, within 4.5 standard errors:
///
/// - forward, `E exp(w) = p(y)` with the log-weights of [`ConditionalSnf::weighted`];
/// - back from exact posterior samples `x`, `E N(z) exp(l) / p(x | y) = 1`.
///
/// # Errors
/// The [`Violation`].
pub fn path_weights(
    subject: &str,
    flow: &ConditionalSnf,
    problem: &MixtureProblem,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "path weights", subject };
    let (_, y) = problem.pairs(1, &mut seed.at("observation", 0));
    let all = y.expand([PATHS, y.size()[1]], false).contiguous();
    let evidence = trial.ok(problem.log_evidence(&y))?.double_value(&[0]);
    let (_, w) = trial.ok(flow.weighted(&all, &mut seed.at("forward", 0)))?;
    judge(trial, "forward", &(w - evidence).exp())?;

    let posterior = trial.ok(problem.posterior(&y.squeeze_dim(0)))?;
    let x = posterior.sample(PATHS, &mut seed.at("posterior", 0));
    let path = trial.ok(flow.to_latent(&x, &all, &mut seed.at("backward", 0)))?;
    let squares = path.value.square().sum_dim_intlist(1i64, false, None::<Kind>) / 2.0;
    let constant = y.size()[1] as f64 / 2.0 * (2.0 * std::f64::consts::PI).ln();
    let log_density = trial.ok(posterior.energy(&x))?.neg();
    judge(trial, "back", &(path.log_det - squares - constant - log_density).exp())
}

fn judge(trial: Trial, direction: &str, weights: &Tensor) -> Result<(), Violation> {
    let error = weights.std(true).double_value(&[]) / (weights.numel() as f64).sqrt();
    trial.at_most(0.1, error, format!("{direction}, standard error of the mean weight"))?;
    let distance = (weights.mean(Kind::Double).double_value(&[]) - 1.0).abs() / error;
    trial.at_most(4.5, distance, format!("{direction}, mean weight minus 1, in standard errors"))
}
