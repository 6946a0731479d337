//! DPIR: files that are not there, levels that a denoiser does not have, and the published network on a slice.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::matrix::instrument;
use smalti_base::{Error, Seed, image_file};
use smalti_methods::registry::MethodEntry;
use smalti_methods::registry::ProblemEntry;
use smalti_methods::{Prepared, Run, TrainingData};
use std::path::Path;
use tch::Device;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../base/tests/golden/matlab/tiny_ffdnet.mat");

fn settings(denoiser: &str, [start, end]: [f64; 2]) -> String {
    format!("denoiser = {{ {denoiser} }}\niterations = 2\nsigma_start = {start}\nsigma_end = {end}")
}

fn prepared(text: &str, folder: Option<&Path>) -> smalti_base::Result<Prepared> {
    let camera = instrument("superresolution");
    let method = MethodEntry::configured("dpir", text)?;
    let material = TrainingData { folder, ..TrainingData::none(camera.as_ref()) };
    method.prepare(&material, &Run::new(Seed::new(1), Device::Cpu))
}

#[test]
fn files_are_relative_to_the_folder_of_the_data() {
    let path = Path::new(TINY);
    let text = settings("ffdnet = 'tiny_ffdnet.mat'", [0.1, 0.05]);
    let Prepared::Ready(method) = prepared(&text, path.parent()).unwrap() else { panic!("it is there") };
    let learned = method.learned().unwrap();
    assert_eq!(learned.note, "denoiser FFDNet of tiny_ffdnet.mat, trained before this run");
    assert_eq!(learned.identity.len(), 64);
    let Prepared::Missing(why) = prepared(&text, Some(Path::new("/no such folder"))).unwrap() else {
        panic!("it is not there")
    };
    assert!(why.contains("/no such folder/tiny_ffdnet.mat is not there; `cargo xtask fetch-data"), "{why}");
}

#[test]
fn files_of_another_network_are_refused() {
    let refused = |denoiser: &str| {
        let line = prepared(&settings(denoiser, [0.1, 0.1]), None).unwrap_err().to_string();
        assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
        line
    };
    assert!(refused(&format!("dncnn = '{TINY}'")).contains("not a readable PyTorch file"));
    let none = TINY.replace("tiny_ffdnet", "no_layers");
    assert!(refused(&format!("ffdnet = '{none}'")).contains("has no net.layers"));
}

#[test]
fn levels_that_a_denoiser_does_not_have_are_refused_before_its_file_is_read() {
    let camera = instrument("superresolution");
    let check = |denoiser: &str, levels| {
        let method = MethodEntry::configured("dpir", &settings(denoiser, levels)).unwrap();
        method.check(camera.as_ref(), None).err()
    };
    assert_eq!(check("ffdnet = 'x'", [0.29, 0.001]), None);
    assert_eq!(check("ffdnet = 'x'", [0.3, 0.01]).unwrap().0, "sigma_start");
    assert_eq!(check("drunet = 'x'", [0.197, 0.01]).unwrap().0, "sigma_start");
    let (key, problem) = check("dncnn = 'x'", [0.15, 0.05]).unwrap();
    assert_eq!(
        (key.as_str(), problem.as_str()),
        ("sigma_end", "0.05 is no level of the denoiser: 0.0980 to 0.1961")
    );
    let line = MethodEntry::configured("dpir", &settings("bm3d = 'x'", [0.1, 0.1])).unwrap_err().to_string();
    assert!(line.contains("unknown variant `bm3d`"), "{line}");
}

/// The published network on a quarter of a slice: better than the interpolation by more than a decibel, whatever the data step.
#[test]
fn the_published_network_restores_a_slice() {
    let files = ["weights/FFDNet_gray.mat", "sic/val.png"];
    let Some(folder) = smalti_testkit::measured(&files) else { return };
    let text = "denoiser = { ffdnet = 'weights/FFDNet_gray.mat' }\niterations = 8\nsigma_start = 0.19\nsigma_end = 0.016\n\
                noise_factor = 0.5";
    let Prepared::Ready(method) = prepared(text, Some(&folder)).unwrap() else { panic!("it is there") };
    let run = Run::new(Seed::new(1), Device::Cpu);
    let gained = |form: &str| -> Result<f64, Error> {
        let problem = format!(
            "kernel_size = 16\nsigma = 2.0\nstride = 4\nform = '{form}'\nnoise = 0.01\ncrop = 20\nsize = 204"
        );
        let camera = ProblemEntry::configured("superresolution", &problem)?.instrument(None)?;
        let image = image_file::load_gray(&folder.join(files[1]))?;
        let seen = camera.acquire("slice", &image, Seed::new(3))?;
        let problem = camera.pose("slice", &seen.observation, None)?;
        let estimate = method.reconstruct(&problem, &run)?.image;
        Ok(camera.score(&estimate, &seen.truth)?["psnr"]
            - camera.score(&problem.start.image, &seen.truth)?["psnr"])
    };
    // In closed form, and by conjugate gradients.
    let gains = ["wrap-after", "reflect"].map(|form| gained(form).unwrap());
    println!("gained {gains:.2?} dB");
    assert!(gains.iter().all(|gain| *gain > 1.0), "{gains:?}");
}
