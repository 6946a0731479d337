//! Training of Gaussian mixtures: as scikit-learn, never worse, known mixtures, stops and resumptions; MAP in
//! `closed_form`.
#![allow(clippy::unwrap_used)] // in helpers, too

mod closed_form;

use crate::pieces::in_pieces;
use smalti_base::{Seed, Space};
use smalti_priors::{GaussianMixture, PatchDensity, Patches};
use smalti_solvers::{
    GaussianMixtureSettings, GaussianMixtureTraining, Iteration, RunControl, RunSummary, StopReason,
    TrainedGaussianMixture, run,
};
use std::path::Path;
use tch::{Device, Kind, Tensor};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn settings(patch_size: i64, components: i64) -> GaussianMixtureSettings {
    GaussianMixtureSettings::piening_2024().with_patch_size(patch_size).with_components(components)
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Smooth stripes with noise.
fn image(name: &str, height: i64, width: i64) -> Tensor {
    let wave =
        (Tensor::arange(height * width, DOUBLE) * 0.21).sin().reshape([1, 1, height, width]) * 0.2 + 0.5;
    wave + Seed::new(3).at(name, 0).normal(&[1, 1, height, width]).to_kind(Kind::Double) * 0.05
}

fn all_patches(image: &Tensor, size: i64) -> Tensor {
    Patches::all(Space::of("image", image).unwrap(), size).unwrap().rows(image).unwrap()
}

fn train(mut training: GaussianMixtureTraining, steps: u64) -> (TrainedGaussianMixture, RunSummary) {
    let summary = run(&mut training, steps, &RunControl::default()).unwrap();
    (training.finish().unwrap(), summary)
}

/// Made by `golden/scikit_learn.py`.
#[test]
fn from_the_same_start_it_is_scikit_learns() {
    let path = "tests/all/gaussian_mixture/golden/scikit_learn.safetensors";
    let arrays = Tensor::read_safetensors(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let array = |name: &str| arrays.iter().find(|(n, _)| n == name).unwrap().1.shallow_clone();
    let start =
        GaussianMixture::new(&array("start.weights"), &array("start.means"), &array("start.covariances"));
    let with = settings(2, 3).with_tolerance(1e-6);
    let images = [array("image")];
    let training = GaussianMixtureTraining::new(&images, None, with, Seed::new(1)).unwrap();
    let patches = training.patches().shallow_clone();
    assert!(patches == all_patches(&images[0], 2));
    let (trained, summary) = train(training.starting_from(start.unwrap()).unwrap(), 300);
    assert!(matches!(summary.reason, StopReason::Done(_)), "{summary:?}");
    let bounds: Vec<f64> = trained.curve.iter().map(|point| -point.train).collect();
    assert!(distance(&Tensor::from_slice(&bounds), &array("bounds")) < 1e-8);
    assert!(distance(&-trained.mixture.nll(&patches).unwrap(), &array("scores")) < 1e-8);
    assert!(distance(trained.mixture.weights(), &array("weights")) < 1e-8);
    assert!(distance(trained.mixture.means(), &array("means")) < 1e-8);
    assert!(distance(trained.mixture.covariances(), &array("covariances")) < 1e-8);
}

#[test]
fn the_likelihood_never_falls() {
    let images = [image("first", 40, 30), image("second", 17, 50)];
    for (floor, slack) in [(0.0, 1e-12), (1e-6, 1e-9)] {
        for seed in 0..3 {
            let with = settings(3, 12).with_floor(floor).with_tolerance(0.0);
            let training = GaussianMixtureTraining::new(&images, None, with, Seed::new(seed)).unwrap();
            let (trained, _) = train(training, 400);
            let values: Vec<f64> = trained.curve.iter().map(|point| point.train).collect();
            assert!(values.len() > 30 && values[0] > values[values.len() - 1] + 0.02, "{values:?}");
            let rise = values.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::NEG_INFINITY, f64::max);
            println!("floor {floor}, seed {seed}: {rise:.1e}");
            assert!(rise <= slack, "{floor} {seed} {rise:.1e}");
        }
    }
}

/// An image whose patches, not overlapping, are drawn from two separate normal distributions.
#[test]
fn two_separate_normal_distributions_are_found() {
    let means = Tensor::from_slice(&[0.2, 0.2, 0.3, 0.2, 0.8, 0.7, 0.8, 0.9]).reshape([2, 4]);
    let factors = Seed::new(4).at("factors", 0).normal(&[2, 4, 4]).to_kind(Kind::Double) * 0.03;
    let covariances = factors.matmul(&factors.transpose(1, 2)) + Tensor::eye(4, DOUBLE) * 1e-4;
    let truth = GaussianMixture::new(&Tensor::from_slice(&[0.25, 0.75]), &means, &covariances).unwrap();
    let samples = truth.sample(8000, &mut Seed::new(5).at("samples", 0)).unwrap();
    // One patch an image: four channels of one pixel.
    let image = samples.transpose(0, 1).contiguous().reshape([1, 4, 80, 100]);
    let training = GaussianMixtureTraining::new(&[image], None, settings(1, 2), Seed::new(6)).unwrap();
    let (trained, summary) = train(training, 100);
    assert!(matches!(summary.reason, StopReason::Done(_)) && summary.steps < 20, "{summary:?}");
    let order = trained.mixture.weights().argsort(0, false);
    let sorted = |t: &Tensor| t.index_select(0, &order);
    assert!(distance(&sorted(trained.mixture.weights()), truth.weights()) < 0.02);
    assert!(distance(&sorted(trained.mixture.means()), truth.means()) < 5e-3);
    assert!(distance(&sorted(trained.mixture.covariances()), truth.covariances()) < 1e-3);
}

#[test]
fn steps_of_k_means_do_not_count_as_steps_of_em() {
    let images = [image("first", 40, 30)];
    for start_steps in [2, 300] {
        let with = settings(3, 12).with_start_steps(start_steps).with_tolerance(0.0).with_iterations(7);
        let training = GaussianMixtureTraining::new(&images, None, with, Seed::new(1)).unwrap();
        let (trained, summary) = train(training, with.steps());
        assert_eq!(trained.curve.len(), 7, "{summary:?}");
        assert!(
            matches!(summary.reason, StopReason::Done(_)) && summary.steps <= with.steps(),
            "{summary:?}"
        );
    }
}

#[test]
fn validation_and_provenance() {
    let (images, validation) = ([image("first", 40, 30)], image("validation", 30, 30));
    let training =
        GaussianMixtureTraining::new(&images, Some(&validation), settings(3, 4), Seed::new(1)).unwrap();
    let (trained, _) = train(training, 60);
    let last = trained.curve.last().unwrap();
    let expected = trained.mixture.nll(&all_patches(&validation, 3)).unwrap().mean(Kind::Double);
    assert!((last.validation.unwrap() - expected.double_value(&[])).abs() < 1e-9);
    assert!((last.train - last.validation.unwrap()).abs() < 2.0, "{last:?}");
    assert_eq!(trained.mixture.provenance["validation_nll"], last.validation.unwrap().to_string());
    assert_eq!(trained.mixture.provenance["training_data_sha256"].len(), 64);
}

#[test]
fn patches_are_drawn_from_all_images_without_repetition() {
    let images = [image("first", 20, 14), image("second", 10, 30), image("third", 4, 4)];
    let all = Tensor::cat(&images.each_ref().map(|image| all_patches(image, 3)), 0);
    let with = |patches, seed| {
        let settings = settings(3, 4).with_patches(patches);
        let training = GaussianMixtureTraining::new(&images, None, settings, Seed::new(seed)).unwrap();
        training.patches().shallow_clone()
    };
    assert!(with(i64::MAX, 1) == all);
    let some = with(200, 1);
    assert_eq!(some.size(), [200, 9]);
    let same = Tensor::cdist(&some, &all, 2.0, None::<i64>).le(1e-6).to_kind(Kind::Int64);
    assert_eq!(same.sum_dim_intlist(1i64, false, Kind::Int64).min().int64_value(&[]), 1);
    assert_eq!(same.sum_dim_intlist(0i64, false, Kind::Int64).max().int64_value(&[]), 1);
    assert!(some == with(200, 1) && some != with(200, 2));
}

#[test]
fn a_resumed_training_ends_with_the_same_bits() {
    let images = [image("first", 40, 30)];
    let validation = image("validation", 20, 20);
    let make = || {
        let with = settings(3, 6).with_start_steps(5).with_tolerance(0.0);
        GaussianMixtureTraining::new(&images, Some(&validation), with, Seed::new(1)).unwrap()
    };
    let (whole, steps) = in_pieces(25, &[], make);
    // Within k-means, between it and EM, within EM.
    let (pieces, again) = in_pieces(25, &[1, 3, 6, 7, 20], make);
    assert_eq!((steps, again), (25, 25));
    assert!(whole.mixture.means() == pieces.mixture.means());
    assert!(whole.mixture.covariances() == pieces.mixture.covariances());
    assert!(whole.curve == pieces.curve && whole.mixture.provenance == pieces.mixture.provenance);
    let state = make().save().unwrap();
    GaussianMixtureTraining::new(&images, None, settings(3, 2), Seed::new(1))
        .unwrap()
        .restore(state)
        .unwrap();
    let mut training = make();
    run(&mut training, 12, &RunControl::default()).unwrap();
    let mut fewer = GaussianMixtureTraining::new(&images, None, settings(3, 2), Seed::new(1)).unwrap();
    let line = fewer.restore(training.save().unwrap()).unwrap_err().to_string();
    assert!(line.contains("[6, 9], not [2, 9]") && line.lines().count() == 1, "{line}");
    assert!(fewer.restore(smalti_base::checkpoint::Checkpoint::default()).is_err());
}

#[test]
fn constant_images_and_more_components_than_different_patches_do_no_harm() {
    let constant = Tensor::full([1, 1, 20, 20], 0.5, (Kind::Float, Device::Cpu));
    let training = GaussianMixtureTraining::new(&[constant], None, settings(3, 5), Seed::new(1)).unwrap();
    let (trained, summary) = train(training, 30);
    assert!(matches!(summary.reason, StopReason::Done(_)), "{summary:?}");
    assert!(distance(trained.mixture.means(), &Tensor::full([5, 9], 0.5, DOUBLE)) < 1e-6);
    // The budget may end anywhere.
    for steps in 0..6 {
        let images = [image("first", 20, 14)];
        let training = GaussianMixtureTraining::new(&images, None, settings(3, 5), Seed::new(1)).unwrap();
        assert_eq!(train(training, steps).0.mixture.components(), 5);
    }
}

#[test]
fn wrong_settings_and_images_are_errors() {
    let good = [image("first", 20, 14)];
    let line = |images: &[Tensor], validation: Option<&Tensor>, with: GaussianMixtureSettings| {
        let made = GaussianMixtureTraining::new(images, validation, with, Seed::new(1));
        made.map(|_| ()).unwrap_err().to_string()
    };
    assert!(line(&good, None, settings(3, 0)).contains("components"));
    assert!(line(&good, None, settings(3, 217)).contains("1 to the number of patches, 216"));
    assert!(line(&good, None, settings(15, 2)).contains("patch size"));
    assert!(line(&good, None, settings(3, 2).with_patches(0)).starts_with("patches"));
    for wrong in [-1.0, f64::NAN] {
        assert!(line(&good, None, settings(3, 2).with_floor(wrong)).contains("floor"));
        let with = settings(3, 2).with_tolerance(wrong);
        assert!(line(&good, None, with).contains("tolerance"));
    }
    assert!(line(&[], None, settings(3, 2)).starts_with("training images: expected at least 1"));
    let hole = good[0].copy();
    let _ = hole.narrow(2, 3, 1).fill_(f64::NAN);
    assert!(line(&[hole.shallow_clone()], None, settings(3, 2)).contains("finite"));
    assert!(line(&good, Some(&hole), settings(3, 2)).starts_with("validation image"));
    assert!(line(&[good[0].to_kind(Kind::Int64)], None, settings(3, 2)).contains("floating-point"));
    assert!(line(&good, Some(&Tensor::zeros([1, 3, 9, 9], DOUBLE)), settings(3, 2)).contains("channels"));
    for shape in [vec![20, 20], vec![2, 1, 20, 20], vec![1, 1, 20, 1]] {
        line(&[good[0].shallow_clone(), Tensor::zeros(&shape[..], DOUBLE)], None, settings(3, 2));
    }
    let training = GaussianMixtureTraining::new(&good, None, settings(3, 2), Seed::new(1)).unwrap();
    let eye = Tensor::eye(4, DOUBLE).unsqueeze(0);
    let one =
        GaussianMixture::new(&Tensor::from_slice(&[1.0]), &Tensor::zeros([1, 4], DOUBLE), &eye).unwrap();
    assert!(training.starting_from(one).is_err());
}
