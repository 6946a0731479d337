//! The ACNet is the network of its definition, on images of any size, and survives its file.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::largest;
use smalti_base::{Seed, checkpoint::Checkpoint};
use smalti_flows::Precision;
use smalti_solvers::AcNet;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

fn image(b: i64, h: i64, w: i64) -> Tensor {
    Seed::new(5).at("observation", 0).uniform(&[b, 1, h, w])
}

#[test]
fn there_are_as_many_parameters_as_published() {
    for (factor, count) in [(2, 923_392), (4, 1_071_104), (6, 1_255_744), (8, 1_218_816)] {
        let net = AcNet::new(factor, Seed::new(1)).unwrap();
        let parameters = net.parameters();
        assert_eq!(parameters.iter().map(|(_, t)| t.numel()).sum::<usize>(), count, "factor {factor}");
        // No biases but the upsampler's.
        assert!(
            parameters
                .iter()
                .all(|(name, t)| (t.dim() == 1) == name.starts_with("upsampler") || t.dim() == 4)
        );
        assert_eq!(net.factor(), factor);
    }
}

/// The network as its definition has it, branch by branch.
fn by_definition(net: &AcNet, y: &Tensor) -> Tensor {
    let p: BTreeMap<String, Tensor> = net.parameters().into_iter().collect();
    let conv = |x: &Tensor, name: &str| {
        let kernel = &p[name];
        let pad = [kernel.size()[2] / 2, kernel.size()[3] / 2];
        x.conv2d(kernel, None::<Tensor>, [1, 1], pad, [1, 1], 1)
    };
    let mut layers = Vec::new();
    let mut a = y.shallow_clone();
    for l in 0..10 {
        let z = ["1x3", "3x1", "3x3"]
            .map(|k| conv(&a, &format!("layer.{l}.{k}")))
            .into_iter()
            .reduce(|x, y| x + y);
        layers.push(z.unwrap());
        a = layers[l].relu();
    }
    let up = |x: Tensor| {
        let mut x = x;
        for (k, r) in
            (0..).zip(if net.factor() == 6 { vec![3, 2] } else { vec![2; net.factor().ilog2() as usize] })
        {
            let bias = p[&format!("upsampler.{k}.bias")].view([1, -1, 1, 1]);
            x = (conv(&x, &format!("upsampler.{k}.weight")) + bias).pixel_shuffle(r);
        }
        x.relu()
    };
    let path = |x: Tensor, name: &str| conv(&conv(&up(x), &format!("{name}.0")).relu(), &format!("{name}.1"));
    let first = layers[0].relu();
    let sum = layers.into_iter().reduce(|x, y| x + y).unwrap().relu();
    let x = (path(sum, "sum") + path(first, "first")).relu();
    conv(&conv(&conv(&x, "head.0").relu(), "head.1").relu(), "head.2")
}

#[test]
fn it_is_the_network_of_its_definition() {
    for factor in [2, 4, 6] {
        let net = AcNet::new(factor, Seed::new(factor as u64)).unwrap();
        let y = image(2, 9, 7);
        let x = net.forward(&y, Precision::Full).unwrap();
        assert_eq!((x.size(), x.kind()), (vec![2, 1, 9 * factor, 7 * factor], Kind::Float));
        let expected = by_definition(&net, &y);
        let scale = largest(&expected);
        assert!(scale > 1e-4 && largest(&(&x - &expected)) < 1e-5 * scale, "factor {factor}");
        // bfloat16 has 8 binary digits.
        let half = net.forward(&y, Precision::Bf16).unwrap();
        let error = largest(&(&half - &expected)) / scale;
        assert!(half.kind() == Kind::Float && error > 1e-6 && error < 0.05, "factor {factor}: {error}");
    }
}

#[test]
fn every_parameter_receives_a_gradient() {
    let net = AcNet::new(6, Seed::new(3)).unwrap();
    for precision in [Precision::Full, Precision::Bf16] {
        let value = net.forward(&image(1, 8, 9), precision).unwrap().square().sum(Kind::Float);
        let (names, parameters): (Vec<String>, Vec<Tensor>) = net.parameters().into_iter().unzip();
        let gradients = Tensor::run_backward(&[value], &parameters, false, false);
        for (name, g) in names.iter().zip(&gradients) {
            assert!(
                g.kind() == Kind::Float && largest(g) > 0.0 && g.isfinite().all().int64_value(&[]) == 1,
                "{name}"
            );
        }
    }
}

#[test]
fn tiles_make_the_image_that_the_whole_makes() {
    for (factor, h, w) in [(2, 75, 60), (4, 41, 48), (6, 33, 29)] {
        let net = AcNet::new(factor, Seed::new(9)).unwrap();
        let y = image(1, h, w);
        let whole = tch::no_grad(|| net.forward(&y, Precision::Full)).unwrap();
        for memory in [0, 40 << 20, 1 << 40] {
            let tiled = net.infer(&y, memory).unwrap();
            assert!(!tiled.requires_grad());
            let error = largest(&(&tiled - &whole)) / largest(&whole);
            assert!(error < 1e-5, "factor {factor}, {memory} bytes: {error}");
        }
    }
    // Images smaller than a tile, and a single pixel.
    let net = AcNet::new(4, Seed::new(9)).unwrap();
    for (h, w) in [(1, 1), (3, 40), (17, 2)] {
        assert_eq!(net.infer(&image(2, h, w), 0).unwrap().size(), [2, 1, 4 * h, 4 * w]);
    }
}

#[test]
fn a_file_gives_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let mut net = AcNet::new(6, Seed::new(4)).unwrap();
    net.provenance.insert("material".into(), "SiC".into());
    net.save(&path).unwrap();
    let again = AcNet::load(&path).unwrap();
    assert_eq!((again.factor(), again.provenance["material"].as_str()), (6, "SiC"));
    let y = image(1, 6, 5);
    assert!(net.infer(&y, 0).unwrap().equal(&again.infer(&y, 0).unwrap()));
    assert!(again.parameters().iter().all(|(_, t)| t.requires_grad()));

    let refused = |change: &dyn Fn(&mut Checkpoint)| {
        let mut file = net.to_checkpoint();
        change(&mut file);
        let line = AcNet::from_checkpoint(file, &path).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    assert!(refused(&|f| f.set_meta("kind", "patchNR flow")).contains("not a WPPNet"));
    assert!(refused(&|f| f.set_meta("factor", 4)).contains("upsampler.0.weight"));
    assert!(refused(&|f| f.set_meta("factor", 1_i64 << 40)).contains("2 to 64"));
    assert!(refused(&|f| drop(f.tensors.remove("head.2"))).contains("no tensor head.2"));
}

#[test]
fn bad_input_is_refused_in_one_line() {
    for factor in [-4, 0, 1, 5, 14, 128] {
        assert!(AcNet::new(factor, Seed::new(1)).unwrap_err().to_string().contains("twos and threes"));
    }
    let net = AcNet::new(2, Seed::new(1)).unwrap();
    for shape in [vec![4, 4], vec![1, 3, 4, 4], vec![0, 1, 4, 4], vec![1, 1, 0, 4]] {
        let y = Tensor::zeros(&shape[..], tch::kind::FLOAT_CPU);
        for line in [net.forward(&y, Precision::Full), net.infer(&y, 0)].map(|r| r.unwrap_err().to_string()) {
            assert!(line.starts_with("observation for a WPPNet") && line.lines().count() == 1, "{line}");
        }
    }
    assert!(net.infer(&image(1, 4, 4).to_kind(Kind::Uint8), 0).is_err());
}
