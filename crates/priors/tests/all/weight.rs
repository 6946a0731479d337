//! Published weights: the converted problem has the same minimisers.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, Space};
use smalti_operators::{Gaussian, Likelihood};
use smalti_priors::{Regularizer, TotalVariation, weight};
use tch::{Kind, Tensor};

#[test]
fn both_objectives_are_one_up_to_a_factor() {
    // sum (x - y)^2 + lambda R(x) against nll/n + w R(x), for images of two sizes and two noise levels.
    for (height, sigma, lambda) in [(6, 0.01, 0.15), (15, 0.2, 3.0)] {
        let space = Space::image(1, height, 9);
        let draw = |k| Seed::new(3).at("image", k).uniform(&space.batch(1)).to_kind(Kind::Double);
        let (x, y, n) = (draw(0), draw(1), space.len());
        let w = weight::from_squared_error_sum(lambda, n, sigma).unwrap();
        let tv = TotalVariation::new(space, 0.1).unwrap();
        let likelihood = Gaussian::new(sigma).unwrap();
        let (value, grad) = tv.value_and_grad(&x).unwrap();
        let published = (
            (&x - &y).square().sum(Kind::Double).double_value(&[]) + lambda * value,
            (&x - &y) * 2.0 + &grad * lambda,
        );
        let nll = likelihood.nll(&x, &y).unwrap().double_value(&[0]);
        let ours = (nll / n as f64 + w * value, likelihood.grad(&x, &y).unwrap() / n as f64 + grad * w);
        let factor = 2.0 * sigma * sigma * n as f64;
        assert!((ours.0 * factor / published.0 - 1.0).abs() < 1e-12);
        let gap: Tensor = ours.1 * factor - published.1;
        assert!(gap.abs().max().double_value(&[]) < 1e-12);
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(weight::from_squared_error_sum(bad, 10, 0.1).unwrap_err().to_string().contains("lambda"));
        assert!(
            weight::from_squared_error_sum(1.0, 10, bad).unwrap_err().to_string().contains("noise level")
        );
    }
    assert!(
        weight::from_squared_error_sum(1.0, 0, 0.1).unwrap_err().to_string().contains("observation size")
    );
}
