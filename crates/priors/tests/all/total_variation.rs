//! Total variation against a loop over pixels.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Seed, Space};
use smalti_priors::{Regularizer, TotalVariation};
use tch::{Kind, Tensor};

/// The formula, pixel by pixel: the value, and its derivative in every pixel.
fn by_hand(x: &[f64], space: Space, eps: f64) -> (f64, Vec<f64>) {
    let (h, w) = (space.height as usize, space.width as usize);
    let (mut value, mut grad) = (0.0, vec![0.0; x.len()]);
    for c in 0..space.channels as usize {
        for i in 0..h {
            for j in 0..w {
                let here = (c * h + i) * w + j;
                let down = if i + 1 < h { x[here + w] - x[here] } else { 0.0 };
                let right = if j + 1 < w { x[here + 1] - x[here] } else { 0.0 };
                let length = (down * down + right * right + eps * eps).sqrt();
                value += length - eps;
                grad[here] -= (down + right) / length;
                if i + 1 < h {
                    grad[here + w] += down / length;
                }
                if j + 1 < w {
                    grad[here + 1] += right / length;
                }
            }
        }
    }
    let n = x.len() as f64;
    (value / n, grad.into_iter().map(|g| g / n).collect())
}

#[test]
fn value_and_gradient_are_those_of_a_loop() {
    let spaces = [(1, 7, 10), (3, 6, 4), (1, 1, 9), (1, 9, 1), (2, 1, 1)];
    for (space, eps) in
        spaces.into_iter().flat_map(|(c, h, w)| [1e-3, 0.1].map(|eps| (Space::image(c, h, w), eps)))
    {
        let x = Seed::new(3).at("image", 0).uniform(&space.batch(1)).to_kind(Kind::Double);
        let tv = TotalVariation::new(space, eps).unwrap();
        let (value, grad) = tv.value_and_grad(&x).unwrap();
        let (expected, gradient) = by_hand(&Vec::<f64>::try_from(x.reshape([-1])).unwrap(), space, eps);
        let gradient = Tensor::from_slice(&gradient).reshape(x.size());
        assert!((value - expected).abs() < 1e-13, "{space:?}: {value} {expected}");
        assert!((grad - gradient).abs().max().double_value(&[]) < 1e-13, "{space:?}");
        assert_eq!(value, tv.value(&x).unwrap());
    }
}

/// Volumes have one difference more. (Their gradient is held to this value by a law of testkit.)
#[test]
fn values_of_volumes_are_those_of_a_loop() {
    for (d, h, w) in [(5, 7, 4), (1, 6, 3), (4, 1, 1)] {
        let (space, eps) = (Space::volume(1, d, h, w), 0.05);
        let x = Seed::new(3).at("volume", 0).uniform(&space.batch(1)).to_kind(Kind::Double);
        let at = |k, i, j| x.double_value(&[0, 0, k, i, j]);
        let mut sum = 0.0;
        for (k, i, j) in (0..d).flat_map(|k| (0..h).flat_map(move |i| (0..w).map(move |j| (k, i, j)))) {
            let below = if k + 1 < d { at(k + 1, i, j) - at(k, i, j) } else { 0.0 };
            let down = if i + 1 < h { at(k, i + 1, j) - at(k, i, j) } else { 0.0 };
            let right = if j + 1 < w { at(k, i, j + 1) - at(k, i, j) } else { 0.0 };
            sum += (below * below + down * down + right * right + eps * eps).sqrt() - eps;
        }
        let value = TotalVariation::new(space, eps).unwrap().value(&x).unwrap();
        assert!((value - sum / (d * h * w) as f64).abs() < 1e-13, "{space:?}: {value}");
    }
}

#[test]
fn flat_images_have_none_and_edges_their_height() {
    let space = Space::image(1, 20, 10);
    let tv = TotalVariation::new(space, 1e-6).unwrap();
    let flat = Tensor::ones(space.batch(1), tch::kind::DOUBLE_CPU) * 0.7;
    let (value, grad) = tv.value_and_grad(&flat).unwrap();
    assert!(value.abs() < 1e-15 && grad.abs().max().double_value(&[]) == 0.0);
    // A step of 0.5 along a column of 20 pixels, as a share of 200 pixels.
    let _ = flat.narrow(3, 4, 6).g_add_scalar_(0.5);
    assert!((tv.value(&flat).unwrap() - 0.5 * 20.0 / 200.0).abs() < 1e-6);
}

#[test]
fn what_does_not_fit_is_refused() {
    let space = Space::image(1, 6, 8);
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(TotalVariation::new(space, eps).unwrap_err().to_string().contains("eps"));
    }
    let tv = TotalVariation::new(space, 0.1).unwrap();
    for wrong in [vec![1, 1, 8, 6], vec![2, 1, 6, 8], vec![1, 2, 6, 8], vec![6, 8]] {
        let x = Tensor::zeros(&wrong[..], tch::kind::DOUBLE_CPU);
        assert!(matches!(tv.value(&x), Err(Error::Shape { .. })), "{wrong:?}");
        assert!(matches!(tv.value_and_grad(&x), Err(Error::Shape { .. })), "{wrong:?}");
    }
    assert!(tv.value(&Tensor::zeros(space.batch(1), (Kind::Int64, tch::Device::Cpu))).is_err());
}
