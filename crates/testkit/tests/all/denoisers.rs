//! Denoisers: networks from files, against golden values and their symmetries.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::matlab_file::{self, Layer};
use smalti_base::metrics::psnr;
use smalti_base::{Seed, image_file, npz_file};
use smalti_priors::denoiser::{LARGEST_SHARE, PROBE_LEVEL, error_left};
use smalti_priors::{Denoiser, DnCnn, DruNet, FfdNet};
use smalti_testkit::measured;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/tests/golden/matlab").join(name)
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(5).at(name, 0).uniform(size)
}

fn one_line(error: smalti_base::Error) -> String {
    let line = error.to_string();
    assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
    line
}

/// Layers with other weights.
fn changed(layers: &[Layer], change: impl Fn(usize, &Tensor) -> Tensor) -> Vec<Layer> {
    let changed = |layer: &Layer| Layer {
        kind: layer.kind.clone(),
        weights: layer.weights.iter().enumerate().map(|(k, t)| change(k, t)).collect(),
    };
    layers.iter().map(changed).collect()
}

/// With rows and columns of the kernels exchanged: every shape still fits.
fn wrong_axes(layers: &[Layer]) -> Vec<Layer> {
    changed(layers, |k, t| if k == 0 { t.transpose(0, 1).contiguous() } else { t.copy() })
}

#[test]
fn a_small_ffdnet_is_what_numpy_computes() {
    let path = golden("tiny_ffdnet.mat");
    let net = FfdNet::load(&path).unwrap();
    println!("the small FFDNet leaves {:.3}", error_left(&net, Device::Cpu).unwrap());
    let arrays = npz_file::load(&golden("tiny_ffdnet.npz")).unwrap();
    let image = |name: &str| arrays[name].reshape([1, 1, 12, 10]);
    let error = |net: &FfdNet| largest(&(net.denoise(&image("x"), 0.1).unwrap() - image("y")));
    assert!(error(&net) < 1e-5, "{}", error(&net));
    let layers = matlab_file::load_network(&path).unwrap();
    assert!(error(&FfdNet::from_layers(&wrong_axes(&layers), &path).unwrap()) > 0.01);
    assert!(largest(&(net.denoise(&image("x"), 0.2).unwrap() - image("y"))) > 1e-4, "the level is not seen");
    // Odd sides, and batches.
    let odd = draw("odd", &[2, 1, 13, 9]);
    let both = net.denoise(&odd, 0.1).unwrap();
    assert_eq!(both.size(), odd.size());
    assert!(largest(&(net.denoise(&odd.narrow(0, 1, 1), 0.1).unwrap() - both.narrow(0, 1, 1))) < 1e-5);
    assert_eq!(net.hash().unwrap(), FfdNet::load(&path).unwrap().hash().unwrap());
}

#[test]
fn layers_that_are_none_of_ffdnet_are_refused_with_the_remedy() {
    let path = Path::new("net.mat");
    let read = || matlab_file::load_network(&golden("tiny_ffdnet.mat")).unwrap();
    let refused = |layers: Vec<Layer>| one_line(FfdNet::from_layers(&layers, path).unwrap_err());
    let without = |at: usize| {
        let mut layers = read();
        layers.remove(at);
        layers
    };
    assert!(
        refused(without(0))
            .contains("has 5 layers that are not those of FFDNet: concat, conv, relu, conv, ...")
    );
    assert!(refused(without(3)).contains("has a layer 4 of the type conv where FFDNet has relu"));
    assert!(refused(without(4)).contains("has 1 convolutions in 5 layers"));
    assert!(refused(vec![]).contains("has 0 layers"));
    let narrow = changed(&read(), |k, t| if k == 0 { t.narrow(2, 0, t.size()[2] - 1) } else { t.copy() });
    assert!(
        refused(narrow).contains("in convolution 1 of 2, not [3, 3, 5, n] and [n, 1]; give FFDNet_gray.mat")
    );
    let net = FfdNet::load(&golden("tiny_ffdnet.mat")).unwrap();
    let x = draw("x", &[1, 1, 8, 8]);
    for (wrong, sigma) in [
        (x.shallow_clone(), 0.3),
        (x.shallow_clone(), f64::NAN),
        (x.squeeze(), 0.1),
        (x.to_kind(Kind::Int), 0.1),
    ] {
        let line = net.denoise(&wrong, sigma).unwrap_err().to_string();
        assert!(line.contains("FFDNet: expected"), "{line}");
    }
}

/// The top left 160 x 160 pixels of an image of BSD68, and noise of numpy's `default_rng(0)` (see the script in the folder).
fn crop(folder: &Path, name: &str) -> Tensor {
    let image = image_file::load_gray(&folder.join("bsd68").join(name)).unwrap();
    image.narrow(2, 0, 160).narrow(3, 0, 160).contiguous()
}

fn noise(draw: usize) -> Tensor {
    npz_file::load(&golden("noise.npz")).unwrap()["noise"].get(draw as i64).reshape([1, 1, 160, 160])
}

/// PSNR of what a denoiser makes of both crops at a level (in 1/255), with that draw of the noise.
fn scores(net: &dyn Denoiser, folder: &Path, level: f64, draw: usize) -> [f64; 2] {
    let sigma = level / 255.0;
    ["test001.png", "test005.png"].map(|name| {
        let clean = crop(folder, name);
        psnr(&net.denoise(&(&clean + noise(draw) * sigma), sigma).unwrap(), &clean, 1.0).unwrap()
    })
}

#[test]
fn the_published_ffdnet_has_its_figures() {
    let Some(folder) = measured(&["weights/FFDNet_gray.mat", "bsd68/test001.png", "bsd68/test005.png"])
    else {
        return;
    };
    let path = folder.join("weights/FFDNet_gray.mat");
    let net = FfdNet::load(&path).unwrap();
    assert_eq!(net.convolutions(), 15);
    println!("FFDNet leaves {:.3}", error_left(&net, Device::Cpu).unwrap());
    let expected = [(15.0, [29.18, 32.33]), (25.0, [26.78, 29.54]), (50.0, [24.18, 26.26])];
    for (draw, (level, expected)) in expected.into_iter().enumerate() {
        let found = scores(&net, &folder, level, draw);
        let fits = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.006);
        assert!(fits, "level {level}: {found:.3?}, not {expected:?}");
    }
    let layers = matlab_file::load_network(&path).unwrap();
    let wrong = FfdNet::from_layers(&wrong_axes(&layers), &path).unwrap();
    let left = error_left(&wrong, Device::Cpu).unwrap();
    println!("FFDNet with wrong axes: {:.2?}; leaves {left:.3}", scores(&wrong, &folder, 25.0, 1));
    assert!(left > LARGEST_SHARE, "{left}");
    // Parts in the order of libtorch's pixel shuffle.
    let order = Tensor::from_slice(&[0_i64, 2, 1, 3, 4]);
    let last = layers.iter().rposition(|layer| layer.kind == "conv").unwrap();
    let mut parts = changed(&layers, |_, t| t.copy());
    parts[2].weights[0] = parts[2].weights[0].index_select(2, &order);
    parts[last].weights[0] = parts[last].weights[0].index_select(3, &order.narrow(0, 0, 4));
    parts[last].weights[1] = parts[last].weights[1].index_select(0, &order.narrow(0, 0, 4));
    let left = error_left(&FfdNet::from_layers(&parts, &path).unwrap(), Device::Cpu).unwrap();
    println!("FFDNet with its parts in another order leaves {left:.3}");
    assert!(left > LARGEST_SHARE, "{left}");
    let line = one_line(smalti_priors::denoiser::check_that_it_denoises(&wrong, &path).unwrap_err());
    assert!(line.contains("holds weights that do not denoise: as FFDNet they leave"), "{line}");
}

/// Scaled to its level it is about as good as FFDNet above it; below it refuses.
#[test]
fn the_published_dncnn_denoises_at_its_level_and_above() {
    let files = ["weights/dncnn_25.pth", "weights/FFDNet_gray.mat", "bsd68/test001.png", "bsd68/test005.png"];
    let Some(folder) = measured(&files) else { return };
    let net = DnCnn::load(&folder.join(files[0])).unwrap();
    let ffdnet = FfdNet::load(&folder.join(files[1])).unwrap();
    assert_eq!(net.convolutions(), 17);
    println!("DnCNN leaves {:.3}", error_left(&net, Device::Cpu).unwrap());
    for (level, worse) in [(25.0, 0.01), (30.0, 0.1), (35.0, 0.1), (50.0, 0.1)] {
        let (found, other) = (scores(&net, &folder, level, 0), scores(&ffdnet, &folder, level, 0));
        println!("level {level}: DnCNN {found:.2?}, FFDNet {other:.2?}");
        assert!(
            found.iter().zip(other).all(|(found, other)| *found > other - worse),
            "{level}: {found:?} {other:?}"
        );
    }
    let line = net.denoise(&crop(&folder, "test001.png"), 15.0 / 255.0).unwrap_err().to_string();
    assert!(line.starts_with("noise level of DnCNN: expected 0.0980 to 0.1961"), "{line}");
}

#[test]
fn cut_off_state_dicts_are_refused() {
    let Some(folder) = measured(&["weights/dncnn_25.pth"]) else { return };
    let bytes = std::fs::read(folder.join("weights/dncnn_25.pth")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("cut.pth");
    for share in [0.01, 0.5, 0.999] {
        std::fs::write(&path, &bytes[..(bytes.len() as f64 * share) as usize]).unwrap();
        let line = one_line(DnCnn::load(&path).unwrap_err());
        assert!(line.contains("not a readable PyTorch file"), "{line}");
    }
    let line = one_line(DruNet::load(&folder.join("weights/dncnn_25.pth")).unwrap_err());
    assert!(line.contains("has no tensor m_head.weight; give a state dict of DRUNet"), "{line}");
}

#[test]
fn state_dicts_that_are_no_dncnn_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/tests/golden/other_arrays/plain.pth");
    let line = one_line(DnCnn::load(&path).unwrap_err());
    assert!(line.contains("has no tensor model.0.weight; give a state dict of DnCNN"), "{line}");
    assert_eq!(PROBE_LEVEL, DnCnn::LEVEL);
}

type Tensors = Vec<(String, Tensor)>;

/// A DRUNet with random weights, without any file of its authors.
fn random_drunet(name: &str, change: impl Fn(&mut Tensors)) -> smalti_base::Result<DruNet> {
    let mut all: Tensors = Vec::new();
    let mut add = |name: String, size: [i64; 4]| {
        let inputs = (size[1] * size[2] * size[3]) as f64;
        all.push((format!("{name}.weight"), (draw(&name, &size) - 0.5) * (3.0 / inputs.sqrt())));
    };
    let widths = [4, 6, 8, 10];
    let blocks = |add: &mut dyn FnMut(String, [i64; 4]), name: &str, first: usize, c: i64| {
        (first..first + 2)
            .for_each(|k| [0, 2].iter().for_each(|part| add(format!("{name}.{k}.res.{part}"), [c, c, 3, 3])))
    };
    add("m_head".into(), [4, 2, 3, 3]);
    for k in 0..3 {
        blocks(&mut add, &format!("m_down{}", k + 1), 0, widths[k]);
        add(format!("m_down{}.2", k + 1), [widths[k + 1], widths[k], 2, 2]);
        add(format!("m_up{}.0", k + 1), [widths[k + 1], widths[k], 2, 2]);
        blocks(&mut add, &format!("m_up{}", k + 1), 1, widths[k]);
    }
    blocks(&mut add, "m_body", 0, 10);
    add("m_tail".into(), [1, 4, 3, 3]);
    change(&mut all);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.pth"));
    std::fs::write(&path, state_dict(&all)).unwrap();
    DruNet::load_unchecked(&path)
}

/// What `torch.save` of a version before 1.6 writes: a magic number, a version, the machine, the dict, names of storages, storages.
pub(crate) fn state_dict(all: &[(String, Tensor)]) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let int = |n: i64| [b"J", &(n as i32).to_le_bytes()[..]].concat();
    let tuple = |numbers: &[i64]| {
        [b"(".to_vec(), numbers.iter().flat_map(|&n| int(n)).collect(), b"t".to_vec()].concat()
    };
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend([b"\x80\x02}(".to_vec(), text("little_endian"), b"\x88u.".to_vec()].concat());
    file.extend(b"\x80\x02}(");
    for (k, (name, tensor)) in all.iter().enumerate() {
        let storage =
            [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(&k.to_string()), text("cpu")].concat();
        let storage = [b"((".to_vec(), storage, int(tensor.numel() as i64), b"NtQ".to_vec()].concat();
        let view = [int(0), tuple(&tensor.size()), tuple(&tensor.contiguous().stride())].concat();
        let end = b"\x89ccollections\nOrderedDict\n)RtR".to_vec();
        file.extend(
            [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), storage, view, end].concat(),
        );
    }
    file.extend(b"u.\x80\x02](");
    (0..all.len()).for_each(|k| file.extend(text(&k.to_string())));
    file.extend(b"e.");
    for (_, tensor) in all {
        file.extend((tensor.numel() as i64).to_le_bytes());
        let values: Vec<f32> = tensor.to_kind(Kind::Float).flatten(0, -1).try_into().unwrap();
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    }
    file
}

#[test]
fn drunet_is_homogeneous_and_takes_any_size() {
    let net = random_drunet("plain", |_| ()).unwrap();
    for size in [[1, 1, 16, 24], [2, 1, 13, 9]] {
        let x = draw("x", &size);
        let y = net.denoise(&x, 0.1).unwrap();
        assert_eq!(y.size(), x.size());
        for a in [0.5, 0.3, 1.7] {
            let scaled = net.denoise(&(&x * a), 0.1 * a).unwrap();
            assert!(largest(&(&scaled - &y * a)) < 1e-5 * largest(&y), "{a}");
            let same_level = net.denoise(&(&x * a), 0.1).unwrap();
            assert!(largest(&(same_level - &y * a)) > 1e-3 * largest(&y), "{a}: the level is not seen");
        }
    }
}

#[test]
fn a_drunet_with_other_tensors_is_refused() {
    let refused = |change: &dyn Fn(&mut Tensors)| one_line(random_drunet("other", change).unwrap_err());
    let line = refused(&|all| all.retain(|(name, _)| name != "m_up2.0.weight"));
    assert!(line.contains("has no tensor m_up2.0.weight; give a state dict of DRUNet"), "{line}");
    let line = refused(&|all| all.push(("m_tail.bias".into(), Tensor::zeros([1], tch::kind::FLOAT_CPU))));
    assert!(line.contains("has 1 tensors too many"), "{line}");
    let line = refused(&|all| {
        let head = all.iter_mut().find(|(name, _)| name == "m_head.weight").unwrap();
        head.1 = head.1.repeat([1, 2, 1, 1]);
    });
    assert!(line.contains("has m_head.weight of [4, 4, 3, 3], not of [any, 2, 3, 3]"), "{line}");
    let line = refused(&|all| all.iter_mut().for_each(|(_, t)| *t = &*t / 0.0));
    assert!(line.contains("no finite numbers"), "{line}");
}

/// Random weights do not denoise, and what loads files says so.
#[test]
fn networks_that_do_not_denoise_are_told() {
    let net = random_drunet("noise", |_| ()).unwrap();
    let line =
        one_line(smalti_priors::denoiser::check_that_it_denoises(&net, Path::new("net.pth")).unwrap_err());
    assert!(line.contains("net.pth: holds weights that do not denoise: as DRUNet they leave"), "{line}");
}
