//! ALR: where files lie, settings that contradict each other, and the published critic on a slice.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::matrix::instrument;
use smalti_base::{Seed, image_file};
use smalti_methods::registry::{MethodEntry, ProblemEntry};
use smalti_methods::{Prepared, Run, TrainingData};
use smalti_priors::{PatchCritic, PatchCriticShape};
use std::path::Path;
use tch::{Device, Tensor};

fn settings(critic: &str, iterations: u64) -> String {
    format!(
        "critic = {{ {critic} }}\nweight = {{ squared_errors = {{ lambda = 70.0, observed = 22_500 }} }}\npatches = {{ grid = 6 }}\n\
         descent = {{ iterations = {iterations}, learning_rate = 0.03, schedule = 'constant' }}"
    )
}

fn prepared(text: &str, folder: Option<&Path>) -> smalti_base::Result<Prepared> {
    let camera = instrument("superresolution");
    let material = TrainingData { folder, ..TrainingData::none(camera.as_ref()) };
    MethodEntry::configured("alr", text)?.prepare(&material, &Run::new(Seed::new(1), Device::Cpu))
}

#[test]
fn files_are_relative_to_the_folder_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let shape = PatchCriticShape::default().with_widths([2, 3]);
    let critic = PatchCritic::new(shape, Seed::new(1)).unwrap();
    critic.save(&folder.path().join("mine.safetensors")).unwrap();
    let of = |p: i64, folder: &Path| {
        prepared(&settings(&format!("patch_size = {p}, weights = 'mine.safetensors'"), 5), Some(folder))
    };
    let Prepared::Ready(method) = of(6, folder.path()).unwrap() else { panic!("it is there") };
    let learned = method.learned().unwrap();
    assert_eq!(learned.note, "critic of mine.safetensors, trained before this run");
    assert_eq!(learned.identity, critic.hash().unwrap());
    let line = of(7, folder.path()).unwrap_err().to_string();
    assert!(line.contains("is a critic of patches of 6, not of 7; give its patch_size"), "{line}");
    let Prepared::Missing(why) = of(6, Path::new("/no such folder")).unwrap() else {
        panic!("it is not there")
    };
    assert!(why.contains("/no such folder/mine.safetensors is not there; `cargo xtask fetch-data"), "{why}");
}

#[test]
fn critics_of_cubes_are_refused_for_images() {
    let folder = tempfile::tempdir().unwrap();
    let shape = PatchCriticShape::default().with_widths([2, 3]).with_axes(3);
    PatchCritic::new(shape, Seed::new(1)).unwrap().save(&folder.path().join("cubes.safetensors")).unwrap();
    let text = settings("patch_size = 6, weights = 'cubes.safetensors'", 5);
    let line = prepared(&text, Some(folder.path())).unwrap_err().to_string();
    assert!(
        line.contains("is a critic of patches with 3 axes, not with 2") && line.lines().count() == 1,
        "{line}"
    );
}

#[test]
fn a_critic_is_given_or_trained() {
    let camera = instrument("superresolution");
    let training = "training = { steps = 5, batch = 4, learning_rate = 1e-3, validation_every = 5 }";
    let check = |critic: &str| {
        let method = MethodEntry::configured("alr", &settings(critic, 5)).unwrap();
        method.check(camera.as_ref(), None).err()
    };
    assert_eq!(check("patch_size = 6, weights = 'x.pth'"), None);
    assert_eq!(check(&format!("patch_size = 6, {training}")), None);
    assert_eq!(check("patch_size = 6").unwrap(), ("critic".into(), "needs weights or training".into()));
    let (key, problem) = check(&format!("patch_size = 6, weights = 'x.pth', {training}")).unwrap();
    assert!(key == "critic.training" && problem.contains("leave one out"), "{key} {problem}");
    let line = MethodEntry::configured("alr", &settings("patch_size = 4, weights = 'x'", 5))
        .unwrap_err()
        .to_string();
    assert!(line.contains("critic.patch_size"), "{line}");
}

/// The published critic on the middle of a slice: better than the interpolation.
#[test]
fn the_published_critic_restores_a_slice() {
    let files = ["weights/ALR_material_p6.pth", "sic/val.png"];
    let Some(folder) = smalti_testkit::measured(&files) else { return };
    let problem =
        "kernel_size = 16\nsigma = 2.0\nstride = 4\nform = 'wrap-after'\nnoise = 0.01\ncrop = 20\nsize = 200";
    let camera = ProblemEntry::configured("superresolution", problem).unwrap().instrument(None).unwrap();
    let image = image_file::load_gray(&folder.join(files[1])).unwrap();
    let seen = camera.acquire("slice", &image, Seed::new(3)).unwrap();
    let problem = camera.pose("slice", &seen.observation, None).unwrap();
    let run = Run::new(Seed::new(1), Device::Cpu);
    let score = |image: &Tensor| camera.score(image, &seen.truth).unwrap()["psnr"];
    let simple = score(&problem.start.image);
    let after = |iterations: u64| {
        let text = settings("patch_size = 6, weights = 'weights/ALR_material_p6.pth'", iterations);
        let Prepared::Ready(method) = prepared(&text, Some(&folder)).unwrap() else { panic!("it is there") };
        score(&method.reconstruct(&problem, &run).unwrap().image)
    };
    let gained = after(100) - simple;
    println!("gained {gained:.2} dB");
    assert!(gained > 1.0, "{gained}");
}
