//! The built-in images: the same every time, in range, sharp, and unlike each other.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_base::Seed;
use smalti_methods::synthetic::microstructure;
use tch::{Kind, Tensor};

fn image(height: i64, width: i64, seed: u64, index: u64) -> Tensor {
    microstructure(height, width, Seed::new(seed), index).unwrap()
}

#[test]
fn images_are_reproducible_and_differ_by_seed_and_index() {
    tch::manual_seed(1);
    let first = image(90, 130, 5, 2);
    tch::manual_seed(2);
    assert_eq!(first, image(90, 130, 5, 2));
    assert_ne!(first, image(90, 130, 5, 3));
    assert_ne!(first, image(90, 130, 6, 2));
    // libtorch's own generator has not been drawn from.
    let drawn = Tensor::rand([3], tch::kind::FLOAT_CPU);
    tch::manual_seed(2);
    assert_eq!(drawn, Tensor::rand([3], tch::kind::FLOAT_CPU));
}

#[test]
fn shapes_and_values_are_those_of_images() {
    for (h, w) in [(1, 1), (17, 301), (240, 64)] {
        let x = image(h, w, 1, 0);
        assert_eq!((x.size(), x.kind()), (vec![1, 1, h, w], Kind::Float));
        assert!(x.min().double_value(&[]) >= 0.0 && x.max().double_value(&[]) <= 1.0);
    }
    let error = microstructure(0, 5, Seed::new(1), 0).unwrap_err().to_string();
    assert!(error.contains("height") && error.contains("got 0"), "{error}");
}

/// Matrix, grains and binder make three heaps of grey values; edges are a pixel or two wide.
#[test]
fn images_have_phases_and_sharp_edges() {
    let x = image(400, 300, 7, 0);
    let share = |low: f64, high: f64| {
        let inside = x.ge(low).logical_and(&x.lt(high));
        inside.to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
    };
    assert!(share(0.30, 0.38) > 0.15, "matrix {}", share(0.30, 0.38));
    assert!(share(0.38, 0.50) > 0.15, "grains {}", share(0.38, 0.50));
    assert!(share(0.62, 0.85) > 0.08, "binder {}", share(0.62, 0.85));
    assert!(share(0.0, 0.2) > 0.002, "cracks {}", share(0.0, 0.2));
    // Between neighbours: mostly next to nothing, at edges a quarter of the range.
    let step = x.diff(1, 3, None::<&Tensor>, None::<&Tensor>).abs().flatten(0, -1);
    let (sorted, _) = step.sort(0, false);
    let n = sorted.size()[0];
    let quantile = |q: f64| sorted.double_value(&[((n - 1) as f64 * q) as i64]);
    assert!(quantile(0.5) < 0.03, "median step {}", quantile(0.5));
    assert!(quantile(0.995) > 0.12, "large steps {}", quantile(0.995));
    let deviation = x.std(true).double_value(&[]);
    assert!((0.09..0.22).contains(&deviation), "standard deviation {deviation}");
}
