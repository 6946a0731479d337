//! What data consistency does to residuals, and what it refuses.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, Space};
use smalti_flows::{Bijection, DataConsistency};
use smalti_operators::{Boundary, Convolution, Mask, Operator, PseudoInverse};
use tch::{Device, Kind, Tensor};

fn operator() -> Convolution {
    Convolution::superresolution(Space::image(1, 24, 32), 16, 2.0, 4, Boundary::Periodic).unwrap()
}

fn consistency(a: &Convolution) -> DataConsistency<&Convolution> {
    DataConsistency::new(a, 1.0, PseudoInverse::default()).unwrap()
}

fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(5).at(name, 0).normal(size)
}

fn root_mean_square(x: &Tensor) -> f64 {
    x.square().mean(Kind::Double).sqrt().double_value(&[])
}

#[test]
fn residuals_are_scaled_and_nothing_else_changes() {
    let a = operator();
    let (z, y) = (draw("z", &a.domain().batch(2)), draw("y", &a.range().batch(2)));
    let before = a.apply(&z).unwrap() - &y;
    let layer = DataConsistency::new(&a, 0.4, PseudoInverse::default()).unwrap();
    let x = layer.to_data(&z, Some(&y)).unwrap().value;
    let after = a.apply(&x).unwrap() - &y;
    assert!(root_mean_square(&(&after - &before * 0.4)) < 1e-4 * root_mean_square(&before));
    // What changed is in the range of the adjoint: orthogonal to what the operator does not see.
    let exact = PseudoInverse { tolerance: 1e-6, max_iterations: 500 };
    let seen = exact.apply(&a, &a.apply(&(&x - &z)).unwrap()).unwrap().x;
    assert!(root_mean_square(&(seen - (&x - &z))) < 1e-3 * root_mean_square(&(&x - &z)));
}

#[test]
fn samples_come_as_far_from_the_data_as_the_noise() {
    let a = operator();
    let (z, y) = (draw("z", &a.domain().batch(3)), draw("y", &a.range().batch(3)));
    let residual = root_mean_square(&(a.apply(&z).unwrap() - &y));
    let layer = consistency(&a).scaled_to_noise(residual, 0.01).unwrap();
    let x = layer.to_data(&z, Some(&y)).unwrap().value;
    let after = root_mean_square(&(a.apply(&x).unwrap() - &y));
    assert!((after - 0.01).abs() < 1e-4, "{after}");
    // Samples that are close enough are left alone.
    let close = consistency(&a).scaled_to_noise(0.004, 0.01).unwrap();
    assert_eq!(close.scale(), 1.0);
    assert_eq!(close.to_data(&z, Some(&y)).unwrap().value, z);
}

#[test]
fn bad_input_is_refused() {
    let a = operator();
    for (residual, noise) in
        [(0.02, 0.0), (0.02, -0.01), (0.02, f64::NAN), (f64::NAN, 0.01), (f64::INFINITY, 0.01)]
    {
        assert!(consistency(&a).scaled_to_noise(residual, noise).is_err(), "{residual} {noise}");
    }
    assert!(DataConsistency::new(&a, 0.0, PseudoInverse::default()).is_err());
    let layer = DataConsistency::new(&a, 0.5, PseudoInverse::default()).unwrap();
    let (z, y) = (draw("z", &a.domain().batch(2)), draw("y", &a.range().batch(2)));
    assert!(layer.to_data(&z, None).is_err());
    assert!(layer.to_data(&z, Some(&y.narrow(2, 0, 3))).is_err());
    assert!(layer.to_data(&z, Some(&y.narrow(0, 0, 1))).is_err());
    assert!(layer.to_data(&z.narrow(2, 0, 20), Some(&y)).is_err());
    // Rows that are not independent, also for observations that would not show it.
    let seen = Tensor::ones([24, 32], (Kind::Float, Device::Cpu));
    let _ = seen.narrow(0, 3, 2).fill_(0.0);
    let mask = Mask::new(1, &seen).unwrap();
    let error = DataConsistency::new(&mask, 0.5, PseudoInverse::default()).err().unwrap().to_string();
    assert!(error.contains("independent rows"), "{error}");
}
