//! WPPFlow: size, start, samples, files, and what it refuses.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use smalti_flows::{Bijection, ImageLayer, ImageNorm, WppFlow, WppFlowShape};
use smalti_operators::{Boundary, Convolution, Operator, PixelGrid, interpolate};
use tch::{Device, Kind, Tensor};

fn shape(factor: i64) -> WppFlowShape {
    WppFlowShape::altekrueger_2023_x4().with_factor(factor).with_blocks(2).with_hidden(7)
}

/// A flow with random weights, not only at its start.
fn flow(factor: i64) -> WppFlow {
    let flow = WppFlow::new(shape(factor), Seed::new(1)).unwrap();
    let _no_grad = tch::no_grad_guard();
    let random = Seed::new(2).at("weights", 0).normal(&flow.flat_parameters().size()) * 0.05;
    flow.flat_parameters().shallow_clone().copy_(&random);
    flow
}

fn batch(factor: i64, b: i64) -> (Tensor, Tensor) {
    let z = Seed::new(3).at("latents", 0).normal(&[b, 1, 5 * factor, 6 * factor]);
    (z, Seed::new(3).at("observations", 0).uniform(&[b, 1, 5, 6]))
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn the_authors_flows_have_their_number_of_parameters() {
    let count = |shape| WppFlow::new(shape, Seed::new(1)).unwrap().flat_parameters().numel();
    // 2.25 and 5.91 million.
    assert_eq!(count(WppFlowShape::altekrueger_2023_x4()), 2_250_994);
    assert_eq!(count(WppFlowShape::altekrueger_2023_x8()), 5_910_322);
}

#[test]
fn a_new_flow_only_moves_pixels() {
    let flow = WppFlow::new(shape(4), Seed::new(1)).unwrap();
    let (z, y) = batch(4, 2);
    let x = flow.to_data(&z, Some(&y)).unwrap();
    assert_eq!(x.log_det.abs().max().double_value(&[]), 0.0);
    let sorted = |t: &Tensor| t.reshape([2, -1]).sort(1, false).0;
    assert!(sorted(&x.value).equal(&sorted(&z)) && !x.value.equal(&z));
}

#[test]
fn actnorms_start_with_the_first_batch_and_reproducibly() {
    let start = || {
        let mut flow = flow(4);
        assert!(!flow.is_initialised());
        let (z, y) = batch(4, 8);
        flow.initialise(&z, &y).unwrap();
        assert!(flow.is_initialised());
        flow
    };
    let (first, again) = (start(), start());
    assert!(first.flat_parameters().equal(again.flat_parameters()));
    assert!(!first.flat_parameters().equal(flow(4).flat_parameters()));
    // A constant batch determines none.
    let (_, y) = batch(4, 8);
    let constant = Tensor::ones([8, 1, 20, 24], tch::kind::FLOAT_CPU);
    let mut new = WppFlow::new(shape(4), Seed::new(1)).unwrap();
    let line = new.initialise(&constant, &y).unwrap_err().to_string();
    assert!(line.contains("a constant channel"), "{line}");
    let mut norm = ImageNorm::identity(1);
    norm.initialise(&(batch(4, 8).0 * 3.0 + 2.0)).unwrap();
    let x = norm.to_data(&(batch(4, 8).0 * 3.0 + 2.0), None).unwrap().value;
    assert!(x.mean(Kind::Double).double_value(&[]).abs() < 1e-5);
    assert!((x.std(false).double_value(&[]) - 1.0).abs() < 1e-5);
}

#[test]
fn samples_are_t_of_the_latents_of_the_stream() {
    let flow = flow(4);
    let y = batch(4, 1).1;
    let stream = || Seed::new(9).at("samples", 0);
    let samples = flow.sample(&y, 3, &mut stream()).unwrap();
    assert!(!samples.requires_grad());
    let z = stream().normal(&[3, 1, 20, 24]);
    let x = flow.to_data(&z, Some(&y.repeat([3, 1, 1, 1]))).unwrap().value;
    assert!(gap(&samples, &x) < 1e-6);
    assert_eq!(flow.sample(&y, 0, &mut stream()).unwrap().size(), [0, 1, 20, 24]);
    // Large images are computed one by one, and are the same ones.
    let y = Seed::new(4).at("observation", 0).uniform(&[1, 1, 150, 160]);
    let two = flow.sample(&y, 2, &mut stream()).unwrap();
    let one = flow.sample(&y, 1, &mut stream()).unwrap();
    assert!(gap(&two.narrow(0, 0, 1), &one) < 1e-5);
}

#[test]
fn it_is_fully_convolutional() {
    // Far away from all borders, a part of the observation and of the latent gives that part of the image.
    let shape = shape(2).with_blocks(1);
    let flow = WppFlow::new(shape, Seed::new(1)).unwrap();
    {
        let _no_grad = tch::no_grad_guard();
        let random = Seed::new(2).at("weights", 0).normal(&flow.flat_parameters().size()) * 0.05;
        flow.flat_parameters().shallow_clone().copy_(&random);
    }
    let z = Seed::new(3).at("latents", 0).normal(&[1, 1, 96, 96]);
    let y = Seed::new(3).at("observations", 0).uniform(&[1, 1, 48, 48]);
    let cut = |t: &Tensor, at: i64, n: i64| t.narrow(2, at, n).narrow(3, at, n);
    let whole = flow.to_data(&z, Some(&y)).unwrap().value;
    let part = flow.to_data(&cut(&z, 8, 80), Some(&cut(&y, 4, 40))).unwrap().value;
    assert!(gap(&cut(&whole, 40, 16), &cut(&part, 32, 16)) < 1e-5);
    assert!(gap(&cut(&whole, 8, 2), &cut(&part, 0, 2)) > 1e-4, "borders matter");
}

#[test]
fn the_condition_is_interpolated_where_the_operator_says() {
    // Without noise and with the last layer alone at work, x = 0 exp(s) + t: a linear map of the condition.
    let operator = Convolution::superresolution(tch_space(20, 24), 16, 2.0, 4, Boundary::Periodic).unwrap();
    let shape = shape(4).with_origin(operator.grid().origin.0).with_hidden(1);
    let mut flow = WppFlow::new(shape, Seed::new(1)).unwrap();
    flow.to(Device::Cpu, Kind::Double).unwrap();
    let last = flow.parameters().len() - 4;
    {
        let _no_grad = tch::no_grad_guard();
        for (name, t) in &flow.parameters()[last..] {
            let mut t = t.shallow_clone();
            let _ = t.zero_();
            // The middle of the kernel passes the condition on to the shift.
            match (name.contains("0.weight"), name.contains("2.weight")) {
                (true, _) => drop(t.get(0).get(0).get(1).get(1).fill_(1.0)),
                (_, true) => drop(t.get(1).get(0).get(1).get(1).fill_(1.0)),
                _ => {}
            }
        }
    }
    let y = batch(4, 1).1.to_kind(Kind::Double);
    let z = Tensor::zeros([1, 1, 20, 24], (Kind::Double, Device::Cpu));
    let x = flow.to_data(&z, Some(&y)).unwrap().value;
    let expected = interpolate(&y, operator.grid(), operator.domain(), Boundary::Valid).unwrap();
    assert!(gap(&x, &expected.relu()) < 1e-12);
}

fn tch_space(height: i64, width: i64) -> smalti_base::Space {
    smalti_base::Space::image(1, height, width)
}

#[test]
fn file_round_trip_keeps_everything() {
    let folder = std::env::temp_dir().join(format!("smalti-wppflow-{}", std::process::id()));
    let path = folder.join("flow.safetensors");
    let mut flow = flow(4);
    let (z, y) = batch(4, 4);
    flow.initialise(&z, &y).unwrap();
    flow.provenance.insert("value_range".into(), "[0, 1]".into());
    flow.save(&path).unwrap();
    let back = WppFlow::load(&path).unwrap();
    assert_eq!((back.shape(), back.permutations()), (flow.shape(), flow.permutations()));
    assert!(back.is_initialised() && back.provenance["value_range"] == "[0, 1]");
    let x = |flow: &WppFlow| flow.to_data(&z, Some(&y)).unwrap().value;
    assert!(x(&back).equal(&x(&flow)));

    // Another architecture, and another kind of file.
    let mut file = flow.to_checkpoint();
    file.set_meta("hidden", 8);
    let line = WppFlow::from_checkpoint(file, &path).err().unwrap().to_string();
    assert!(line.contains("expected Float [8,") && line.lines().count() == 1, "{line}");
    // Sizes that the file does not hold are refused before memory is taken for them.
    for (key, value) in [
        ("hidden", "1000000"),
        ("hidden", "9223372036854775807"),
        ("hidden", "-1"),
        ("blocks", "9223372036854775807"),
        ("blocks", "100000000"),
    ] {
        let mut file = flow.to_checkpoint();
        file.set_meta(key, value);
        let line = WppFlow::from_checkpoint(file, &path).err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{key} = {value}: {line}");
    }
    let mut file = flow.to_checkpoint();
    file.set_meta("kind", "patchNR flow");
    let line = WppFlow::from_checkpoint(file, &path).err().unwrap().to_string();
    assert!(line.contains("holds a patchNR flow, not a WPPFlow"), "{line}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let flow = flow(4);
    let (z, y) = batch(4, 2);
    let line = |z: &Tensor, y: Option<&Tensor>| {
        let line = flow.to_data(z, y).err().unwrap().to_string();
        assert_eq!(flow.to_latent(z, y).err().unwrap().to_string().lines().count(), 1);
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let divisible = line(&z.narrow(3, 0, 22), Some(&y));
    assert!(divisible.contains("divisible by the factor 4") && divisible.contains("[2, 1, 20, 22]"));
    let wrong = line(&z, Some(&y.narrow(3, 0, 5)));
    assert!(wrong.starts_with("condition of a WPPFlow: expected Float [2, 1, 5, 6]"), "{wrong}");
    assert!(wrong.ends_with("got Float [2, 1, 5, 5]"), "{wrong}");
    assert!(line(&z, None).ends_with("got none"));
    assert!(line(&z, Some(&y.to_kind(Kind::Double))).contains("got Double"));
    assert!(line(&z.repeat([1, 2, 1, 1]), Some(&y)).contains("[B, 1, H, W]"));
    assert!(line(&z.to_kind(Kind::Int64), Some(&y)).contains("floating-point"));
    assert!(line(&z.narrow(2, 0, 0), Some(&y)).contains("divisible"));
    let mut stream = Seed::new(1).at("samples", 0);
    assert!(flow.sample(&y, 1, &mut stream).is_err() && flow.sample(&y.get(0), 1, &mut stream).is_err());
    assert!(flow.sample(&y.narrow(0, 0, 1), -1, &mut stream).is_err());

    for wrong in [
        shape(4).with_factor(3),
        shape(4).with_factor(1),
        shape(4).with_blocks(0),
        shape(4).with_blocks(-1),
        shape(4).with_hidden(0),
        shape(4).with_origin(f64::NAN),
    ] {
        assert!(WppFlow::new(wrong, Seed::new(1)).is_err(), "{wrong:?}");
    }
    let mut permutations = flow.permutations().to_vec();
    permutations[0].swap_remove(0);
    assert!(WppFlow::with_permutations(shape(4), permutations.clone(), Seed::new(1)).is_err());
    permutations.pop();
    assert!(WppFlow::with_permutations(shape(4), permutations, Seed::new(1)).is_err());
}
