//! What Markov kernels promise: an invariant density, detailed balance, and the importance term of their steps.
//!
//! These are statistical laws: means over many seeded chains must lie within 4.5 standard errors of what they
//! should be, which a correct kernel misses with a probability below 1e-4.

use crate::violation::{Trial, Violation};
use smalti_base::{Result as BaseResult, Seed};
use smalti_flows::Mapped;
use smalti_flows::stochastic::{DiagonalMixture, Energy, MarkovKernel};
use tch::{Kind, Tensor};

/// Chains of a law.
const CHAINS: i64 = 60_000;

/// Standard errors that a mean may be off.
const ERRORS: f64 = 4.5;

/// A mixture of three unequal Gaussians in the plane, float64, and as many samples of it as the laws have chains.
fn density(seed: Seed) -> BaseResult<(DiagonalMixture, Tensor)> {
    let means = Tensor::from_slice(&[-1.0, 0.0, 0.5, 0.8, 0.6, -0.9]).reshape([3, 2]);
    let of = Tensor::from_slice::<f64>;
    let mixture = DiagonalMixture::new(&of(&[0.2, 0.5, 0.3]), &means, &of(&[0.15, 0.3]))?;
    let samples = mixture.sample(CHAINS, &mut seed.at("samples of the density", 0));
    Ok((mixture, samples))
}

/// Functions of a point that tell distributions apart: `[B, 2] -> [B]` each.
fn features(mixture: &DiagonalMixture, x: &Tensor) -> BaseResult<Vec<(&'static str, Tensor)>> {
    let (a, b) = (x.select(1, 0), x.select(1, 1));
    Ok(vec![
        ("x1", a.shallow_clone()),
        ("x2", b.shallow_clone()),
        ("x1^2", a.square()),
        ("x2^2", b.square()),
        ("x1 x2", &a * &b),
        ("sin 3 x1", (&a * 3.0).sin()),
        ("the energy", mixture.energy(x)?),
        ("the first mode's half plane", a.lt(-0.5).to_kind(Kind::Double)),
    ])
}

/// The mean's distance from `expected`, in standard errors.
fn errors(values: &Tensor, expected: f64) -> f64 {
    let n = values.numel() as f64;
    let spread = values.std(true).double_value(&[]) / n.sqrt();
    (values.mean(Kind::Double).double_value(&[]) - expected).abs() / spread.max(1e-300)
}

/// After `steps` steps from samples of a density, chains are samples of the same density: means of several functions do not
/// change. And chains do move.
///
/// # Errors
/// The [`Violation`].
pub fn invariance(subject: &str, kernel: &dyn MarkovKernel, steps: u32, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "invariance", subject };
    let (mixture, x) = trial.ok(density(seed))?;
    let moved = trial.ok(kernel.walk(&mixture, &x, steps, &mut seed.at("steps", 0)))?;
    let still = moved.value.eq_tensor(&x).all_dim(1, false).to_kind(Kind::Double).mean(Kind::Double);
    trial.at_most(0.9, still.double_value(&[]), "share of chains that stand still")?;
    let (before, after) = (trial.ok(features(&mixture, &x))?, trial.ok(features(&mixture, &moved.value))?);
    for ((name, before), (_, after)) in before.into_iter().zip(after) {
        let detail = format!("change of the mean of {name}, in standard errors");
        trial.at_most(ERRORS, errors(&(after - before), 0.0), detail)?;
    }
    Ok(())
}

/// One step from `a`, a sample of the density, to `b` is as probable as one from `b` to `a`: means of `f(a) g(b) - f(b) g(a)` are
/// zero; and the importance term of the step is `u(b) - u(a)`.
///
/// # Errors
/// The [`Violation`].
pub fn detailed_balance(subject: &str, kernel: &dyn MarkovKernel, seed: Seed) -> Result<(), Violation> {
    let trial = Trial { law: "detailed balance", subject };
    let (mixture, a) = trial.ok(density(seed))?;
    let Mapped { value: b, log_det } = trial.ok(kernel.walk(&mixture, &a, 1, &mut seed.at("steps", 0)))?;
    let expected = trial.ok(mixture.energy(&b))? - trial.ok(mixture.energy(&a))?;
    let distance = (log_det - expected).abs().max().double_value(&[]);
    trial.at_most(1e-9, distance, "distance of the importance term from u(b) - u(a)")?;
    let (of_a, of_b) = (trial.ok(features(&mixture, &a))?, trial.ok(features(&mixture, &b))?);
    for i in 0..of_a.len() {
        for j in 0..i {
            let flow = &of_a[i].1 * &of_b[j].1 - &of_b[i].1 * &of_a[j].1;
            let detail = format!("flow between {} and {}, in standard errors", of_a[i].0, of_a[j].0);
            trial.at_most(ERRORS, errors(&flow, 0.0), detail)?;
        }
    }
    Ok(())
}

/// For `a ~ q` and `steps` steps to `b` with the importance term `l`: `E exp(l) h(b) / q(a) = int h = 1` for any
/// densities `q` and `h`, here a wide Gaussian and the density itself.
///
/// # Errors
/// The [`Violation`].
pub fn importance_term(
    subject: &str,
    kernel: &dyn MarkovKernel,
    steps: u32,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the importance term", subject };
    let (mixture, _) = trial.ok(density(seed))?;
    let a = seed.at("starts", 0).normal(&[CHAINS, 2]).to_kind(Kind::Double) * 1.2;
    let squares = a.square().sum_dim_intlist(1i64, false, None::<Kind>);
    let log_q: Tensor = squares / (-2.0 * 1.44) - (2.0 * std::f64::consts::PI * 1.44f64).ln();
    let Mapped { value: b, log_det } =
        trial.ok(kernel.walk(&mixture, &a, steps, &mut seed.at("steps", 0)))?;
    let weights = (log_det - trial.ok(mixture.energy(&b))? - log_q).exp();
    trial.at_most(ERRORS, errors(&weights, 1.0), "mean weight minus 1, in standard errors")?;
    // Where weights vary too much their mean says nothing.
    trial.at_most(
        0.05,
        weights.std(true).double_value(&[]) / (CHAINS as f64).sqrt(),
        "standard error of the mean weight",
    )
}
