//! What users and their data can get wrong, and Ctrl-C.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_base::{Seed, image_file};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
use smalti_methods::synthetic::microstructure;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// A folder with the shipped experiment, changed by `edit`, and a data folder with three synthetic images.
pub(crate) fn checkout(edit: impl Fn(&str) -> String) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("experiments")).unwrap();
    let text = edit(TEXT);
    assert!(text != TEXT || edit("x") == "x", "the edit changed nothing");
    std::fs::write(root.path().join("experiments/small.toml"), text).unwrap();
    for (k, name) in ["ref", "val", "test"].into_iter().enumerate() {
        let image = microstructure(128, 136, Seed::new(3), k as u64).unwrap();
        image_file::save_png8(&root.path().join(format!("images/sic/{name}.png")), &image).unwrap();
    }
    root
}

pub(crate) fn command(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smalti-tables"));
    command.current_dir(folder).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
    command.args(["--profile", "smoke", "--device", "cpu"]).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn with_data(folder: &Path) -> Output {
    command(folder, &["--data", "images"]).output().unwrap()
}

/// The complaint of a run that must fail with exit code 1 and leave no results.
fn complaint(folder: &Path) -> String {
    let output = with_data(folder);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!folder.join("results/small/smoke/table.csv").exists());
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(text.ends_with(&format!("{}\n", lines[0])), "nothing follows the complaint: {text}");
    assert!(!text.contains("training patchNR"), "input is looked at before the work begins: {text}");
    lines[0].to_owned()
}

fn same(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_corrupt_image_is_named() {
    let root = checkout(same);
    let path = root.path().join("images/sic/ref.png");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let line = complaint(root.path());
    assert!(line.contains("images/sic/ref.png"), "{line}");
}

#[test]
fn a_missing_image_is_named() {
    let root = checkout(same);
    std::fs::remove_file(root.path().join("images/sic/val.png")).unwrap();
    let line = complaint(root.path());
    assert!(line.contains("sic/val.png"), "{line}");
}

#[test]
fn nan_in_an_image_is_counted_and_placed() {
    let root = checkout(same);
    let image = microstructure(128, 136, Seed::new(3), 9).unwrap();
    let _ = image.get(0).get(0).get(5).get(7).fill_(f64::NAN);
    image_file::save_tiff_f32(&root.path().join("images/sic/test.png"), &image).unwrap();
    let line = complaint(root.path());
    assert!(
        line.contains("sic/test.png") && line.contains("NaN") && line.contains("row 5, column 7"),
        "{line}"
    );
}

#[test]
fn an_image_that_the_factor_does_not_divide_is_refused() {
    let root = checkout(|text| {
        text.replacen("problem.superresolution.size = 120 # images are cut to their centre\n", "", 1)
    });
    let image = microstructure(130, 136, Seed::new(3), 9).unwrap();
    image_file::save_png8(&root.path().join("images/sic/test.png"), &image).unwrap();
    let line = complaint(root.path());
    assert!(line.contains("130") && line.contains('4'), "{line}");
}

#[test]
fn a_reference_image_with_too_few_patches_is_refused() {
    let root = checkout(|text| text.replacen("references = 500", "references = 5_000", 1));
    let line = complaint(root.path());
    // 128 x 136 pixels become 63 x 67 on the coarse scale.
    assert!(line.contains("scale 1") && line.contains("at most the 3596 there are"), "{line}");
}

#[test]
fn images_that_are_too_small_for_the_scales_are_refused() {
    let root = checkout(|text| {
        text.replacen("problem.superresolution.size = 120 # images are cut to their centre\n", "", 1)
            .replacen("references = 500\nscales = 2", "references = 5\nscales = 5", 1)
    });
    let image = microstructure(96, 136, Seed::new(3), 9).unwrap();
    image_file::save_png8(&root.path().join("images/sic/test.png"), &image).unwrap();
    let line = complaint(root.path());
    assert!(line.contains("sic/test.png for wpp (scales)"), "{line}");
    assert!(line.contains("6 x 6 on all 5 scales, got 96 x 136 pixels"), "{line}");
}

#[test]
fn images_that_the_crop_leaves_nothing_of_are_refused() {
    let root = checkout(|text| {
        text.replacen("problem.superresolution.size = 120 # images are cut to their centre\n", "", 1)
    });
    let image = microstructure(84, 136, Seed::new(3), 9).unwrap();
    image_file::save_png8(&root.path().join("images/sic/test.png"), &image).unwrap();
    let line = complaint(root.path());
    assert!(line.contains("sic/test.png: expected at least 87 x 87 pixels"), "{line}");
}

fn with_weights(text: &str) -> String {
    text.replacen("hidden = 64\n", "hidden = 64\nweights = \"flow.safetensors\"\n", 1)
}

#[test]
fn a_flow_for_other_patches_is_refused() {
    let root = checkout(with_weights);
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let shape = |patch_size| {
        PatchNrShape::default().with_patch_size(patch_size).with_blocks(2).with_hidden(8).with_clamp(clamp)
    };
    let path = root.path().join("flow.safetensors");
    PatchNr::new(shape(5), Seed::new(1)).unwrap().save(&path).unwrap();
    let line = complaint(root.path());
    assert!(line.contains("5x5") && line.contains("6x6") && line.contains("flow.safetensors"), "{line}");
    std::fs::write(&path, "no flow").unwrap();
    assert!(complaint(root.path()).contains("flow.safetensors"));
    std::fs::remove_file(&path).unwrap();
    assert!(complaint(root.path()).contains("flow.safetensors"));
    // The right one is used without training.
    PatchNr::new(shape(6), Seed::new(1)).unwrap().save(&path).unwrap();
    let output = with_data(root.path());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("training patchNR"), "{text}");
}

#[test]
fn weights_of_a_later_row_are_looked_for_before_any_row_trains() {
    let second = "[profile.smoke.methods.patchnr_2]\nmethod = \"patchnr\"\nweight = { mean = 0.1 }\npatches = \"all\"\n\
                  descent = { iterations = 60, learning_rate = 0.01, schedule = \"cosine\" }\n\
                  [profile.smoke.methods.patchnr_2.flow]\npatch_size = 4\nblocks = 2\nhidden = 8\nclamp = 1.6\n\
                  weights = \"later.safetensors\"\ntraining = { steps = 10, batch = 8, learning_rate = 1e-3, \
                  schedule = \"constant\", validation_every = 5 }\n";
    let root = checkout(|text| {
        text.replacen("\"patchnr\", \"wpp\", \"dpir\"]", "\"patchnr\", \"patchnr_2\"]", 1) + second
    });
    let line = complaint(root.path());
    assert!(line.contains("later.safetensors"), "{line}");
}

/// The training would take hours. Requests to stop are heard from the first line on that is told.
#[test]
fn ctrl_c_ends_a_run() {
    let root = checkout(|text| text.replacen("steps = 1_000\n", "steps = 10_000_000\n", 1));
    let mut child = command(root.path(), &["--data", "images"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("profile smoke")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let told: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told:?}");
    assert!(told.last().unwrap().contains("the same command goes on from there"), "{told:?}");
    assert!(!root.path().join("results/small/smoke/table.csv").exists());
}
