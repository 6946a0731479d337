//! The critic of a local adversarial regularizer: homogeneity, values by hand and of the published weights, files that hold no critic.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::denoisers::state_dict;
use smalti_base::{Result, Seed, Space, image_file};
use smalti_priors::{
    PatchCritic, PatchCriticShape, PatchDensity, PatchPrior, Patches, Regularizer, Sampling,
};
use smalti_testkit::measured;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(5).at(name, 0).uniform(size).to_kind(Kind::Double)
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

fn inner(a: &Tensor, b: &Tensor) -> f64 {
    (a * b).sum(Kind::Double).double_value(&[])
}

fn small(patch_size: i64, channels: i64, axes: i64) -> PatchCritic {
    let shape = PatchCriticShape::default().with_patch_size(patch_size).with_widths([4, 6]);
    PatchCritic::new(shape.with_channels(channels).with_axes(axes), Seed::new(3)).unwrap()
}

/// How far `D(a p)` is from `a D(p)`, and `<p, grad D(p)>` from `D(p)`.
fn defects(density: &dyn PatchDensity) -> [f64; 2] {
    let patches = draw("patches", &[20, density.dim()]) - 0.3;
    let (value, grad) = density.nll_and_grad(&patches).unwrap();
    let scaled = density.nll(&(&patches * 1.7)).unwrap();
    let along = (&patches * grad).sum_dim_intlist(1i64, false, None::<Kind>);
    [scaled - &value * 1.7, along - &value].map(|defect| largest(&defect) / largest(&value))
}

/// A critic with a bias in its last layer, which is not homogeneous.
struct Biased(PatchCritic);

impl PatchDensity for Biased {
    fn dim(&self) -> i64 {
        self.0.dim()
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        Ok(self.0.nll(patches)? + 0.01)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let (nll, grad) = self.0.nll_and_grad(patches)?;
        Ok((nll + 0.01, grad))
    }
}

#[test]
fn critics_are_positively_homogeneous() {
    for (p, channels, axes) in
        [(5, 1, 2), (6, 1, 2), (6, 3, 2), (7, 1, 2), (9, 1, 2), (12, 2, 2), (5, 1, 3), (6, 2, 3)]
    {
        let critic = small(p, channels, axes);
        assert!(defects(&critic).iter().all(|defect| *defect < 1e-12), "{p} {channels} {axes}");
        assert!(defects(&Biased(critic)).iter().all(|defect| *defect > 1e-4), "{p} {channels} {axes}");
    }
    // Not for negative factors: it is no linear map.
    let critic = small(6, 1, 2);
    let patches = draw("patches", &[20, 36]);
    let (there, back) = (critic.nll(&patches).unwrap(), critic.nll(&(&patches * -1.0)).unwrap());
    assert!(largest(&(there + back)) > 1e-3);
}

#[test]
fn gradients_of_patches_of_all_sizes_are_those_of_autograd() {
    for (p, channels, axes) in [(5, 1, 2), (8, 2, 2), (9, 1, 2), (13, 1, 2), (5, 2, 3), (7, 1, 3)] {
        let critic = small(p, channels, axes);
        let patches = draw("patches", &[9, critic.dim()]);
        let with_graph = patches.copy().set_requires_grad(true);
        let score = critic.forward(&with_graph).unwrap();
        let expected = Tensor::run_backward(&[score.sum(Kind::Double)], &[&with_graph], false, false);
        let (nll, grad) = critic.nll_and_grad(&patches).unwrap();
        assert!(largest(&(&grad + &expected[0])) < 1e-12 * largest(&grad), "{p} {axes}");
        assert!(largest(&(nll + score.detach())) < 1e-12, "{p} {axes}");
    }
}

#[test]
fn the_regularizer_is_its_own_slope_along_the_image() {
    let domain = Space::image(1, 23, 31);
    let x = draw("image", &domain.batch(1));
    for sampling in [Sampling::All, Sampling::Random(90), Sampling::Grid(4)] {
        let prior = PatchPrior::new(small(6, 1, 2), domain, sampling, Seed::new(2)).unwrap();
        let (value, grad) = prior.value_and_grad(&x).unwrap();
        assert!((inner(&x, &grad) - value).abs() < 1e-12 * value.abs(), "{sampling:?}");
        let twin = PatchPrior::new(Biased(small(6, 1, 2)), domain, sampling, Seed::new(2)).unwrap();
        let (value, grad) = twin.value_and_grad(&x).unwrap();
        assert!((inner(&x, &grad) - value).abs() > 1e-3 * value.abs(), "{sampling:?}");
    }
}

/// Kernels that take a pixel where their centre lies: `D(p) = 5 l(-3 l(2 p_22))`, `l` having the slopes 1 and 0.2.
#[test]
fn values_by_hand() {
    let critic = PatchCritic::new(PatchCriticShape::default().with_widths([1, 1]), Seed::new(1)).unwrap();
    tch::no_grad(|| {
        for ((_, kernel), weight) in critic.parameters().into_iter().zip([2.0, -3.0, 5.0]) {
            let _ = kernel.shallow_clone().zero_();
            let _ = kernel.select(2, 1).select(2, 1).fill_(weight);
        }
    });
    let patches = Tensor::zeros([2, 36], (Kind::Double, Device::Cpu));
    patches.select(1, 2 * 6 + 2).copy_(&Tensor::from_slice(&[0.4, -0.4]));
    let (nll, grad) = critic.nll_and_grad(&patches).unwrap();
    // 5 * 0.2 * (-3) * 2 * 0.4, and 5 * (-3) * 0.2 * 2 * (-0.4).
    let expected = Tensor::from_slice(&[2.4, -2.4]);
    assert!(largest(&(&nll - expected)) < 1e-6, "{nll:?}");
    let slope = grad.select(1, 2 * 6 + 2);
    assert!(
        largest(&(&slope - 6.0)) < 1e-5
            && largest(&grad.sum_dim_intlist(1i64, false, None::<Kind>).g_sub(&slope)) == 0.0
    );
}

fn r(critic: &PatchCritic, image: &Tensor) -> [f64; 2] {
    let patches =
        Patches::grid(Space::of("image", image).unwrap(), 6, 8, &[0, 0]).unwrap().rows(image).unwrap();
    let nll = critic.nll(&patches).unwrap();
    [nll.mean(Kind::Double), nll.to_kind(Kind::Double).std(false)].map(|t| t.double_value(&[]))
}

/// Values of the published weights that were computed by another program, rounded.
#[test]
fn the_published_weights_have_their_known_values() {
    let files = ["weights/ALR_material_p6.pth", "sic/ref.png", "sic/test.png"];
    let Some(folder) = measured(&files) else { return };
    let critic = PatchCritic::import_pytorch(&folder.join(files[0]), 6).unwrap();
    let parameters: usize = critic.parameters().iter().map(|(_, t)| t.numel()).sum();
    assert_eq!(parameters, 75_456);
    let [reference, test] = [1, 2].map(|k| image_file::load_gray(&folder.join(files[k])).unwrap());
    let near = |value: f64, known: f64| {
        assert!((value - known).abs() < 1e-5 + 1e-4 * known.abs(), "{value} {known}")
    };
    let [mean, std] = r(&critic, &reference);
    near(mean, 0.19432);
    assert!((std - 0.1700).abs() < 1e-4, "{std}");
    let [mean, std] = r(&critic, &test);
    near(mean, 0.19343);
    assert!((std - 0.1802).abs() < 1e-4, "{std}");
    let d = |patch: &Tensor| -critic.nll(&patch.reshape([1, 36])).unwrap().double_value(&[0]);
    near(d(&Tensor::ones([1, 36], (Kind::Float, Device::Cpu))), -0.06348);
    near(d(&reference.narrow(2, 0, 6).narrow(3, 0, 6)), -0.08110);
    // Noise is punished, and a blur rewarded.
    let noisy = &test + Seed::new(1).at("noise", 0).normal(&test.size()) * 0.1;
    assert!((r(&critic, &noisy)[0] - 0.65072).abs() < 0.01);
    let blurred = test.avg_pool2d([5, 5], [1, 1], [2, 2], false, false, None::<i64>);
    assert!(r(&critic, &blurred)[0] < 0.15);
}

fn imported(all: &[(&str, &[i64])]) -> Result<PatchCritic> {
    let all: Vec<(String, Tensor)> =
        all.iter().map(|(name, size)| ((*name).to_owned(), draw(name, size).to_kind(Kind::Float))).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("critic.pth");
    std::fs::write(&path, state_dict(&all)).unwrap();
    PatchCritic::import_pytorch(&path, 6)
}

const FIRST: (&str, &[i64]) = ("main.0.weight", &[4, 1, 3, 3]);
const SECOND: (&str, &[i64]) = ("main.2.weight", &[6, 4, 3, 3]);
const THIRD: (&str, &[i64]) = ("main.4.weight", &[1, 6, 3, 3]);

#[test]
fn files_that_hold_no_critic_are_refused() {
    let critic = imported(&[FIRST, SECOND, THIRD]).unwrap();
    assert_eq!(critic.shape(), PatchCriticShape::default().with_widths([4, 6]));
    let cubes: [(&str, &[i64]); 3] = [
        ("main.0.weight", &[4, 2, 3, 3, 3]),
        ("main.2.weight", &[6, 4, 3, 3, 3]),
        ("main.4.weight", &[1, 6, 3, 3, 3]),
    ];
    assert_eq!(imported(&cubes).unwrap().shape(), critic.shape().with_axes(3).with_channels(2));
    let refused = |all: &[(&str, &[i64])], problem: &str| {
        let line = imported(all).unwrap_err().to_string();
        let remedy = "; give a state dict of a critic of three convolutions without bias";
        assert!(line.contains("critic.pth") && line.contains(problem) && line.contains(remedy), "{line}");
        assert_eq!(line.lines().count(), 1);
    };
    refused(&[FIRST, SECOND], "has no tensor main.4.weight");
    refused(&[("conv.weight", &[4, 1, 3, 3])], "has no tensor state_dict.main.0.weight");
    refused(&[FIRST, SECOND, THIRD, ("main.6.weight", &[1, 1, 3, 3])], "1 tensors too many");
    refused(&[FIRST, SECOND, THIRD, ("main.0.bias", &[4])], "such as main.0.bias");
    refused(
        &[FIRST, ("main.2.weight", &[6, 5, 3, 3]), THIRD],
        "has main.2.weight of [6, 5, 3, 3], not of [any, 4, 3, 3]",
    );
    refused(&[FIRST, SECOND, ("main.4.weight", &[2, 6, 3, 3])], "not of [1, 6, 3, 3]");
    refused(&[("main.0.weight", &[4, 1, 5, 5]), SECOND, THIRD], "has main.0.weight of [4, 1, 5, 5]");
    refused(&[("main.0.weight", &[4, 9]), SECOND, THIRD], "has main.0.weight of [4, 9]");
    // Another file of the same kind of program.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/tests/golden/other_arrays/plain.pth");
    let line = PatchCritic::import_pytorch(&path, 6).unwrap_err().to_string();
    assert!(line.contains("has no tensor"), "{line}");
}

#[test]
fn cut_off_files_and_impossible_patches_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    let all: Vec<(String, Tensor)> = [FIRST, SECOND, THIRD]
        .iter()
        .map(|(name, size)| ((*name).to_owned(), draw(name, size).to_kind(Kind::Float)))
        .collect();
    let whole = state_dict(&all);
    for share in [0.02, 0.5, 0.99] {
        std::fs::write(&path, &whole[..(whole.len() as f64 * share) as usize]).unwrap();
        let line = PatchCritic::import_pytorch(&path, 6).unwrap_err().to_string();
        assert!(line.contains("not a readable PyTorch file") && line.contains("; give a file"), "{line}");
    }
    std::fs::write(&path, &whole).unwrap();
    for p in [4, 17] {
        let line = PatchCritic::import_pytorch(&path, p).unwrap_err().to_string();
        assert!(line.contains("patch size of a critic: expected 5 to 16"), "{line}");
    }
}

#[test]
fn files_of_this_program_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("critic.safetensors");
    let critic = small(7, 2, 2);
    critic.save(&path).unwrap();
    let again = PatchCritic::load(&path).unwrap();
    assert_eq!(again.shape(), critic.shape());
    assert_eq!(again.hash().unwrap(), critic.hash().unwrap());
    let other = folder.path().join("mixture.safetensors");
    smalti_testkit::registry::priors::gaussian_mixture(2, 9).unwrap().save(&other).unwrap();
    let line = PatchCritic::load(&other).unwrap_err().to_string();
    assert!(line.contains("not a patch critic; give a file of a patch critic"), "{line}");
}
