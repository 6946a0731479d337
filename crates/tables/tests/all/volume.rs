//! The experiment on volumes: what its file must hold, and what it writes.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_tables::experiment::{Experiment, ProfileName};
use std::path::Path;
use std::process::{Command, Output};

const TEXT: &str = include_str!("../../../../experiments/superres_volume.toml");

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse("volume", "volume.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_shipped_file_is_right_and_its_parts_are_needed() {
    let experiment = parse(TEXT).unwrap();
    for profile in [ProfileName::Smoke, ProfileName::Quick, ProfileName::Paper] {
        let profile = experiment.profile(profile);
        let (data, volumes) = (&profile.scenes[0].data, &profile.sets[0].images);
        // Nothing is scored that a prior or a setting was chosen on.
        assert!(!volumes.iter().any(|name| data.references.contains(name)));
        assert!(!volumes.contains(data.validation.as_ref().unwrap()));
    }
    let refused = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        parse(&TEXT.replacen(from, to, 1)).map(|_| ()).unwrap_err()
    };
    assert!(refused("problem.volume.size = 20", "problem.volume.sizes = 20").contains("sizes"));
    assert!(refused("size = 20", "size = 21").contains("21 is not a multiple of the stride 2"));
    assert!(refused("size = 20", "size = 16").contains("a crop of 5 leaves too little of 16 voxels"));
    assert!(refused("grain = 10.0", "grain = 1.0").contains("profile.smoke.problem.volume.grain"));
    assert!(refused("patch_size = 4", "patch_size = 99").contains("patch_size"));
    assert!(refused("border = 2", "border = -1").contains("profile.smoke.methods.wpp.border"));
    let line = refused("method = \"bicubic\"", "method = \"fbp\"");
    assert!(line.contains("fbp makes no sense here: needs projections"), "{line}");
    assert!(refused("images = [\"volume/test1\"]", "images = []").contains("images"));
    // A patch that does not fit all scales is found before anything is computed.
    let line = refused("scales = 2", "scales = 4");
    assert!(line.contains("4 x 4 x 4 on all 4 scales"), "{line}");
}

#[test]
fn every_row_says_that_the_volumes_are_synthetic() {
    let root = tempfile::tempdir().unwrap();
    let table = run(root.path(), TEXT);
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["tricubic", "tv", "wpp"]);
    for row in &rows {
        assert!(row.contains(&"volume/test1 (synthetic volume)"), "{row:?}");
    }
    let psnr: Vec<f64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    // Ten steps of the patch prior lead away from the start, but not yet to a better image: see the next test.
    let [tricubic, tv, wpp] = psnr[..] else { panic!("{psnr:?}") };
    assert!(tv > tricubic + 1.0 && (wpp - tricubic).abs() > 0.4, "{psnr:?}");
    let figures = |table: &str| -> Vec<String> {
        table.lines().map(|row| row.split(',').take(6).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(figures(&table), figures(&run(root.path(), TEXT)), "the same seed gives the same table");
}

/// A volume of 28 voxels a side with about a hundred grains: 28.2 dB and SSIM 0.873 (total variation 27.7 dB and 0.842,
/// interpolation 26.0 dB).
#[test]
fn the_patch_prior_is_better_than_interpolation_and_total_variation() {
    let mut text = TEXT.to_owned();
    for (from, to) in [
        ("size = 20 ", "size = 28 "),
        ("reference_size = 28", "reference_size = 44"),
        ("grain = 10.0", "grain = 6.0"),
        // Those of the total variation, then those of the patch prior.
        ("iterations = 30,", "iterations = 200,"),
        ("iterations = 10,", "iterations = 60,"),
        ("weight = { mean = 8.0 }\nborder = 2", "weight = { mean = 16.0 }\nborder = 3"),
        ("scales = 2", "scales = 1"),
        ("references = 500", "references = 1_000"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let root = tempfile::tempdir().unwrap();
    let table = run(root.path(), &text);
    let figure = |row: usize, column: usize| -> f64 {
        table.lines().nth(row).unwrap().split(',').nth(column).unwrap().parse().unwrap()
    };
    let [tricubic, tv, wpp] = [1, 2, 3].map(|row| (figure(row, 2), figure(row, 4)));
    println!("{tricubic:?} {tv:?} {wpp:?}");
    assert!(tv.0 > tricubic.0 + 1.0 && wpp.0 > tricubic.0 + 1.5, "{table}");
    assert!(wpp.0 > tv.0 && wpp.1 > tv.1 + 0.015, "{table}");
}

#[test]
fn a_reference_with_too_few_patches_is_refused_before_anything_is_computed() {
    let root = tempfile::tempdir().unwrap();
    let output = output(root.path(), &TEXT.replacen("reference_size = 28", "reference_size = 20", 1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("at most the 216 there are"), "{message}");
    assert!(!message.contains("PSNR") && !message.contains("panicked"), "{message}");
}

/// The table of the profile `smoke`, as CSV.
fn run(root: &Path, text: &str) -> String {
    let output = output(root, text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = root.join("results/small/smoke");
    let report = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(report.contains("nothing was measured") && report.contains("tricubic"));
    std::fs::read_to_string(folder.join("table.csv")).unwrap()
}

/// What the program says to the profile `smoke` of the experiment `text`.
fn output(root: &Path, text: &str) -> Output {
    std::fs::create_dir_all(root.join("experiments")).unwrap();
    std::fs::write(root.join("experiments/small.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smalti-tables"));
    command.current_dir(root).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
    command.args(["--profile", "smoke", "--device", "cpu"]).output().unwrap()
}
