//! A layer's analytic gradients are those of autograd.

use super::measure::largest;
use crate::violation::{Trial, Violation};
use smalti_base::{Result as BaseResult, Seed};
use smalti_flows::{Gradients, Layer, Mapped, Tape};
use tch::{Kind, Tensor};

/// For `L = <g, z> + c sum l`, `z, l = to_latent(x)`, with random `g` and `c`: [`Layer::pull_back`] gives the
/// gradients that autograd gives, in `x` and in every parameter, relative to their largest value within
/// `tolerance`; the tape is used up; and `to_latent_taped` agrees with `to_latent`.
///
/// # Errors
/// The [`Violation`].
pub fn pull_back(
    subject: &str,
    layer: &mut dyn Layer,
    x: &Tensor,
    tolerance: f64,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the analytic gradients", subject };
    let plain: Vec<Tensor> = layer.parameters_mut().into_iter().map(|p| p.detach().copy()).collect();
    for (parameter, value) in layer.parameters_mut().into_iter().zip(&plain) {
        *parameter = value.copy().set_requires_grad(true);
    }
    let leaf = x.detach().copy().set_requires_grad(true);
    let Mapped { value, log_det } = trial.ok(layer.to_latent(&leaf, None))?;
    let g = seed.at("cotangent", 0).normal(&value.size()).to_kind(value.kind());
    let c = 0.7;
    let loss = (&g * &value).sum(Kind::Double) + log_det.sum(Kind::Double) * c;
    let names: Vec<String> = layer.parameters().into_iter().map(|(name, _)| name).collect();
    let leaves: Vec<Tensor> = layer.parameters().into_iter().map(|(_, p)| p.shallow_clone()).collect();
    let mut wanted: Vec<&Tensor> = vec![&leaf];
    wanted.extend(&leaves);
    let theirs = Tensor::run_backward(&[loss], &wanted, false, false);
    for (parameter, value) in layer.parameters_mut().into_iter().zip(&plain) {
        *parameter = value.shallow_clone();
    }

    let mut ours = Gradients::default();
    let mut tape = Tape::default();
    let taped = trial.ok(layer.to_latent_taped(x, &mut tape))?;
    trial.at_most(0.0, largest(&(&taped.value - value.detach())), "taped and plain latents differ")?;
    let back: BaseResult<Tensor> = layer.pull_back(&g, c, &mut tape, Some(&mut ours));
    let in_x = trial.ok(back)?;
    let ours = trial.ok(Gradients::sum(&[ours]))?;
    trial.at_most(0.0, f64::from(u8::from(!tape.is_empty())), "tensors are left on the tape")?;
    let missing = ours.len().abs_diff(names.len()) as f64;
    trial.at_most(0.0, missing, "parameters and gradients differ in number")?;
    let named = std::iter::once("the input".to_owned()).chain(names);
    for ((name, ours), theirs) in named.zip(std::iter::once(&in_x).chain(&ours)).zip(&theirs) {
        trial.same_shape(&name, &ours.size(), &theirs.size())?;
        let error = largest(&(ours - theirs)) / largest(theirs).max(f64::MIN_POSITIVE);
        trial.at_most(tolerance, error, format!("relative error of the gradient in {name}"))?;
    }
    Ok(())
}
