//! The c-transform and the prior on tensors, as on CUDA devices, against brute force and the kernels.

use super::{draw, patches, prior, tight};
use smalti_base::Error;
use smalti_kernels::rows::Rows;
use smalti_kernels::transport::{Queries, References};
use smalti_priors::Regularizer;
use smalti_priors::wpp::{DualMethod, WassersteinPatchPrior, WppSettings, c_transform};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

const SGD: DualMethod = DualMethod::AveragedSgd { steps: 10, step: 1.0 };

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// All costs `|x_i - y_j|^2 - psi_j` in float64.
fn costs(x: &Tensor, y: &Tensor, psi: &Tensor) -> Tensor {
    let double = |t: &Tensor| t.to_kind(Kind::Double);
    let squared = (double(x).unsqueeze(1) - double(y).unsqueeze(0)).square();
    squared.sum_dim_intlist(2i64, false, Kind::Double) - double(psi).unsqueeze(0)
}

/// By the kernels, from float32.
fn by_kernels(x: &Tensor, y: &Tensor, psi: &Tensor) -> (Tensor, Tensor) {
    let rows = |t: &Tensor| {
        let values = Vec::<f32>::try_from(t.to_kind(Kind::Float).reshape([-1])).unwrap();
        Rows::dense(values, t.size()[1] as usize).unwrap()
    };
    let mut queries = Queries::new(&Arc::new(References::new(&rows(y)).unwrap()), rows(x)).unwrap();
    let found = queries.c_transform(&Vec::<f64>::try_from(psi).unwrap()).unwrap();
    let winners: Vec<i64> = found.winners.into_iter().map(i64::from).collect();
    (Tensor::from_slice(&found.values), Tensor::from_slice(&winners))
}

fn triples() -> Vec<(Tensor, Tensor, Tensor)> {
    let sizes = [(300, 200, 36), (1, 50, 7), (50, 1, 7), (211, 190, 1), (40, 60, 108)];
    sizes
        .into_iter()
        .map(|(n, m, d)| (draw("x", &[n, d]), draw("y", &[m, d]), draw("psi", &[m]) * 0.1 - 0.05))
        .collect()
}

#[test]
fn float64_is_brute_force() {
    for (x, y, psi) in triples() {
        // Values that float32 has not.
        let (x, y) = (x / 3.0, y / 3.0);
        let (values, winners) = c_transform(&x, &y, &psi).unwrap();
        let (least, place) = costs(&x, &y, &psi).min_dim(1, false);
        assert!(largest(&((&values - &least) / &least)) < 1e-12);
        assert_eq!(winners, place);
        assert_eq!((values.kind(), winners.kind()), (Kind::Double, Kind::Int64));
    }
}

#[test]
fn float32_is_what_the_kernels_find() {
    for (x, y, psi) in triples() {
        let (x, y) = (x.to_kind(Kind::Float), y.to_kind(Kind::Float));
        let (values, winners) = c_transform(&x, &y, &psi).unwrap();
        let (expected, places) = by_kernels(&x, &y, &psi);
        // Relative to the costs that are compared; where all agree on the winner, values are the same.
        let error = (&values - &expected).abs();
        let scale = expected.abs().clamp_min(0.05);
        assert!(largest(&(&error / &scale)) < 1e-6, "{:?}: {}", x.size(), largest(&(&error / scale)));
        let same = winners.eq_tensor(&places).to_kind(Kind::Double);
        assert!(largest(&(error * &same)) < 1e-12);
        assert!(same.mean(Kind::Double).double_value(&[]) > 0.99, "{:?}", x.size());
    }
}

#[test]
fn values_of_near_duplicates_are_right_far_from_zero() {
    let y = (draw("y", &[80, 36]) * 0.01 + 300.0).to_kind(Kind::Float);
    let x = &y + (draw("noise", &[80, 36]) * 1e-3).to_kind(Kind::Float);
    let psi = Tensor::zeros([80], (Kind::Double, Device::Cpu));
    let (values, winners) = c_transform(&x, &y, &psi).unwrap();
    let (least, place) = costs(&x, &y, &psi).min_dim(1, false);
    assert_eq!(winners, place);
    assert!(largest(&((&values - &least) / &least)) < 1e-12);
    // The expansion without centring has nothing left of them.
    let naive = x.square().sum_dim_intlist(1i64, true, Kind::Float) - x.matmul(&y.tr()) * 2.0
        + y.square().sum_dim_intlist(1i64, false, Kind::Float);
    let naive = naive.min_dim(1, false).0.to_kind(Kind::Double);
    assert!(largest(&((naive - &least) / &least)) > 10.0);
}

#[test]
fn equal_rows_and_ties_have_the_right_values() {
    let y = (draw("y", &[40, 4]) * 2.0).floor();
    let psi = (draw("psi", &[40]) * 3.0).floor();
    let x = (draw("x", &[60, 4]) * 2.0).floor();
    for kind in [Kind::Float, Kind::Double] {
        let (values, winners) = c_transform(&x.to_kind(kind), &y.to_kind(kind), &psi).unwrap();
        let costs = costs(&x, &y, &psi);
        assert_eq!(values, costs.min_dim(1, false).0);
        assert_eq!(costs.gather(1, &winners.unsqueeze(1), false).squeeze_dim(1), values);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, y, psi) = (draw("x", &[30, 5]), draw("y", &[20, 5]), draw("psi", &[20]));
    let line = |result: Result<_, Error>| {
        let line = result.err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let short = line(c_transform(&x, &y, &psi.narrow(0, 0, 19)));
    assert!(short.starts_with("potential psi: expected [20]") && short.contains("got [19]"), "{short}");
    assert!(line(c_transform(&x, &y, &psi.unsqueeze(0))).starts_with("potential psi"));
    assert!(line(c_transform(&x, &y, &psi.to_kind(Kind::Int64))).starts_with("potential psi"));
    assert!(line(c_transform(&draw("x", &[30, 4]), &y, &psi)).starts_with("rows x: expected [N, 5]"));
    assert!(line(c_transform(&x.narrow(0, 0, 0), &y, &psi)).starts_with("rows x"));
    assert!(line(c_transform(&x.to_kind(Kind::Float), &y, &psi)).starts_with("rows x"));
    assert!(line(c_transform(&x, &y.to_kind(Kind::Half), &psi)).starts_with("reference rows y"));
    assert!(line(c_transform(&x, &y.narrow(0, 0, 0), &psi)).starts_with("reference rows y"));
    assert!(line(c_transform(&x.reshape([-1]), &y, &psi)).starts_with("rows x"));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
        let broken = |t: &Tensor| {
            let t = t.copy();
            let _ = t.narrow(0, 7, 1).narrow(-1, 3, 1).fill_(bad);
            t
        };
        assert!(line(c_transform(&broken(&x), &y, &psi)).starts_with("rows x: expected finite values"));
        assert!(line(c_transform(&x, &broken(&y), &psi)).starts_with("reference rows y: expected finite"));
        let psi = psi.copy();
        let _ = psi.narrow(0, 7, 1).fill_(bad);
        assert!(line(c_transform(&x, &y, &psi)).starts_with("potential psi: expected finite values"));
    }
}

/// Images, references, stride, centred: in two and three dimensions, with batches and colours.
fn cases() -> Vec<(Vec<i64>, Vec<i64>, i64, bool)> {
    vec![
        (vec![1, 1, 16, 14], vec![1, 1, 14, 18], 1, false),
        (vec![1, 1, 17, 14], vec![1, 1, 14, 18], 1, true),
        (vec![2, 3, 15, 14], vec![1, 3, 14, 15], 2, false),
        (vec![3, 2, 14, 15], vec![2, 2, 14, 15], 1, true),
        (vec![1, 1, 11, 10, 13], vec![1, 1, 10, 12, 10], 2, false),
        (vec![2, 1, 10, 10, 11], vec![1, 1, 10, 10, 10], 2, true),
        (vec![1, 2, 10, 11, 10], vec![1, 2, 10, 10, 10], 1, false),
    ]
}

/// The same prior by the kernels and on tensors.
fn both(
    size: &[i64],
    reference: &Tensor,
    settings: &WppSettings,
    weighted: bool,
) -> [WassersteinPatchPrior; 2] {
    let new = || {
        let prior = prior(size, &[reference], settings);
        if weighted { prior.with_pixel_weights(&draw("weights", &size[2..])).unwrap() } else { prior }
    };
    [new(), new().with_tensor_search()]
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
    ((&a - &b).norm() / b.norm()).double_value(&[])
}

#[test]
fn the_prior_is_the_same_by_both_searches() {
    for (size, of_reference, stride, centred) in cases() {
        for weighted in [false, true] {
            let settings = tight(3).with_scales(2).with_stride(stride).with_centred(centred).with_dual(SGD);
            let [mut kernels, mut tensors] =
                both(&size, &draw("reference", &of_reference), &settings, weighted);
            for kind in [Kind::Float, Kind::Double] {
                let x = draw("x", &size).to_kind(kind);
                let name = format!("{size:?}, {stride}, {centred}, {weighted}, {kind:?}");
                let (expected, gradient) = kernels.value_and_grad(&x).unwrap();
                let (value, other) = tensors.value_and_grad(&x).unwrap();
                assert!((value / expected - 1.0).abs() < 1e-6, "{name}: {value} {expected}");
                assert_eq!((other.kind(), other.size()), (kind, size.clone()));
                let error = distance(&other, &gradient);
                assert!(error < 1e-5, "{name}: {error}");
                for (a, b) in kernels.potentials().iter().zip(&tensors.potentials()) {
                    assert!(distance(&Tensor::from_slice(a), &Tensor::from_slice(b)) < 1e-6, "{name}");
                }
                let reports = tensors.reports();
                assert!(reports.iter().all(|r| r.evaluations == 11 && r.upper.is_none() && !r.converged));
                // Warm starts follow each other.
                kernels.refresh(0).unwrap();
                tensors.refresh(0).unwrap();
            }
            let (kernels, tensors) = (kernels.at_fixed_potentials(), tensors.at_fixed_potentials());
            let x = draw("elsewhere", &size);
            let (expected, gradient) = kernels.value_and_grad(&x).unwrap();
            let (value, other) = tensors.value_and_grad(&x).unwrap();
            assert!((value / expected - 1.0).abs() < 1e-6, "{size:?}: {value} {expected}");
            assert!(distance(&other, &gradient) < 1e-5);
        }
    }
}

#[test]
fn float64_images_have_float64_values_and_gradients() {
    for (size, of_reference, stride, _) in cases() {
        // References are kept as float32, the image has values that float32 has not.
        let (x, reference) = (draw("x", &size) / 3.0, draw("reference", &of_reference).to_kind(Kind::Float));
        let settings = tight(3).with_stride(stride).with_dual(SGD);
        let [_, mut prior] = both(&size, &reference, &settings, false);
        let psi = draw("psi", &[prior.potentials()[0].len() as i64]) * 0.2;
        prior.set_potentials(&[Vec::try_from(&psi).unwrap()]).unwrap();
        let (value, gradient) = prior.at_fixed_potentials().value_and_grad(&x).unwrap();

        let leaf = x.copy().set_requires_grad(true);
        let costs = costs(&patches(&leaf, 3, stride, false), &patches(&reference, 3, 1, false), &psi);
        let expected = costs.min_dim(1, false).0.mean(Kind::Double) + psi.mean(Kind::Double);
        let by_autograd = Tensor::run_backward(&[&expected], &[&leaf], false, false).remove(0);
        assert!((value / expected.double_value(&[]) - 1.0).abs() < 1e-12, "{size:?}: {value} {expected}");
        let error = distance(&gradient, &by_autograd);
        assert!(error < 1e-12, "{size:?}, stride {stride}: {error}");
    }
}

#[test]
fn the_same_image_has_the_same_bits() {
    let size = [1, 1, 24, 20];
    let (x, other) = (draw("x", &size).to_kind(Kind::Float), draw("other", &size).to_kind(Kind::Float));
    let settings = tight(3).with_scales(2).with_dual(SGD);
    let [_, tensors] = both(&size, &draw("reference", &size), &settings, true);
    let (value, gradient) = tensors.value_and_grad(&x).unwrap();
    assert_ne!(tensors.value(&other).unwrap(), value);
    let (again, same) = tensors.value_and_grad(&x).unwrap();
    assert_eq!(again.to_bits(), value.to_bits());
    assert_eq!(same, gradient);
}

#[test]
fn a_restored_prior_goes_on_with_the_same_bits() {
    let size = [1, 1, 14, 12];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let settings = tight(3).with_scales(2).with_dual(SGD);
    let [_, mut first] = both(&size, &reference, &settings, false);
    let [_, mut restored] = both(&size, &reference, &settings, false);
    let cold = first.value(&draw("other", &size)).unwrap();
    restored.restore(first.save().unwrap()).unwrap();
    first.refresh(1).unwrap();
    assert_ne!(first.value(&draw("other", &size)).unwrap(), cold);
    assert_eq!(restored.value_and_grad(&x).unwrap(), first.value_and_grad(&x).unwrap());
}

#[test]
fn weights_given_after_an_evaluation_count() {
    let size = [1, 1, 14, 12];
    let (x, reference, weights) = (draw("x", &size), draw("reference", &size), draw("weights", &size[2..]));
    let settings = tight(3).with_scales(2).with_dual(SGD);
    let [_, weighted] = both(&size, &reference, &settings, true);
    let [_, late] = both(&size, &reference, &settings, false);
    let (expected, uniform) = (weighted.value(&x).unwrap(), late.value(&x).unwrap());
    assert_ne!(uniform, expected);
    assert_eq!(late.with_pixel_weights(&weights).unwrap().value(&x).unwrap(), expected);
}

#[test]
fn a_nan_is_refused_and_forgotten() {
    let size = [1, 1, 14, 12];
    let x = draw("x", &size);
    let settings = tight(3).with_scales(2).with_dual(SGD);
    let [_, mut prior] = both(&size, &draw("reference", &size), &settings, false);
    let value = prior.value(&x).unwrap();
    for bad in [f64::NAN, f64::INFINITY] {
        let broken = x.copy();
        let _ = broken.narrow(2, 13, 1).narrow(3, 2, 1).fill_(bad);
        let line = prior.value_and_grad(&broken).unwrap_err().to_string();
        assert!(line.starts_with("image on scale 0: pixels: expected finite values"), "{line}");
        assert_eq!(prior.value(&x).unwrap(), value);
    }
    let count = prior.potentials()[0].len();
    for wrong in [vec![vec![0.0; count]], vec![vec![0.0; 3]; 2], vec![vec![f64::NAN; count]; 2]] {
        assert!(prior.set_potentials(&wrong).is_err());
    }
}

#[test]
fn the_converging_method_stays_with_the_kernels() {
    let size = [1, 1, 14, 12];
    let x = draw("x", &size).to_kind(Kind::Float);
    let settings = tight(3).with_dual(DualMethod::Converge { gap: 1e-3, evaluations: 300 });
    let [kernels, tensors] = both(&size, &draw("reference", &size), &settings, false);
    let (value, gradient) = kernels.value_and_grad(&x).unwrap();
    let (same, other) = tensors.value_and_grad(&x).unwrap();
    assert_eq!(value, same);
    assert_eq!(gradient, other);
    // At its potentials tensors give the bound that the kernels have found.
    let bound = tensors.at_fixed_potentials().value_and_grad(&x).unwrap();
    assert!((bound.0 / value - 1.0).abs() < 1e-6, "{} {value}", bound.0);
    assert!(distance(&bound.1, &gradient) < 1e-5);
}

#[test]
fn images_on_cuda_devices_stay_there_and_agree() {
    let device = smalti_base::device::DeviceChoice::Auto.resolve().unwrap();
    if device == Device::Cpu {
        println!("no CUDA device: skipped");
        return;
    }
    for (x, y, psi) in triples() {
        let [x, y] = [x, y].map(|t| t.to_kind(Kind::Float).to_device(device));
        let (values, winners) = c_transform(&x, &y, &psi.to_device(device)).unwrap();
        assert_eq!((values.device(), winners.device()), (device, device));
        let (expected, places) = by_kernels(&x.to_device(Device::Cpu), &y.to_device(Device::Cpu), &psi);
        // With TF32 far more winners are others.
        let same = winners.to_device(Device::Cpu).eq_tensor(&places).to_kind(Kind::Double);
        assert!(same.mean(Kind::Double).double_value(&[]) > 0.99, "{:?}", x.size());
        assert!(largest(&((values.to_device(Device::Cpu) - &expected) * same)) < 1e-12);
    }
    for (size, of_reference, stride, centred) in cases() {
        let settings = tight(3).with_scales(2).with_stride(stride).with_centred(centred).with_dual(SGD);
        let [kernels, _] = both(&size, &draw("reference", &of_reference), &settings, true);
        let [prior, _] = both(&size, &draw("reference", &of_reference), &settings, true);
        let x = draw("x", &size).to_kind(Kind::Float);
        let (expected, gradient) = kernels.value_and_grad(&x).unwrap();
        let (value, other) = prior.value_and_grad(&x.to_device(device)).unwrap();
        assert!((value / expected - 1.0).abs() < 1e-5, "{size:?}: {value} {expected}");
        assert_eq!(other.device(), device);
        assert!(distance(&other.to_device(Device::Cpu), &gradient) < 1e-4);
        let again = prior.value_and_grad(&(x * 1.0).to_device(device)).unwrap();
        assert_eq!((again.0, again.1), (value, other));
    }
}
