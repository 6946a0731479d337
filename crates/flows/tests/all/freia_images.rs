//! Layers on images, and a WPPFlow made of them, give FrEIA's results and gradients.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use smalti_flows::{
    Bijection, ClampForm, ConditionalAffine, ConvCoupling, ImageLayer, ImageNorm, SoftClamp, Squeeze,
    Unsqueeze, WppFlow, WppFlowShape,
};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-10;
const HIDDEN: i64 = 5;

/// The arrays whose names begin with `name.`.
fn golden(name: &str) -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/freia_images.safetensors");
    let prefix = format!("{name}.");
    let all = Tensor::read_safetensors(path).unwrap();
    all.into_iter().filter_map(|(n, t)| Some((n.strip_prefix(&prefix)?.to_owned(), t))).collect()
}

/// Largest difference relative to the largest reference value.
fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    let ours = ours.detach().reshape(theirs.size());
    (ours - theirs).abs().max().double_value(&[]) / theirs.abs().max().double_value(&[]).max(1e-3)
}

fn clamp(alpha: f64) -> SoftClamp {
    SoftClamp::new(ClampForm::AlphaAtan, alpha).unwrap()
}

/// The largest error of a layer, filled with FrEIA's parameters, in everything that FrEIA computed.
fn largest_error(name: &str, mut layer: Box<dyn ImageLayer>) -> f64 {
    let golden = golden(name);
    let names: Vec<String> = layer.parameters().into_iter().map(|(name, _)| name).collect();
    for (name, parameter) in names.iter().zip(layer.parameters_mut()) {
        let size = parameter.size();
        *parameter = golden[&format!("parameter.{name}")].reshape(&size).set_requires_grad(true);
    }
    let (z, cond, log_det) = (&golden["z"], golden.get("cond"), &golden["log_det"]);
    let there = layer.to_data(z, cond).unwrap();
    let back = layer.to_latent(&golden["x"], cond).unwrap();
    let pulled = layer.pull_back(z, cond, &golden["g"], 0.7).unwrap();
    assert_eq!(pulled.weights.len(), names.len());
    let mut errors = vec![
        error(&there.value, &golden["x"]),
        error(&there.log_det, log_det),
        error(&back.value, z),
        error(&-back.log_det, log_det),
        error(&pulled.latent, &golden["grad.z"]),
    ];
    let weights = names.iter().zip(&pulled.weights);
    errors.extend(weights.map(|(name, g)| error(g, &golden[&format!("grad.{name}")])));
    errors.into_iter().fold(0.0, f64::max)
}

fn coupling(condition: i64, side: i64, alpha: f64) -> Box<dyn ImageLayer> {
    let mut stream = Seed::new(1).at("weights", 0);
    Box::new(ConvCoupling::new(6, condition, (side, HIDDEN), clamp(alpha), &mut stream).unwrap())
}

fn affine(alpha: f64) -> Box<dyn ImageLayer> {
    let mut stream = Seed::new(1).at("weights", 0);
    Box::new(ConditionalAffine::new(6, 2, (3, HIDDEN), clamp(alpha), &mut stream).unwrap())
}

#[test]
fn every_layer_is_that_of_freia() {
    let layers: Vec<(&str, Box<dyn ImageLayer>)> = vec![
        ("coupling", coupling(0, 3, 1.5)),
        ("coupling_1x1", coupling(0, 1, 1.2)),
        ("coupling_conditional", coupling(2, 3, 1.2)),
        ("affine", affine(1.2)),
        ("norm", Box::new(ImageNorm::identity(6))),
        ("squeeze", Box::new(Squeeze)),
        ("unsqueeze", Box::new(Unsqueeze)),
    ];
    for (name, layer) in layers {
        let error = largest_error(name, layer);
        assert!(error < TOLERANCE, "{name}: {error}");
    }
    // Another clamp is another layer: the comparison can fail.
    assert!(largest_error("coupling", coupling(0, 3, 1.4)) > 1e-3);
    assert!(largest_error("affine", affine(1.1)) > 1e-3);
}

#[test]
fn squeezing_has_this_order() {
    let x = Tensor::arange(16, tch::kind::FLOAT_CPU).reshape([1, 1, 4, 4]);
    let squeezed = Squeeze.to_data(&x, None).unwrap().value;
    assert_eq!(
        Vec::<f64>::try_from(squeezed.get(0).select(1, 0).select(1, 1)).unwrap(),
        [2.0, 3.0, 6.0, 7.0]
    );
}

#[test]
fn actnorm_starts_as_that_of_freia_but_for_one_value() {
    let golden = golden("norm");
    let mut norm = ImageNorm::identity(6);
    norm.initialise(&golden["z"]).unwrap();
    let n = golden["z"].numel() as f64 / 6.0;
    let parameters: Vec<Tensor> =
        norm.parameters().into_iter().map(|(_, t)| t.detach().to_kind(Kind::Double)).collect();
    let ratio = (n / (n - 1.0)).sqrt();
    let expected =
        [golden["parameter.scale"].reshape([6]) + ratio.ln(), golden["parameter.bias"].reshape([6]) * ratio];
    for (ours, theirs) in parameters.iter().zip(&expected) {
        assert!(error(ours, theirs) < 1e-6, "{}", error(ours, theirs));
    }
    let x = norm.to_data(&golden["z"].to_kind(Kind::Float), None).unwrap().value;
    let moments = x.transpose(0, 1).reshape([6, -1]);
    assert!(moments.mean_dim(1i64, false, None::<Kind>).abs().max().double_value(&[]) < 1e-6);
    assert!((moments.std_dim(1i64, false, false) - 1.0).abs().max().double_value(&[]) < 1e-5);
}

fn flow(permutations: Vec<Vec<i64>>, origin: f64) -> WppFlow {
    let shape = WppFlowShape::altekrueger_2023_x4().with_blocks(1).with_hidden(HIDDEN).with_origin(origin);
    let mut flow = WppFlow::with_permutations(shape, permutations, Seed::new(1)).unwrap();
    flow.to(Device::Cpu, Kind::Double).unwrap();
    flow
}

#[test]
fn a_whole_wppflow_is_that_of_freia() {
    let golden = golden("flow");
    let permutation = |k: usize| Vec::<i64>::try_from(&golden[&format!("permutation.{k}")]).unwrap();
    let flow_error = |permutations: Vec<Vec<i64>>, origin: f64| {
        let flow = flow(permutations, origin);
        for (name, parameter) in flow.parameters() {
            let _no_grad = tch::no_grad_guard();
            let theirs = golden[&format!("parameter.{name}")].reshape(parameter.size());
            parameter.shallow_clone().copy_(&theirs);
        }
        let (z, y) = (&golden["z"], &golden["cond"]);
        let passed = flow.pass(z, y).unwrap();
        let plain = flow.to_data(z, Some(y)).unwrap();
        let back = flow.to_latent(&golden["x"], Some(y)).unwrap();
        let mut errors = vec![
            error(&passed.mapped.value, &golden["x"]),
            error(&passed.mapped.log_det, &golden["log_det"]),
            error(&plain.value, &golden["x"]),
            error(&back.value, z),
            error(&-back.log_det, &golden["log_det"]),
        ];
        let gradient = flow.pull_back(&passed, &golden["g"], 0.7).unwrap();
        errors.push(error(&gradient.latent, &golden["grad.z"]));
        let mut at = 0;
        for (name, parameter) in flow.parameters() {
            let n = parameter.numel() as i64;
            let theirs = golden[&format!("grad.{name}")].reshape([n]);
            errors.push(error(&gradient.weights.narrow(0, at, n), &theirs));
            at += n;
        }
        assert_eq!(at, gradient.weights.size()[0]);
        errors.into_iter().fold(0.0, f64::max)
    };
    let right = flow_error(vec![permutation(0), permutation(1)], 1.5);
    assert!(right < 1e-9, "{right}");
    // Another permutation or another place of the condition is another flow.
    let reversed: Vec<i64> = permutation(0).into_iter().rev().collect();
    assert!(flow_error(vec![reversed, permutation(1)], 1.5) > 1e-3);
    assert!(flow_error(vec![permutation(0), permutation(1)], 7.5) > 1e-3);
}
