//! Ridge regularizers from files, against values of numpy by the definition.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Seed, Space, npz_file};
use smalti_priors::{Convexity, Reflected, Regularizer, RidgeNetwork};
use smalti_testkit::measured;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/tests/golden/ridge").join(name)
}

const KINDS: [(&str, Convexity); 2] = [("crr", Convexity::Convex), ("wcrr", Convexity::Weakly)];

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

fn one_line(error: Error) -> String {
    let line = error.to_string();
    assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
    line
}

/// How far the sum over all positions and its gradient lie from the golden ones, each in relation to its size.
fn errors(
    network: &RidgeNetwork,
    level: f64,
    arrays: &BTreeMap<String, Tensor>,
    (x, result): (&str, &str),
    kind: Kind,
) -> [f64; 2] {
    let x = arrays[x].to_kind(kind);
    let &[rows, columns] = x.size().as_slice() else { unreachable!("an image") };
    let prior = network.regularizer(Space::image(1, rows, columns), level / 255.0, 1.0).unwrap();
    let n = ((rows - network.reach()) * (columns - network.reach())) as f64;
    let (value, gradient) = prior.value_and_grad(&x.reshape([1, 1, rows, columns])).unwrap();
    let expected = arrays[&format!("{result}_value")].double_value(&[]);
    let slopes = arrays[&format!("{result}_gradient")].to_kind(Kind::Double);
    let apart = gradient.to_kind(Kind::Double).reshape([rows, columns]) * n - &slopes;
    [(value * n - expected).abs() / expected, largest(&apart) / largest(&slopes)]
}

#[test]
fn small_files_give_what_numpy_computes() {
    let arrays = npz_file::load(&golden("golden.npz")).unwrap();
    for (name, convexity) in KINDS {
        let network = RidgeNetwork::load(&golden(&format!("tiny_{name}.pth")), convexity).unwrap();
        assert_eq!(network.reach(), 8);
        for (kind, tolerance) in [(Kind::Double, 1e-7), (Kind::Float, 1e-5)] {
            let found = errors(&network, 17.0, &arrays, ("x", name), kind);
            assert!(found.iter().all(|error| *error < tolerance), "{name}, {kind:?}: {found:?}");
        }
        // The level is seen.
        assert!(errors(&network, 16.0, &arrays, ("x", name), Kind::Double)[1] > 1e-3);
        let again = RidgeNetwork::load(&golden(&format!("tiny_{name}.pth")), convexity).unwrap();
        assert_eq!(network.hash().unwrap(), again.hash().unwrap());
    }
    // Rows and columns exchanged, as where axes of kernels are: every shape still fits.
    let network = RidgeNetwork::load(&golden("tiny_crr.pth"), Convexity::Convex).unwrap();
    let mut wrong = BTreeMap::new();
    for (name, array) in &arrays {
        let array = if name.starts_with("crr") || name == "x" { array.shallow_clone() } else { continue };
        wrong.insert(name.clone(), if array.dim() == 2 { array.tr() } else { array });
    }
    assert!(errors(&network, 17.0, &wrong, ("x", "crr"), Kind::Double)[1] > 0.05);
}

#[test]
fn the_published_files_give_what_numpy_computes() {
    let Some(folder) = measured(&["weights/CRR.pth", "weights/WCRR.pth"]) else { return };
    let arrays = npz_file::load(&golden("golden.npz")).unwrap();
    for (name, convexity) in KINDS {
        let path = folder.join(format!("weights/{}.pth", name.to_uppercase()));
        let network = RidgeNetwork::load(&path, convexity).unwrap();
        assert_eq!(network.reach(), 12);
        for (kind, tolerance) in [(Kind::Double, 1e-7), (Kind::Float, 1e-4)] {
            let found = errors(&network, 10.0, &arrays, ("x_published", &format!("{name}_published")), kind);
            assert!(found.iter().all(|error| *error < tolerance), "{name}, {kind:?}: {found:?}");
        }
        let prior = network.regularizer(Space::image(1, 40, 40), 0.05, 1.0).unwrap();
        // One that is weakly convex is so with the modulus 1, of sums: slopes of the concave part are at most 1.
        let (weak, sum) = (prior.weak_convexity(), 28.0 * 28.0);
        println!("{name}: curvatures of the sum from -{:.3} to {:.3}", weak * sum, prior.lipschitz() * sum);
        assert!(if convexity == Convexity::Convex {
            weak == 0.0
        } else {
            weak > 0.1 / sum && weak <= 1.0000001 / sum
        });
        let other = if convexity == Convexity::Convex { Convexity::Weakly } else { Convexity::Convex };
        let line = one_line(RidgeNetwork::load(&path, other).unwrap_err());
        assert!(line.contains("convex regularizer, whose concave part is"), "{line}");
    }
}

/// Strips of rows, each on its own thread, make one image; channels are treated one by one, values beyond the range are divided.
#[test]
fn strips_channels_and_ranges_fit_together() {
    let network = RidgeNetwork::load(&golden("tiny_wcrr.pth"), Convexity::Weakly).unwrap();
    let draw = |name: &str, size: &[i64]| Seed::new(7).at(name, 0).uniform(size).to_kind(Kind::Double);
    // More rows than a strip holds.
    let (h, w) = (700, 240);
    let x = draw("tall", &[1, 1, h, w]);
    let of = |x: &Tensor| {
        let size = x.size();
        let prior = network.regularizer(Space::image(size[1], size[2], size[3]), 0.05, 1.0).unwrap();
        prior.value_and_grad(x).unwrap()
    };
    let (value, gradient) = of(&x);
    let (upper, lower) = (of(&x.narrow(2, 0, 308)), of(&x.narrow(2, 300, 400)));
    assert!((value - (upper.0 * 300.0 + lower.0 * 392.0) / 692.0).abs() < 1e-12 * value);
    let sum = Tensor::zeros_like(&x);
    let _ = sum.narrow(2, 0, 308).g_add_(&(upper.1 * (300.0 / 692.0)));
    let _ = sum.narrow(2, 300, 400).g_add_(&(lower.1 * (392.0 / 692.0)));
    assert!(largest(&(sum - &gradient)) < 1e-12 * largest(&gradient));
    let colour = draw("colour", &[1, 3, 14, 12]);
    let (value, gradient) = of(&colour);
    let single: Vec<_> = (0..3).map(|c| of(&colour.narrow(1, c, 1))).collect();
    assert!((value - single.iter().map(|(value, _)| value / 3.0).sum::<f64>()).abs() < 1e-12);
    assert!(largest(&(gradient.narrow(1, 2, 1) - &single[2].1 / 3.0)) < 1e-12);
    // The same image in other units: w^2 R(x / w), whose curvature is the same.
    let wide =
        network.regularizer(Space::image(3, 14, 12), 0.05, 40.0).unwrap().value_and_grad(&(&colour * 40.0));
    let (wide, slopes) = wide.unwrap();
    assert!((wide - value * 1600.0).abs() < 1e-9 * wide && largest(&(slopes - gradient * 40.0)) < 1e-12);
}

#[test]
fn files_that_are_no_ridge_regularizer_are_refused_with_the_remedy() {
    let refused = |path: &Path| one_line(RidgeNetwork::load(path, Convexity::Weakly).unwrap_err());
    let line = refused(&golden("refused_layers.pth"));
    assert!(line.contains("has state_dict.spline_scaling.coefficients of [5, 4], not of [3, any]"), "{line}");
    assert!(line.contains("give a state dict of a ridge regularizer (CRR.pth or WCRR.pth"), "{line}");
    let line = refused(&golden("refused_knots.pth"));
    assert!(line.contains("has activations of 10 knots, not of an odd number from 5 on"), "{line}");
    let line = refused(&golden("../other_arrays/plain.pth"));
    assert!(line.contains("has no tensor state_dict.conv_layer.conv_layers.0.parametrizations"), "{line}");
    let line = refused(&golden("tiny_crr.pth"));
    assert!(line.contains("holds a convex regularizer"), "{line}");
    let bytes = std::fs::read(golden("tiny_wcrr.pth")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("cut.pth");
    for share in [0.0, 0.3, 0.9, 0.999] {
        std::fs::write(&path, &bytes[..(bytes.len() as f64 * share) as usize]).unwrap();
        assert!(refused(&path).contains("not a readable PyTorch file"), "{share}");
    }
    let missing = RidgeNetwork::load(Path::new("/nowhere.pth"), Convexity::Convex).unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let network = RidgeNetwork::load(&golden("tiny_crr.pth"), Convexity::Convex).unwrap();
    let small = Space::image(1, 30, 8);
    assert!(network.regularizer(small, 0.1, 1.0).unwrap_err().to_string().contains("more than 8 pixels"));
    assert!(network.regularizer(Space::volume(1, 20, 20, 20), 0.1, 1.0).is_err());
    let space = Space::image(1, 12, 14);
    for (sigma, width) in [(0.0, 1.0), (0.118, 1.0), (f64::NAN, 1.0), (0.1, 0.0), (0.1, f64::INFINITY)] {
        assert!(
            matches!(network.regularizer(space, sigma, width), Err(Error::Value { .. })),
            "{sigma} {width}"
        );
    }
    let prior = network.regularizer(space, 0.1, 1.0).unwrap();
    for wrong in [
        Tensor::zeros([1, 1, 14, 12], tch::kind::FLOAT_CPU),
        Tensor::zeros([2, 1, 12, 14], tch::kind::FLOAT_CPU),
        Tensor::zeros([1, 1, 12, 14], (Kind::Int64, tch::Device::Cpu)),
    ] {
        assert!(matches!(prior.value_and_grad(&wrong), Err(Error::Shape { .. })));
    }
    // Continued by reflection, images may be as small as the padding allows, and constants still are not seen.
    let reflected = Reflected::new(small, 4, |extended| network.regularizer(extended, 0.1, 1.0)).unwrap();
    let flat = Tensor::ones(small.batch(1), tch::kind::DOUBLE_CPU) * 0.4;
    let (value, gradient) = reflected.value_and_grad(&flat).unwrap();
    assert!(value < 1e-20 && largest(&gradient) < 1e-15, "{value}");
    let kernels = [
        Tensor::ones([2, 1, 3, 3], tch::kind::DOUBLE_CPU),
        Tensor::ones([2, 3, 3, 3], tch::kind::DOUBLE_CPU),
    ];
    let line = Tensor::linspace(-0.1, 0.1, 5, tch::kind::DOUBLE_CPU);
    let new = |kernels: &[Tensor], concave: &Tensor, scalings: &[i64]| {
        let scalings = Tensor::zeros(scalings, tch::kind::DOUBLE_CPU);
        RidgeNetwork::new(kernels, (&line, 1.0), (concave, Convexity::Convex), &scalings)
            .unwrap_err()
            .to_string()
    };
    assert!(new(&kernels, &line, &[2, 3]).contains("kernel of a ridge regularizer: expected [any, 2, k, k]"));
    assert!(new(&kernels[..1], &line.narrow(0, 0, 3), &[2, 3]).contains("an odd number from 5 on, twice"));
    assert!(new(&kernels[..1], &line, &[2, 1]).contains("expected [2, 2 or more]"));
    assert!(new(&kernels[..1], &line, &[2, 3]).contains("some that are not zero"));
}
