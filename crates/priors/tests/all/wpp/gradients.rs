//! Value and gradient at given potentials against autograd over all pairs, dtypes.

use super::{coarser, draw, patches, prior, tight};
use smalti_priors::Regularizer;
use smalti_priors::wpp::WppSettings;
use tch::{Kind, Tensor};

/// `sum_l w_l (sum_i a_i min_j (|p_i - q_j|^2 - psi_j) + mean psi)` with libtorch.
fn dense(
    x: &Tensor,
    reference: &Tensor,
    settings: &WppSettings,
    (psi, pixel_weights): (&[Vec<f64>], Option<&Tensor>),
) -> Tensor {
    let (mut x, mut reference) = (x.shallow_clone(), reference.shallow_clone());
    let (p, stride) = (settings.patch_size, settings.stride);
    let mut weights = pixel_weights.map(Tensor::shallow_clone);
    let mut total = Tensor::from(0.0);
    for psi in psi {
        let rows = patches(&x, p, stride, settings.centred);
        let others = patches(&reference, p, 1, settings.centred);
        let psi = Tensor::from_slice(psi);
        let squared = (rows.unsqueeze(1) - others.unsqueeze(0)).square();
        let costs = squared.sum_dim_intlist(2i64, false, Kind::Double) - psi.unsqueeze(0);
        let least = costs.min_dim(1, false).0;
        let mean = match &weights {
            None => least.mean(Kind::Double),
            Some(weights) => {
                let a = patches(weights, p, stride, false).sum_dim_intlist(1i64, false, Kind::Double);
                let a = a.repeat([x.size()[0]]);
                (least * &a).sum(Kind::Double) / a.sum(Kind::Double)
            }
        };
        total += (mean + psi.mean(Kind::Double)) / settings.scales as f64;
        (x, reference) = (coarser(&x), coarser(&reference));
        weights = weights.map(|w| coarser(&w));
    }
    total
}

#[test]
fn values_and_gradients_are_those_of_autograd() {
    let cases = [
        (vec![1, 1, 16, 14], vec![1, 1, 14, 18], 1, false),
        (vec![1, 1, 17, 14], vec![1, 1, 14, 18], 1, true),
        (vec![2, 3, 15, 14], vec![1, 3, 14, 15], 2, false),
        (vec![1, 1, 11, 10, 13], vec![1, 1, 10, 12, 10], 2, false),
        (vec![2, 1, 10, 10, 11], vec![1, 1, 10, 10, 10], 2, true),
    ];
    for (size, of_reference, stride, centred) in cases {
        for weighted in [false, true] {
            let (x, reference) = (draw("x", &size), draw("reference", &of_reference));
            let settings = tight(3).with_scales(2).with_stride(stride).with_centred(centred);
            let mut prior = prior(&size, &[&reference], &settings);
            let weights = draw("weights", &size[2..]);
            if weighted {
                prior = prior.with_pixel_weights(&weights).unwrap();
            }
            let psi: Vec<Vec<f64>> = (prior.potentials().iter().enumerate())
                .map(|(l, psi)| {
                    let drawn = draw(&format!("psi {l}"), &[psi.len() as i64]) * 0.2;
                    Vec::<f64>::try_from(drawn).unwrap()
                })
                .collect();
            prior.set_potentials(&psi).unwrap();
            let (value, gradient) = prior.at_fixed_potentials().value_and_grad(&x).unwrap();

            let leaf = x.copy().set_requires_grad(true);
            let plane: Vec<i64> = [vec![1, 1], size[2..].to_vec()].concat();
            let plane = weights.reshape(&plane[..]);
            let expected = dense(&leaf, &reference, &settings, (&psi, weighted.then_some(&plane)));
            let by_autograd = Tensor::run_backward(&[&expected], &[&leaf], false, false).remove(0);
            let expected = expected.double_value(&[]);
            assert!((value - expected).abs() < 1e-7 * expected.abs(), "{size:?}: {value} {expected}");
            let error = ((&gradient - &by_autograd).norm() / by_autograd.norm()).double_value(&[]);
            assert!(error < 1e-6, "{size:?}, stride {stride}, weighted {weighted}: {error}");
        }
    }
}

#[test]
fn dtypes_are_kept_and_agree() {
    let size = [1, 1, 16, 14];
    let (x, reference) = (draw("x", &size), draw("reference", &size));
    let settings = tight(3).with_scales(2);
    let (value, gradient) = prior(&size, &[&reference], &settings).value_and_grad(&x).unwrap();
    assert_eq!(gradient.kind(), Kind::Double);
    let single = x.to_kind(Kind::Float);
    let (of_single, gradient_of_single) =
        prior(&size, &[&reference.to_kind(Kind::Float)], &settings).value_and_grad(&single).unwrap();
    assert_eq!(gradient_of_single.kind(), Kind::Float);
    assert!((of_single / value - 1.0).abs() < 1e-5);
    let error = (gradient_of_single.to_kind(Kind::Double) - &gradient).norm() / gradient.norm();
    assert!(error.double_value(&[]) < 1e-3, "{error}");
    let half = x.to_kind(Kind::BFloat16);
    let gradient = prior(&size, &[&reference], &settings).value_and_grad(&half).unwrap().1;
    assert_eq!(gradient.kind(), Kind::BFloat16);
}

#[test]
fn tensors_with_gradients_and_strides_are_taken() {
    let (x, reference) = (draw("x", &[1, 1, 12, 10]), draw("reference", &[1, 1, 12, 10]));
    let prior = prior(&[1, 1, 12, 10], &[&reference], &tight(3));
    let (value, gradient) = prior.value_and_grad(&x).unwrap();
    let turned = x.transpose(2, 3).contiguous().transpose(2, 3).set_requires_grad(true);
    assert!(!turned.is_contiguous());
    let (same, same_gradient) = prior.value_and_grad(&turned).unwrap();
    assert_eq!(value, same);
    assert!(!same_gradient.requires_grad());
    assert_eq!((same_gradient - gradient).abs().max().double_value(&[]), 0.0);
}
