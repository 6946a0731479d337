//! Regularizers that are convex, or nearly so.

use super::measure::{inner, length, normal};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_priors::Regularizer;
use tch::Tensor;

/// `R(x) + m/2 |x|^2` is convex at the midpoints of float64 images of the given shape, near to each other and far from each other:
/// `R(x) <= (R(x + d) + R(x - d)) / 2 + m/2 |d|^2`. With `m = 0` the regularizer itself is convex.
///
/// Directions `d` are drawn ones, and those in which gradients say that the curvature at `x` is least: a function that bends down in few
/// directions passes for convex in nearly all drawn ones.
///
/// # Errors
/// The [`Violation`].
pub fn convexity(
    subject: &str,
    regularizer: &dyn Regularizer,
    m: f64,
    shape: &[i64],
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "convexity", subject };
    for spread in [0.0, 0.01, 0.03, 0.1, 0.3, 1.0] {
        let x = normal(seed, "image", shape) * spread;
        let drawn = normal(seed, "direction", shape);
        let least = trial.ok(least_curved(regularizer, &x, &drawn))?;
        for d in [drawn, least] {
            let d = &d / length(&d).max(1e-300);
            for apart in [1e-3, 0.01, 0.1, 1.0] {
                let value = |share: f64| trial.ok(regularizer.value(&(&x + &d * (share * apart))));
                let (one, middle, other) = (value(-1.0)?, value(0.0)?, value(1.0)?);
                let (chord, slack) = (0.5 * (one + other), 0.5 * m * apart * apart);
                let rounding = 1e-13 * one.abs().max(other.abs());
                let detail = format!(
                    "{middle:.9e} half way between {one:.9e} and {other:.9e}, {apart} apart, m/2 |d|^2 = {slack:.3e}; above the chord by"
                );
                trial.at_most(slack + rounding, middle - chord, detail)?;
            }
        }
    }
    Ok(())
}

/// A direction of least curvature at `x`: a power iteration, with the curvature taken away from the largest one.
fn least_curved(regularizer: &dyn Regularizer, x: &Tensor, drawn: &Tensor) -> smalti_base::Result<Tensor> {
    const STEP: f64 = 1e-4;
    let (_, here) = regularizer.value_and_grad(x)?;
    let curved = |d: &Tensor| {
        let (_, there) = regularizer.value_and_grad(&(x + d * STEP))?;
        Ok::<_, smalti_base::Error>((there - &here) / STEP)
    };
    let unit = |d: &Tensor| d / length(d).max(1e-300);
    let (mut d, mut largest) = (unit(drawn), 0.0_f64);
    for _ in 0..20 {
        let next = curved(&d)?;
        largest = largest.max(inner(&next, &d).abs()).max(length(&next));
        d = unit(&next);
    }
    d = unit(drawn);
    for _ in 0..60 {
        d = unit(&(&d * largest - curved(&d)?));
    }
    Ok(d)
}
