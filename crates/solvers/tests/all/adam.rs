//! Adam: libtorch's steps, parts of a gradient, large parameters, its state.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::largest;
use smalti_base::Seed;
use smalti_base::checkpoint::Checkpoint;
use smalti_flows::{ClampForm, Gradients, PatchNr, PatchNrShape, Precision, SoftClamp};
use smalti_solvers::Adam;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

fn draw(name: &str, shape: &[i64]) -> Tensor {
    Seed::new(11).at(name, 0).normal(shape).to_kind(Kind::Double)
}

/// A loss that is neither quadratic nor convex in the matrix `a: [3, 4]` and the vector `b: [3]`.
fn loss(a: &Tensor, b: &Tensor) -> Tensor {
    let x = draw("data", &[4, 20]);
    let u = a.matmul(&x) + b.unsqueeze(1);
    (u.sin() * &u + u.cosh().log() * 0.3).mean(Kind::Double)
}

/// The gradient of [`loss`] in both.
fn gradient(parameters: &[Tensor]) -> Vec<Tensor> {
    let leaves: Vec<Tensor> = parameters.iter().map(|p| p.detach().copy().set_requires_grad(true)).collect();
    Tensor::run_backward(&[loss(&leaves[0], &leaves[1])], &leaves, false, false)
}

fn start() -> Vec<Tensor> {
    vec![draw("matrix", &[3, 4]), draw("vector", &[3])]
}

#[test]
fn fifty_steps_are_those_of_libtorch() {
    let ours = start();
    let mut adam = Adam::new(&ours);
    let mut vs = nn::VarStore::new(Device::Cpu);
    let (a, b) = (vs.root().zeros("a", &[3, 4]), vs.root().zeros("b", &[3]));
    vs.double();
    let (mut a, mut b) = (a, b);
    tch::no_grad(|| (a.copy_(&start()[0]), b.copy_(&start()[1])));
    let mut theirs = nn::Adam::default().build(&vs, 0.05).unwrap();
    for k in 0..50 {
        let rate = 0.05 / (1.0 + 0.1 * f64::from(k));
        adam.step(&ours, &[gradient(&ours)], rate).unwrap();
        theirs.set_lr(rate);
        theirs.backward_step(&loss(&a, &b));
        for (our, their) in ours.iter().zip([&a, &b]) {
            assert!(largest(&(our - their.detach())) < 1e-12, "step {k}: {our} {their}");
        }
    }
    // They went somewhere, and down.
    assert!(largest(&(&ours[0] - &start()[0])) > 0.1);
    let value = |p: &[Tensor]| loss(&p[0], &p[1]).double_value(&[]);
    assert!(value(&ours) < value(&start()) - 0.1);
}

#[test]
fn the_parts_of_a_gradient_add_up() {
    let (whole, parts) = (start(), start());
    let (mut one, mut three) = (Adam::new(&whole), Adam::new(&parts));
    for k in 0..5 {
        let g = gradient(&whole);
        let first: Vec<Tensor> = g.iter().map(|g| g * 3.0).collect();
        let second: Vec<Tensor> = g.iter().map(|g| g * -2.5).collect();
        let third: Vec<Tensor> = g.iter().map(|g| g * 0.5).collect();
        one.step(&whole, &[g], 0.1).unwrap();
        three.step(&parts, &[first, second, third], 0.1).unwrap();
        for (a, b) in whole.iter().zip(&parts) {
            assert!(largest(&(a - b)) < 1e-12, "step {k}");
        }
    }
    assert!(largest(&(&whole[0] - &start()[0])) > 0.1);
}

#[test]
fn parameters_of_several_blocks_are_updated_everywhere() {
    let sizes = [2 * (1 << 16) + 17, 5, 1 << 16];
    let before: Vec<Tensor> = sizes.iter().map(|&n| draw("large", &[n])).collect();
    let after: Vec<Tensor> = before.iter().map(Tensor::copy).collect();
    let gradients: Vec<Tensor> = sizes.iter().map(|&n| draw("gradient", &[n])).collect();
    let mut adam = Adam::new(&after);
    adam.step(&after, &[gradients.iter().map(Tensor::shallow_clone).collect()], 0.1).unwrap();
    adam.step(&after, &[gradients.iter().map(|g| g * 2.0).collect()], 0.1).unwrap();
    for ((before, after), g) in before.iter().zip(&after).zip(&gradients) {
        // Steps 1 and 2 by the formulas of the paper, for the whole tensor at once.
        let first = g / (g.abs() + 1e-8);
        let m = (g * (0.9 * 0.1 + 2.0 * 0.1)) / (1.0 - 0.9 * 0.9);
        let v = (g.square() * (0.999 * 0.001 + 4.0 * 0.001)) / (1.0 - 0.999 * 0.999);
        let expected = before - (first + m / (v.sqrt() + 1e-8)) * 0.1;
        assert!(largest(&(after - expected)) < 1e-12);
    }
}

#[test]
fn a_state_taken_back_goes_on_as_if_nothing_had_happened() {
    let through = start();
    let mut adam = Adam::new(&through);
    let steps = |adam: &mut Adam, p: &[Tensor], n| {
        (0..n).for_each(|_| adam.step(p, &[gradient(p)], 0.05).unwrap());
    };
    steps(&mut adam, &through, 7);
    let mut file = Checkpoint::default();
    adam.save(&mut file);
    let resumed: Vec<Tensor> = through.iter().map(Tensor::copy).collect();
    steps(&mut adam, &through, 7);
    // What was saved is not touched by the steps that follow.
    let mut other = Adam::new(&resumed);
    other.restore(&mut file).unwrap();
    steps(&mut other, &resumed, 7);
    assert!(through.iter().zip(&resumed).all(|(a, b)| a.equal(b)));
    // Without the state they would be elsewhere.
    assert!(Adam::new(&resumed).restore(&mut Checkpoint::default()).is_err());
    let mut foreign = Checkpoint::default();
    Adam::new(&[draw("other", &[2, 2])]).save(&mut foreign);
    let line = Adam::new(&resumed).restore(&mut foreign).unwrap_err().to_string();
    assert!(line.contains("adam.first.0") && line.lines().count() == 1, "{line}");
}

#[test]
fn gradients_that_do_not_fit_are_errors_and_change_nothing() {
    let p = start();
    let mut adam = Adam::new(&p);
    let g = gradient(&p);
    let transposed = vec![g[0].tr(), g[1].shallow_clone()];
    for wrong in [vec![], vec![g[0].shallow_clone()], transposed] {
        assert!(adam.step(&p, &[wrong], 0.1).is_err());
    }
    assert!(adam.step(&p[..1], &[g], 0.1).is_err());
    assert!(p.iter().zip(start()).all(|(a, b)| a.equal(&b)));
}

#[test]
fn parameters_that_cannot_be_changed_in_place_are_refused() {
    // A transposed matrix: blocks of it would be copies, and their updates lost.
    let p = vec![draw("matrix", &[3, 4]).tr()];
    let g = vec![p[0].ones_like()];
    let line = Adam::new(&p).step(&p, &[g], 0.1).unwrap_err().to_string();
    assert!(line.contains("contiguous") && line.lines().count() == 1, "{line}");
}

#[test]
fn subnets_that_update_themselves_take_the_same_step() {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let shape = PatchNrShape::default().with_patch_size(3).with_blocks(2).with_hidden(40).with_clamp(clamp);
    let flow = || {
        let mut flow = PatchNr::new(shape, Seed::new(5)).unwrap();
        flow.set_precision(Precision::Bf16).unwrap();
        flow
    };
    let parameters = |flow: &PatchNr| -> Vec<Tensor> {
        flow.parameters().into_iter().map(|(_, t)| t.shallow_clone()).collect()
    };
    let (mut fused, mut plain) = (flow(), flow());
    let mut adams = [Adam::new(&parameters(&fused)), Adam::new(&parameters(&plain))];
    for k in 0..4 {
        let x = Seed::new(6).at("patches", k).uniform(&[70, 9]);
        let (_, gradients) = fused.loss_and_weight_grads(&x).unwrap();
        let update = adams[0].next_update(1e-3);
        assert!(fused.descend(&gradients, &adams[0].moments(), update).unwrap());
        let (_, gradients) = plain.loss_and_weight_grads(&x).unwrap();
        adams[1].step(&parameters(&plain), &[Gradients::sum(&gradients).unwrap()], 1e-3).unwrap();
        plain.refresh().unwrap();
        let gap = (fused.flat_parameters() - plain.flat_parameters()).abs().max().double_value(&[]);
        assert!(gap < 1e-7, "step {k}: {gap}");
        let (a, b) = (fused.nll(&x).unwrap(), plain.nll(&x).unwrap());
        assert!((a - b).abs().max().double_value(&[]) < 1e-4, "the rounded weights differ");
    }
    // Elsewhere nothing is done, and the caller is told so.
    plain.set_precision(Precision::Full).unwrap();
    let (_, gradients) =
        plain.loss_and_weight_grads(&Seed::new(6).at("patches", 9).uniform(&[20, 9])).unwrap();
    let before = plain.flat_parameters().copy();
    let update = adams[1].next_update(1e-3);
    assert!(!plain.descend(&gradients, &adams[1].moments(), update).unwrap());
    assert!(plain.flat_parameters().equal(&before));
    assert!(fused.descend(&gradients, &[], update).is_err());
}
