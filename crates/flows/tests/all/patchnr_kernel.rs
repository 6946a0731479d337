//! Narrow patchNR flows by the kernel in float32, beside libtorch in float64.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, parallel};
use smalti_flows::{ClampForm, Layer, PatchNr, PatchNrShape, SoftClamp, Tape};
use smalti_kernels::coupling_flow::Isa;
use tch::{Device, Kind, Tensor};

fn flow(patch_size: i64, blocks: i64, hidden: i64, form: ClampForm) -> PatchNr {
    let clamp = SoftClamp::new(form, 1.6).unwrap();
    let shape = PatchNrShape::default().with_patch_size(patch_size).with_blocks(blocks);
    let shape = shape.with_hidden(hidden).with_clamp(clamp);
    let mut flow = PatchNr::new(shape, Seed::new(5)).unwrap();
    let _no_grad = tch::no_grad_guard();
    let _ = flow.flat_parameters().shallow_clone().g_mul_scalar_(1.5);
    flow.refresh().unwrap();
    flow
}

/// By the layers, one after another, in the dtype of the flow.
fn by_layers(flow: &mut PatchNr, x: &Tensor) -> (Tensor, Tensor) {
    let _no_grad = tch::no_grad_guard();
    let mut tape = Tape::default();
    let mapped = flow.layers_mut().to_latent_taped(x, &mut tape).unwrap();
    let nll = mapped.value.square().sum_dim_intlist(1i64, false, None::<Kind>) * 0.5 - &mapped.log_det;
    (nll, flow.layers_mut().pull_back(&mapped.value, -1.0, &mut tape, None).unwrap())
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).abs().max() / b.abs().max()).double_value(&[])
}

#[test]
fn values_and_gradients_are_those_of_the_layers_in_float64() {
    for form in [ClampForm::AlphaAtan, ClampForm::AtanOverAlpha] {
        for (patch_size, blocks, hidden) in
            [(2, 1, 8), (2, 5, 64), (3, 5, 8), (3, 1, 128), (6, 1, 64), (6, 5, 128)]
        {
            let mut flow = flow(patch_size, blocks, hidden, form);
            let all = Seed::new(6).at("patches", 0).uniform(&[1000, patch_size * patch_size]);
            let results: Vec<_> = [1, 7, 47, 49, 1000]
                .into_iter()
                .map(|n| {
                    let x = all.narrow(0, 0, n);
                    let (nll, grad) = flow.nll_and_grad(&x).unwrap();
                    assert_eq!((nll.kind(), nll.size(), grad.size()), (Kind::Float, vec![n], x.size()));
                    assert!(flow.nll(&x).unwrap().equal(&nll));
                    (n, nll, grad)
                })
                .collect();
            flow.to(Device::Cpu, Kind::Double).unwrap();
            let (nll, grad) = by_layers(&mut flow, &all.to_kind(Kind::Double));
            for (n, of_kernel, its_grad) in results {
                let gaps = [gap(&of_kernel, &nll.narrow(0, 0, n)), gap(&its_grad, &grad.narrow(0, 0, n))];
                let case = format!("{form} {patch_size} {blocks} {hidden} {n}");
                assert!(gaps.iter().all(|g| *g < 1e-5), "{case}: {gaps:?}");
            }
        }
    }
}

#[test]
fn the_kernel_takes_flows_of_float32_and_sees_their_parameters_as_they_are() {
    let mut flow = flow(3, 2, 16, ClampForm::AlphaAtan);
    let x = Seed::new(6).at("patches", 0).uniform(&[500, 9]);
    let (nll, grad) = flow.nll_and_grad(&x).unwrap();
    let (by_layers32, _) = by_layers(&mut flow, &x);
    assert!(Isa::best() == Isa::Plain || !nll.equal(&by_layers32), "the kernel was not used");
    // Columns and rows of a larger matrix, and patches that are part of a graph.
    let wide = Tensor::f_cat(&[&x + 1.0, x.shallow_clone()], 1).unwrap();
    let apart = wide.narrow(1, 9, 9);
    let transposed = x.tr().contiguous().tr();
    for view in [&apart, &transposed, &x.copy().set_requires_grad(true)] {
        let (again, its_grad) = flow.nll_and_grad(view).unwrap();
        assert!(again.equal(&nll) && its_grad.equal(&grad) && !again.requires_grad());
    }
    let shared = parallel::Shared::new(x.shallow_clone());
    let from_threads = parallel::map(3, |_| flow.nll(&shared)).unwrap();
    assert!(from_threads.iter().all(|again| again.equal(&nll)));
    assert!(flow.nll(&x.narrow(0, 0, 0)).unwrap().size() == [0]);
    {
        let _no_grad = tch::no_grad_guard();
        let _ = flow.flat_parameters().shallow_clone().g_mul_scalar_(0.5);
    }
    let changed = flow.nll(&x).unwrap();
    assert!(!changed.equal(&nll));
    for parameter in flow.layers_mut().parameters_mut() {
        *parameter = &*parameter * 2.0;
    }
    assert!(flow.nll(&x).unwrap().equal(&nll));
    assert_eq!(flow.nll(&x.to_kind(Kind::Double)).unwrap().kind(), Kind::Double);
}

#[test]
fn what_is_not_finite_or_large_is_treated_as_by_the_layers() {
    let mut flow = flow(3, 3, 16, ClampForm::AlphaAtan);
    let x = Seed::new(6).at("patches", 0).uniform(&[60, 9]);
    for (row, value) in
        [(3, f64::NAN), (20, f64::INFINITY), (50, f64::NEG_INFINITY), (51, 1e3), (52, -1e3), (53, 1e30)]
    {
        let _ = x.get(row).get(row % 9).fill_(value);
    }
    let _ = x.get(54).fill_(1e3);
    let (nll, grad) = flow.nll_and_grad(&x).unwrap();
    let (expected, expected_grad) = by_layers(&mut flow, &x);
    for (ours, theirs) in [(&nll, &expected), (&grad, &expected_grad)] {
        assert!(ours.isnan().equal(&theirs.isnan()), "{ours} {theirs}");
        assert!(ours.isinf().equal(&theirs.isinf()), "{ours} {theirs}");
        let [ours, theirs] = [ours, theirs].map(|t| t.nan_to_num(0.0, 0.0, 0.0));
        assert!(((&ours - &theirs).abs() / (theirs.abs() + 1.0)).max().double_value(&[]) < 1e-3);
    }
    let good = |row: i64| nll.get(row).isfinite().int64_value(&[]) == 1;
    assert!((0..60).all(|row| good(row) != [3, 20, 50, 53].contains(&row)));
}
