//! A folder with images, and the command in it.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, image_file, npy_file};
use smalti_methods::synthetic::microstructure;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tch::{Device, Kind, Tensor};

/// A folder with an observation, references and files that are wrong in many ways.
pub(crate) fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let (truth, reference) = (drawn(48, 2), drawn(64, 1));
    image_file::save_tiff16(&at("truth.tif"), &truth).unwrap();
    image_file::save_png8(&at("ref.png"), &reference).unwrap();
    let coarse = truth.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None::<i64>);
    image_file::save_tiff16(&at("obs.tif"), &coarse).unwrap();
    image_file::save_tiff16(&at("scans/a1.tif"), &coarse).unwrap();
    image_file::save_tiff16(&at("scans/a10.tif"), &(&coarse * 0.9)).unwrap();
    image_file::save_tiff16(&at("scans/a2.tif"), &(&coarse * 0.8)).unwrap();
    image_file::save_png8(&at("small.png"), &reference.narrow(2, 0, 5).narrow(3, 0, 5)).unwrap();
    image_file::save_png8(&at("tiny.png"), &reference.narrow(2, 0, 16).narrow(3, 0, 16)).unwrap();
    image_file::save_png8(&at("flat.png"), &Tensor::full([1, 1, 40, 40], 0.5, (Kind::Float, Device::Cpu)))
        .unwrap();
    let nan = coarse.copy();
    let _ = nan.narrow(2, 3, 1).narrow(3, 4, 1).fill_(f64::NAN);
    image_file::save_tiff_f32(&at("nan.tif"), &nan).unwrap();
    npy_file::save(&at("volume.npy"), &Seed::new(1).at("v", 0).uniform(&[8, 16, 16])).unwrap();
    npy_file::save(&at("sinogram.npy"), &Seed::new(1).at("v", 0).uniform(&[24, 30])).unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::write(at("text.txt"), "no image").unwrap();
    std::fs::write(at("nothing.png"), "").unwrap();
    std::fs::write(at("taken.tif"), "mine").unwrap();
    std::fs::write(at("key.toml"), "[problem.superresolution]\nstride = 2\nnois = 0.01\n").unwrap();
    std::fs::write(
        at("range.toml"),
        "[problem.superresolution]\nstride = 2\n\n[methods.patchnr]\ndescent = { iterations = 0 }\n",
    )
    .unwrap();
    std::fs::write(at("syntax.toml"), "[problem.superresolution\n").unwrap();
    std::fs::write(at("section.toml"), "[method.tv]\niterations = 2\n").unwrap();
    root
}

/// A drawn microstructure.
pub(crate) fn drawn(side: i64, seed: u64) -> Tensor {
    microstructure(side, side, Seed::new(seed), 0).unwrap()
}

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smalti"));
    command.current_dir(folder).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// What a command that succeeds prints on standard output.
pub(crate) fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    out
}

/// The JSON object that a command that succeeds prints, and nothing else.
pub(crate) fn answer(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let out = done(folder, &[arguments, &["--json"]].concat());
    assert_eq!(out.trim_end().lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A patchNR that learns in a second.
pub(crate) const TINY: [&str; 14] = [
    "--set",
    "patchnr.flow.hidden=8",
    "--set",
    "patchnr.flow.blocks=1",
    "--set",
    "patchnr.flow.training.steps=20",
    "--set",
    "patchnr.flow.training.warmup_steps=0",
    "--set",
    "patchnr.flow.training.batch=16",
    "--set",
    "patchnr.flow.training.validation_every=10",
    "--set",
    "patchnr.descent.iterations=5",
];
