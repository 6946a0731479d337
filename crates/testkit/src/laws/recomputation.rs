//! Gradients by recomputation are those of autograd.

use super::measure::largest;
use crate::violation::{Trial, Violation};
use smalti_base::{Result as BaseResult, Seed};
use smalti_flows::{Bijection, Mapped, PulledBack};
use tch::{Kind, Tensor};

/// For `L = <g, x> + c sum l`, `x, l = to_data(z)`, with random `g` and `c`: `pull_back(g, c)` gives the gradients that
/// autograd gives through the whole graph, in `z` and in each of the `parameters` (which require gradients), relative to
/// their largest value within `tolerance`.
///
/// # Errors
/// The [`Violation`].
pub fn recomputation(
    subject: &str,
    flow: &dyn Bijection,
    parameters: &[(String, Tensor)],
    (z, cond): (&Tensor, Option<&Tensor>),
    tolerance: f64,
    seed: Seed,
    pull_back: impl FnOnce(&Tensor, f64) -> BaseResult<PulledBack>,
) -> Result<(), Violation> {
    let trial = Trial { law: "the recomputed gradients", subject };
    let leaf = z.detach().copy().set_requires_grad(true);
    let Mapped { value, log_det } = trial.ok(flow.to_data(&leaf, cond))?;
    let g = seed.at("cotangent", 0).normal(&value.size()).to_kind(value.kind());
    let c = 0.7;
    let loss = (&g * &value).sum(Kind::Double) + log_det.sum(Kind::Double) * c;
    let mut wanted: Vec<&Tensor> = vec![&leaf];
    wanted.extend(parameters.iter().map(|(_, t)| t));
    let theirs = trial.ok(Tensor::f_run_backward(&[loss], &wanted, false, false))?;

    let ours = trial.ok(pull_back(&g, c))?;
    let graphs = ours.weights.iter().chain([&ours.latent]).filter(|t| t.requires_grad()).count();
    trial.at_most(0.0, graphs as f64, "gradients hold on to a graph, so many of them")?;
    let missing = ours.weights.len().abs_diff(parameters.len()) as f64;
    trial.at_most(0.0, missing, "parameters and gradients differ in number")?;
    let names = std::iter::once("the latent").chain(parameters.iter().map(|(name, _)| name.as_str()));
    let ours = std::iter::once(&ours.latent).chain(&ours.weights);
    for ((name, ours), theirs) in names.zip(ours).zip(&theirs) {
        trial.same_shape(name, &ours.size(), &theirs.size())?;
        let error = largest(&(ours - theirs)) / largest(theirs).max(f64::MIN_POSITIVE);
        trial.at_most(tolerance, error, format!("relative error of the gradient in {name}"))?;
    }
    Ok(())
}
