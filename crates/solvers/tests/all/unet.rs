//! The U-Net has its published shape, works on images of any size, and survives its file.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::largest;
use smalti_base::{Seed, checkpoint::Checkpoint};
use smalti_flows::Precision;
use smalti_solvers::{Statistics, UNet, UNetSettings};
use tch::{Kind, Tensor};

fn small() -> UNetSettings {
    UNetSettings::default().with_channels([6, 8, 10]).with_skip(2).with_sigmoid(false).with_zero_bias(false)
}

fn image(b: i64, h: i64, w: i64) -> Tensor {
    Seed::new(5).at("image", 0).normal(&[b, 1, h, w])
}

#[test]
fn there_are_as_many_parameters_as_the_blocks_have() {
    // Weights and biases of a block (a convolution and its normalisation).
    let block = |i: i64, o: i64, side: i64| o * i * side * side + 3 * o;
    for (settings, known) in
        [(UNetSettings::dip(), None), (UNetSettings::fbp_unet(), Some(528_753)), (small(), None)]
    {
        let c = settings.channels.clone();
        let mut count = block(1, c[0], 3) + c[0] + 1;
        for pair in c.windows(2) {
            let (fine, coarse, both) = (pair[0], pair[1], pair[1] + settings.skip);
            count += block(fine, coarse, 3) + block(coarse, coarse, 3);
            count += block(fine, settings.skip, 1) + 2 * both + block(both, fine, 3) + block(fine, fine, 1);
        }
        assert!(known.is_none_or(|known| known == count), "{count}");
        if known.is_some() {
            // The published number, 613,322: with 3x3 kernels for the 1x1 ones of up, running statistics, and a counter
            // for each normalisation.
            let wider: i64 = c[..c.len() - 1].iter().map(|fine| 8 * fine * fine).sum();
            let net = UNet::new(settings.clone(), Seed::new(1)).unwrap();
            let all: i64 = net.tensors().iter().map(|(_, t)| t.numel() as i64).sum();
            let counters =
                net.tensors().iter().filter(|(name, _)| name.ends_with("norm.mean")).count() as i64;
            assert_eq!(all + wider + counters, 613_322);
        }
        let net = UNet::new(settings.clone(), Seed::new(1)).unwrap();
        assert_eq!(
            net.parameters().iter().map(|(_, t)| t.numel() as i64).sum::<i64>(),
            count,
            "{settings:?}"
        );
    }
}

#[test]
fn images_of_any_size_keep_it() {
    let net = UNet::new(small(), Seed::new(1)).unwrap();
    for (b, h, w) in [(1, 5, 5), (2, 17, 30), (1, 33, 64), (3, 18, 9)] {
        for statistics in [Statistics::Batch, Statistics::Running] {
            let x = net.forward(&image(b, h, w), statistics, Precision::Full).unwrap();
            assert_eq!((x.size(), x.kind()), (vec![b, 1, h, w], Kind::Float));
            assert!(x.std(true).double_value(&[]) > 1e-4);
        }
    }
    let squashed = small().with_sigmoid(true);
    let (plain, squashed) = (net, UNet::new(squashed, Seed::new(1)).unwrap());
    let y = image(1, 16, 20);
    assert!(largest(&(plain.infer(&y).unwrap().sigmoid() - squashed.infer(&y).unwrap())) < 1e-6);
}

#[test]
fn every_parameter_receives_a_gradient() {
    let net = UNet::new(small(), Seed::new(3)).unwrap();
    let (names, parameters): (Vec<String>, Vec<Tensor>) = net.parameters().into_iter().unzip();
    for precision in [Precision::Full, Precision::Bf16] {
        for statistics in [Statistics::Running, Statistics::Batch] {
            let value = net.forward(&image(2, 18, 21), statistics, precision).unwrap();
            let gradients =
                Tensor::run_backward(&[value.square().sum(Kind::Float)], &parameters, false, false);
            for (name, g) in names.iter().zip(&gradients) {
                // What a bias adds, the statistics of the batch take away again.
                let free =
                    statistics == Statistics::Running || !name.ends_with(".bias") || name == "out.bias";
                assert!(g.isfinite().all().int64_value(&[]) == 1 && (!free || largest(g) > 0.0), "{name}");
            }
        }
    }
}

#[test]
fn only_learning_moves_the_running_statistics() {
    let net = UNet::new(small(), Seed::new(3)).unwrap();
    let state = || -> Vec<Tensor> { net.tensors().into_iter().map(|(_, t)| t.copy()).collect() };
    let before = state();
    let same = |a: &[Tensor], b: &[Tensor]| a.iter().zip(b).all(|(a, b)| a.equal(b));
    // Large, since the running variances are those of a sample, divided by one value less.
    let y = image(2, 72, 80);
    let forward = |statistics| tch::no_grad(|| net.forward(&y, statistics, Precision::Full)).unwrap();
    let of_batch = forward(Statistics::Batch);
    let _ = forward(Statistics::Running);
    assert!(same(&before, &state()));
    assert!(forward(Statistics::Learning).equal(&of_batch));
    assert!(!same(&before, &state()));
    (0..200).for_each(|_| drop(forward(Statistics::Learning)));
    let error = largest(&(forward(Statistics::Running) - &of_batch)) / largest(&of_batch);
    assert!(error < 0.02, "running statistics arrive at those of the batch: {error}");
}

#[test]
fn biases_start_at_zero_where_asked() {
    let net = UNet::new(small().with_zero_bias(true), Seed::new(3)).unwrap();
    let biased = UNet::new(small(), Seed::new(3)).unwrap();
    for ((name, t), (_, other)) in net.parameters().iter().zip(biased.parameters()) {
        if name.ends_with(".bias") {
            assert!(largest(t) == 0.0 && largest(&other) > 0.0, "{name}");
        } else {
            assert!(t.equal(&other), "{name}");
        }
    }
}

#[test]
fn a_file_gives_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let mut net = UNet::new(small(), Seed::new(4)).unwrap();
    let y = image(2, 19, 24);
    let _ = tch::no_grad(|| net.forward(&y, Statistics::Learning, Precision::Full)).unwrap();
    net.provenance.insert("data".into(), "phantoms".into());
    net.save(&path).unwrap();
    let again = UNet::load(&path).unwrap();
    assert_eq!((again.settings(), again.provenance["data"].as_str()), (net.settings(), "phantoms"));
    assert!(net.infer(&y).unwrap().equal(&again.infer(&y).unwrap()));
    let refused = |change: &dyn Fn(&mut Checkpoint)| {
        let mut file = net.to_checkpoint();
        change(&mut file);
        let line = UNet::from_checkpoint(file, &path).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    assert!(refused(&|f| f.set_meta("kind", "patchNR flow")).contains("not a skip U-Net"));
    assert!(refused(&|f| f.set_meta("channels", "6 x")).contains("channels"));
    assert!(refused(&|f| f.set_meta("skip", 3)).contains("up.0.skip"));
    assert!(refused(&|f| drop(f.tensors.remove("in.norm.mean"))).contains("no tensor in.norm.mean"));
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let refused = |settings| UNet::new(settings, Seed::new(1)).unwrap_err().to_string();
    assert!(refused(small().with_channels([])).starts_with("scales of a U-Net"));
    assert!(refused(small().with_channels([4; 17])).contains("got 17"));
    assert!(refused(small().with_channels([4, 0])).starts_with("channels of a U-Net"));
    assert!(refused(small().with_skip(0)).starts_with("channels of a U-Net"));
    let net = UNet::new(small(), Seed::new(1)).unwrap();
    for size in [vec![16, 16], vec![1, 3, 16, 16], vec![0, 1, 16, 16], vec![1, 1, 4, 16], vec![1, 1, 16, 0]] {
        let line = net.infer(&Tensor::zeros(&size[..], tch::kind::FLOAT_CPU)).unwrap_err().to_string();
        assert!(line.starts_with("image for a U-Net") && line.lines().count() == 1, "{line}");
    }
    assert!(net.infer(&image(1, 16, 16).to_kind(Kind::Int64)).is_err());
}
