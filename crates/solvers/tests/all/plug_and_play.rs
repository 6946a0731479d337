//! Half-quadratic splitting with denoisers whose limit is known.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Seed, Space};
use smalti_operators::resolvent::{DataStep, Weights};
use smalti_operators::{Boundary, Convolution, Identity, LinearOperator, Operator};
use smalti_solvers::{PlugAndPlay, PlugAndPlaySettings, RunControl, run};
use tch::{Kind, Tensor};

fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(6).at(name, 0).normal(size).to_kind(Kind::Double)
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

const WEIGHT: f64 = 50.0;
const PRECISION: f64 = 20.0;
const LAMBDA: f64 = 0.5;

/// The estimate with the Wiener filter of a normal prior of that precision, after so many iterations at levels from 0.5 to `end`.
fn wiener(a: &dyn LinearOperator, y: &Tensor, iterations: u64, end: f64) -> Tensor {
    let settings = PlugAndPlaySettings::dpir(iterations, 0.5, end).with_lambda(LAMBDA);
    let data = DataStep::new(a, y, Weights::Uniform(WEIGHT)).unwrap();
    let denoise = |x: &Tensor, sigma: f64, _: u64| Ok(x / (1.0 + sigma * sigma * PRECISION));
    let start = Tensor::zeros(a.domain().batch(1), (Kind::Double, tch::Device::Cpu));
    let mut iteration = PlugAndPlay::new(data, denoise, &start, settings).unwrap();
    run(&mut iteration, iterations, &RunControl::default()).unwrap();
    smalti_solvers::Iteration::finish(iteration).unwrap()
}

/// A normal prior has its Wiener filter for a proximal map: the limit is the MAP estimate `(w A^T A + lambda p)^-1 w A^T y`.
#[test]
fn with_a_wiener_filter_it_is_the_map_estimate() {
    let domain = Space::image(1, 16, 20);
    let a = Convolution::superresolution(domain, 6, 1.5, 2, Boundary::Periodic).unwrap();
    let y = draw("y", &a.range().batch(1));
    let right = a.adjoint(&y).unwrap();
    let map = a.resolvent().unwrap().solve(&right, LAMBDA * PRECISION / WEIGHT).unwrap();
    let apart = |iterations, end| largest(&(wiener(&a, &y, iterations, end) - &map)) / largest(&map);
    let (few, many) = (apart(8, 0.05), apart(600, 0.02));
    assert!(many < 0.01 && few > 10.0 * many, "{few} {many}");
}

/// One iteration is the denoised mean of data and start, at the last level.
#[test]
fn one_iteration_is_the_data_step_denoised() {
    let domain = Space::image(1, 6, 5);
    let a = Identity::new(domain);
    let y = draw("y", &domain.batch(1));
    let sigma: f64 = 0.2;
    let alpha = LAMBDA / (sigma * sigma);
    let expected = (&y * (WEIGHT / (WEIGHT + alpha))) / (1.0 + sigma * sigma * PRECISION);
    assert!(largest(&(wiener(&a, &y, 1, sigma) - expected)) < 1e-12);
}

#[test]
fn levels_fall_in_equal_ratios() {
    let settings = PlugAndPlaySettings::dpir(5, 0.16, 0.01);
    let levels: Vec<f64> = (0..5).map(|k| settings.level(k)).collect();
    assert_eq!((levels[0], levels[4]), (0.16, 0.01));
    assert!(levels.windows(2).all(|pair| (pair[0] / pair[1] - 2.0).abs() < 1e-12), "{levels:?}");
    assert_eq!(PlugAndPlaySettings::dpir(1, 0.16, 0.01).level(0), 0.01);
    let a = Identity::new(Space::image(1, 2, 2));
    let y = draw("y", &[1, 1, 2, 2]);
    for bad in [0.0, -1.0, f64::NAN] {
        let data = || DataStep::new(&a, &y, Weights::Uniform(1.0)).unwrap();
        let same = |x: &Tensor, _: f64, _: u64| Ok(x.shallow_clone());
        for settings in
            [PlugAndPlaySettings::dpir(2, bad, 0.1), PlugAndPlaySettings::dpir(2, 0.1, 0.1).with_lambda(bad)]
        {
            let line = PlugAndPlay::new(data(), same, &y, settings).unwrap_err().to_string();
            assert!(line.contains("of plug-and-play: expected a positive number"), "{line}");
        }
    }
}

/// Cancelled and resumed it ends with the same bits.
#[test]
fn it_goes_on_where_it_was_stopped() {
    let domain = Space::image(1, 12, 10);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Reflect).unwrap();
    let y = draw("y", &a.range().batch(1));
    let start = draw("start", &domain.batch(1));
    let result = |stops: &[u64]| {
        let make = || {
            let data = DataStep::new(&a, &y, Weights::Uniform(WEIGHT)).unwrap();
            // Another one in every iteration.
            let denoise = |x: &Tensor, sigma: f64, k: u64| {
                Ok(x.roll(k as i64 % 2, 3) / (1.0 + sigma * sigma * PRECISION))
            };
            PlugAndPlay::new(data, denoise, &start, PlugAndPlaySettings::dpir(12, 0.5, 0.1)).unwrap()
        };
        in_pieces(12, stops, make).0
    };
    let whole = result(&[]);
    assert!(result(&[1, 5, 8]).equal(&whole) && !whole.equal(&start));
}
