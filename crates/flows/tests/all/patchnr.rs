//! The patchNR flow: analytic gradients, chunks, precision, files.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use smalti_flows::{
    Bijection, ClampForm, Gradients, Layer, PatchNr, PatchNrShape, Precision, SoftClamp, Tape,
};
use tch::{Device, Kind, Tensor};

fn flow(kind: Kind) -> PatchNr {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let shape = PatchNrShape::default().with_patch_size(3).with_blocks(3).with_hidden(24).with_clamp(clamp);
    let mut flow = PatchNr::new(shape, Seed::new(5)).unwrap();
    {
        let _no_grad = tch::no_grad_guard();
        let _ = flow.flat_parameters().shallow_clone().g_mul_scalar_(2.0);
    }
    flow.to(Device::Cpu, kind).unwrap();
    flow
}

fn patches(n: i64, kind: Kind) -> Tensor {
    Seed::new(6).at("patches", 0).uniform(&[n, 9]).to_kind(kind)
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[]) / b.abs().max().double_value(&[])
}

#[test]
fn input_gradient_equals_autograd_over_several_chunks() {
    let flow = flow(Kind::Double);
    let x = patches(2100, Kind::Double).set_requires_grad(true);
    let mapped = flow.to_latent(&x, None).unwrap();
    let nll = mapped.value.square().sum_dim_intlist(1i64, false, None::<Kind>) * 0.5 - mapped.log_det;
    let autograd = Tensor::run_backward(&[nll.sum(Kind::Double)], &[&x], false, false).remove(0);
    let (value, grad) = flow.nll_and_grad(&x.detach()).unwrap();
    assert!(gap(&grad, &autograd) < 1e-12 && gap(&value, &nll.detach()) < 1e-12);
    assert!(gap(&flow.nll(&x.detach()).unwrap(), &nll.detach()) < 1e-12);
}

#[test]
fn weight_gradients_equal_autograd_and_reach_every_parameter() {
    let mut flow = flow(Kind::Double);
    let x = patches(40, Kind::Double);
    let (loss, parts) = flow.loss_and_weight_grads(&x).unwrap();
    let grads = Gradients::sum(&parts).unwrap();
    for parameter in flow.layers_mut().parameters_mut() {
        *parameter = parameter.detach().set_requires_grad(true);
    }
    let mapped = flow.layers_mut().to_latent_taped(&x, &mut Tape::default()).unwrap();
    let nll = mapped.value.square().sum_dim_intlist(1i64, false, None::<Kind>) * 0.5 - mapped.log_det;
    let mean = nll.mean(None::<Kind>);
    assert!((loss / mean.double_value(&[]) - 1.0).abs() < 1e-12);
    let names: Vec<(String, &Tensor)> = flow.parameters();
    let tensors: Vec<&Tensor> = names.iter().map(|(_, t)| *t).collect();
    let autograd = Tensor::run_backward(&[mean], &tensors, false, false);
    assert_eq!(grads.len(), autograd.len());
    for ((name, _), (ours, theirs)) in names.iter().zip(grads.iter().zip(&autograd)) {
        assert!(theirs.abs().max().double_value(&[]) > 0.0, "{name} receives no gradient");
        assert!(gap(ours, theirs) < 1e-10, "{name}: {}", gap(ours, theirs));
    }
}

#[test]
fn bf16_products_stay_close() {
    let mut flow = flow(Kind::Float);
    let x = patches(200, Kind::Float);
    let (nll, grad) = flow.nll_and_grad(&x).unwrap();
    flow.set_precision(Precision::Bf16).unwrap();
    let (nll16, grad16) = flow.nll_and_grad(&x).unwrap();
    let value = ((&nll16 - &nll).norm() / nll.norm()).double_value(&[]);
    // The usual patch: where rounding flips a ReLU the gradient jumps, as it does for any small step there.
    let length = |g: &Tensor| g.square().sum_dim_intlist(1i64, false, None::<Kind>).sqrt();
    let gradient = (length(&(&grad16 - &grad)) / length(&grad)).median().double_value(&[]);
    assert!(value < 0.05 && gradient < 0.05, "{value} {gradient}");
    assert!(gradient > 0.0, "bf16 was not used");
}

#[test]
fn file_round_trip_keeps_everything() {
    let folder = std::env::temp_dir().join(format!("smalti-flow-{}", std::process::id()));
    let path = folder.join("flow.safetensors");
    let mut flow = flow(Kind::Float);
    flow.provenance.insert("value_range".into(), "[0, 1]".into());
    flow.save(&path).unwrap();
    let back = PatchNr::load(&path).unwrap();
    assert_eq!((back.shape(), back.permutations()), (flow.shape(), flow.permutations()));
    assert_eq!(back.provenance["value_range"], "[0, 1]");
    let x = patches(10, Kind::Float);
    assert!(back.nll(&x).unwrap().equal(&flow.nll(&x).unwrap()));
    back.expect_patches(3, 2, &path).unwrap();
    assert!(back.expect_patches(3, 3, &path).unwrap_err().to_string().contains("3x3x3"));
    let refused = back.expect_patches(6, 2, &path).unwrap_err().to_string();
    assert!(refused.contains("3x3") && refused.contains("6x6") && !refused.contains('\n'), "{refused}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn flows_of_cubes_are_kept_and_files_that_do_not_say_are_of_squares() {
    let path = std::path::Path::new("flow.safetensors");
    let square = flow(Kind::Float);
    let mut old = square.to_checkpoint();
    assert_eq!(old.metadata.remove("axes").as_deref(), Some("2"));
    let back = PatchNr::from_checkpoint(old, path).unwrap();
    assert_eq!(back.shape(), square.shape());
    let x = patches(4, Kind::Float);
    assert!(back.nll(&x).unwrap().equal(&square.nll(&x).unwrap()));

    let cubes = square.shape().with_axes(3);
    let cubes = PatchNr::new(cubes, Seed::new(2)).unwrap();
    assert_eq!(cubes.shape().dim(), 27);
    let x = Seed::new(3).at("cubes", 0).uniform(&[5, 27]);
    let back = PatchNr::from_checkpoint(cubes.to_checkpoint(), path).unwrap();
    assert_eq!(back.shape(), cubes.shape());
    assert!(back.nll(&x).unwrap().equal(&cubes.nll(&x).unwrap()));
    let line = |shape| PatchNr::new(shape, Seed::new(2)).err().unwrap().to_string();
    for axes in [-1, 0, 1, 4, 1000] {
        assert!(line(square.shape().with_axes(axes)).ends_with(&format!("got {axes}")));
    }
    // Sizes whose permutations no memory holds.
    for shape in [square.shape().with_patch_size(1 << 40), cubes.shape().with_patch_size(200)] {
        assert!(line(shape).starts_with("patch size of patchNR: expected at least 2, with at most 2^20"));
    }
    assert!(
        line(square.shape().with_blocks(-1)).starts_with("blocks of patchNR: expected at least 1, got -1")
    );
}

/// Metadata of a file announce a flow that it does not hold: refused before memory is taken for it.
#[test]
fn announced_sizes_are_compared_with_the_tensors_of_the_file() {
    let path = std::path::Path::new("flow.safetensors");
    for (key, value) in [
        ("hidden", "100000"),
        ("hidden", "9223372036854775807"),
        ("hidden", "0"),
        ("hidden", "-1"),
        ("blocks", "1000000000000"),
        ("patch_size", "4611686018427387904"),
        ("patch_size", "-3"),
        ("axes", "4294967298"),
    ] {
        let mut file = flow(Kind::Float).to_checkpoint();
        file.set_meta(key, value);
        let line = PatchNr::from_checkpoint(file, path).err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{key} = {value}: {line}");
        // Without any weights, too.
        let mut file = flow(Kind::Float).to_checkpoint();
        file.tensors.retain(|name, _| name.ends_with("perm"));
        file.set_meta(key, value);
        assert!(PatchNr::from_checkpoint(file, path).is_err());
    }
    let mut file = flow(Kind::Float).to_checkpoint();
    file.set_meta("hidden", 100_000);
    let line = PatchNr::from_checkpoint(file, path).err().unwrap().to_string();
    assert!(line.contains("module_list.0.subnet1.0.weight: expected Float [100000, "), "{line}");
}

#[test]
fn samples_come_from_the_density() {
    // E over samples of |z|^2 is d for the flow that made them.
    let flow = flow(Kind::Float);
    let samples = flow.sample(4000, &mut Seed::new(1).at("samples", 0)).unwrap();
    let z = flow.to_latent(&samples, None).unwrap().value;
    let mean = z.square().sum_dim_intlist(1i64, false, None::<Kind>).mean(None::<Kind>).double_value(&[]);
    assert!((mean - 9.0).abs() < 0.3, "{mean}");
}

#[test]
fn wrong_shapes_are_errors() {
    let flow = flow(Kind::Float);
    let wrong = Tensor::zeros([4, 16], (Kind::Float, Device::Cpu));
    assert!(flow.nll(&wrong).is_err() && flow.nll_and_grad(&wrong).is_err());
    assert!(flow.to_latent(&patches(2, Kind::Float), Some(&wrong)).is_err());
    let shape = flow.shape().with_patch_size(3).with_axes(2);
    assert!(PatchNr::with_permutations(shape, vec![vec![0; 9]; 3], Seed::new(0)).is_err());
}
