//! The asymmetric CNN: where its images come from, what is refused before a training, and that it learns.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::matrix::instrument;
use smalti_base::{Seed, Space, image_file};
use smalti_methods::{MethodEntry, Prepared, Role, Run, TrainingData};
use std::path::Path;
use tch::{Device, Tensor};

const TINY: &str = "crops_of_observation = 2\nsteps = 2\nbatch = 2\ncrop = 16\nborder = 4\nlearning_rate = 1e-3\n\
                    final_learning_rate = 1e-4";

fn slice(side: i64, index: u64) -> Tensor {
    let image = instrument("superresolution").phantom(Role::Reference, Seed::new(2), index).unwrap();
    image.narrow(2, 0, side).narrow(3, 0, side).contiguous()
}

/// What `text` learns from the files in `folder`, beside one reference of the run.
fn prepared(text: &str, folder: Option<&Path>) -> smalti_base::Result<Prepared> {
    let camera = instrument("superresolution");
    let method = MethodEntry::configured("acnn", text)?;
    let material =
        TrainingData { references: vec![slice(48, 7)], folder, ..TrainingData::none(camera.as_ref()) };
    let checked = method.check_material(&material);
    let prepared = method.prepare(&material, &Run::new(Seed::new(1), Device::Cpu));
    // Whatever is refused is refused before the training.
    assert_eq!(checked.is_ok(), prepared.is_ok());
    prepared
}

#[test]
fn it_learns_from_a_folder_in_place_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let slices = folder.path().join("slices");
    std::fs::create_dir(&slices).unwrap();
    for k in 0..3 {
        image_file::save_png8(&slices.join(format!("{k}.png")), &slice(40, k)).unwrap();
    }
    let learned = |text: &str, folder| {
        let Prepared::Ready(method) = prepared(text, folder).unwrap() else { panic!("{text}") };
        method.learned().unwrap().clone()
    };
    let own = |names: &str| learned(&format!("{TINY}\nreferences = '{names}'"), Some(folder.path()));
    let note = |text: &str| text.split(": ").next().unwrap().to_owned();
    assert_eq!(note(&own("slices").note), "trained once, supervised, on crops of 3 images");
    assert_eq!(note(&own("slices/0.png").note), "trained once, supervised, on crops of one image");
    assert_ne!(own("slices/0.png").identity, own("slices/1.png").identity);
    assert_eq!(note(&learned(TINY, None).note), "trained once, supervised, on crops of one image");
    let Prepared::Missing(why) = prepared(&format!("{TINY}\nreferences = 'slices'"), None).unwrap() else {
        panic!("there is no folder")
    };
    assert!(why.contains("slices is needed, and there is no folder of data"), "{why}");
}

#[test]
fn what_it_cannot_learn_from_is_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::create_dir(folder.path().join("mixed")).unwrap();
    image_file::save_png8(&folder.path().join("mixed/large.png"), &slice(40, 0)).unwrap();
    image_file::save_png8(&folder.path().join("mixed/small.png"), &slice(14, 0)).unwrap();
    let flat = Tensor::full([1, 1, 40, 40], 0.5, tch::kind::FLOAT_CPU);
    image_file::save_png8(&folder.path().join("flat.png"), &flat).unwrap();
    for (names, problem) in [
        ("empty", "there are no images to learn from"),
        ("empty/*.png", "there are no images to learn from"),
        ("not there", "there are no images to learn from"),
        ("mixed", "at least 24 x 24 pixels, got [1, 1, 14, 14]"),
        ("flat.png", "a constant image"),
    ] {
        let text = format!("{TINY}\nreferences = '{names}'");
        let line = prepared(&text, Some(folder.path())).err().unwrap().to_string();
        assert!(line.contains(problem) && line.lines().count() == 1, "{names}: {line}");
    }
}

#[test]
fn settings_and_images_that_do_not_fit_are_refused() {
    let camera = instrument("superresolution");
    let check = |text: &str, side| {
        let method = MethodEntry::configured("acnn", text).unwrap();
        method.check(camera.as_ref(), Some(Space::image(1, side, side)))
    };
    assert_eq!(check(TINY, 24), Ok(()));
    let key = |text: String, side| check(&text, side).unwrap_err().0;
    assert_eq!(key(TINY.replace("crop = 16", "crop = 17"), 24), "crop");
    assert_eq!(key(TINY.replace("border = 4", "border = 8"), 24), "border");
    assert_eq!(key(format!("{TINY}\nreferences = '../slices'"), 24), "references");
    assert_eq!(key(TINY.into(), 25), "method");
    // It enlarges observed images only.
    let acnn = MethodEntry::find("acnn").unwrap();
    for (problem, reason) in [("deblurring", "not by 1"), ("tomography", "no images on a grid")] {
        assert!((acnn.applies)(instrument(problem).as_ref()).unwrap_err().contains(reason), "{problem}");
    }
}

#[test]
fn training_brings_it_closer_to_the_truth() {
    let camera = instrument("superresolution");
    let truth = slice(24, 7);
    let seen = camera.observe(&truth, Seed::new(3)).unwrap();
    let problem = camera.pose("slice", &seen, Some(Space::image(1, 24, 24))).unwrap();
    let run = Run::new(Seed::new(1), Device::Cpu);
    let error = |steps: u64| {
        let text = TINY.replace("steps = 2", &format!("steps = {steps}"));
        let material = TrainingData { references: vec![slice(64, 7)], ..TrainingData::none(camera.as_ref()) };
        let Prepared::Ready(method) =
            MethodEntry::configured("acnn", &text).unwrap().prepare(&material, &run).unwrap()
        else {
            panic!("it needs nothing else")
        };
        let image = method.reconstruct(&problem, &run).unwrap().image;
        let inner = |t: &Tensor| t.narrow(2, 4, 16).narrow(3, 4, 16);
        (inner(&image) - inner(&truth)).square().mean(tch::Kind::Double).double_value(&[])
    };
    let spread = truth.var(false).double_value(&[]);
    let (untrained, trained) = (error(1), error(120));
    // Better than any constant image, which shows that places of observation and image belong together.
    assert!(trained < 0.5 * spread && trained < 0.2 * untrained, "{trained} {untrained} {spread}");
}
