//! What the laws measure with: products, norms, seeded tensors, autograd and central differences.

use crate::violation::{Trial, Violation};
use smalti_base::{Result, Seed};
use tch::{Kind, Tensor};

/// Elements in every batch that a law makes.
pub(crate) const BATCH: i64 = 2;

/// Independent N(0, 1) values in float64.
pub(crate) fn normal(seed: Seed, purpose: &str, shape: &[i64]) -> Tensor {
    seed.at(purpose, 0).normal(shape).to_kind(Kind::Double)
}

/// `<x, y>`, summed over everything.
pub(crate) fn inner(x: &Tensor, y: &Tensor) -> f64 {
    (x * y).sum(Kind::Double).double_value(&[])
}

/// The Euclidean norm.
pub(crate) fn length(x: &Tensor) -> f64 {
    inner(x, x).sqrt()
}

/// The maximum norm; NaN where any value is NaN.
pub(crate) fn largest(x: &Tensor) -> f64 {
    if x.numel() == 0 { 0.0 } else { x.abs().max().double_value(&[]) }
}

/// `max |x - y| / max(|x|, |y|)`, with a floor of `1e-300` for the denominator.
pub(crate) fn relative_distance(x: &Tensor, y: &Tensor) -> f64 {
    largest(&(x - y)) / largest(x).max(largest(y)).max(1e-300)
}

/// The gradient of `f`, a sum of its values, at `x` by autograd.
pub(crate) fn autograd(x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let x = x.detach().copy().set_requires_grad(true);
    let value = f(&x)?.sum(Kind::Double);
    let gradients = Tensor::f_run_backward(&[value], &[x], false, false)?;
    gradients.into_iter().next().ok_or_else(|| smalti_base::Error::value("autograd", "one gradient", "none"))
}

/// Compares a gradient with central differences of `f` along the gradient itself and along random directions:
/// `|(f(x + h d) - f(x - h d)) / (2 h) - <g, d>| <= tol |g|` with unit directions `d`.
pub(crate) fn central_differences(
    trial: Trial,
    (x, gradient): (&Tensor, &Tensor),
    seed: Seed,
    tolerance: f64,
    f: impl Fn(&Tensor) -> Result<f64>,
) -> Result<(), Violation> {
    trial.same_shape("the gradient", &gradient.size(), &x.size())?;
    let size = length(gradient);
    // The step balances the error of the difference quotient, h^2, with rounding, 1e-16 / h.
    let h = 1e-5 * length(x).max(1.0);
    for k in 0..5 {
        let random = seed.at("direction", k).normal(&x.size()).to_kind(Kind::Double);
        let d = if k == 0 && size > 0.0 { gradient.detach() } else { random };
        let d = &d / length(&d);
        let (up, down) = (trial.ok(f(&(x + &d * h)))?, trial.ok(f(&(x - &d * h)))?);
        let (difference, slope) = ((up - down) / (2.0 * h), inner(gradient, &d));
        let rounding = 1e-14 * up.abs().max(down.abs()) / h;
        let which = if k == 0 { "along the gradient" } else { "along a random direction" };
        let detail = format!(
            "slope {which} is {slope:.9e}, central differences say {difference:.9e} (fitted scale {:.6}), error",
            difference / slope
        );
        trial.at_most(tolerance * size + rounding, (difference - slope).abs(), detail)?;
    }
    Ok(())
}
