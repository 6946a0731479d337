//! The experiment on volumes: what its file must hold, and what it writes.
#![allow(clippy::unwrap_used)]

use smalti_tables::experiment::{Experiment, ExperimentKind, ProfileName};
use std::process::Command;

const TEXT: &str = include_str!("../../../../experiments/superres_volume.toml");

fn parse(text: &str) -> Result<Experiment, String> {
    Experiment::parse("volume", "volume.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_shipped_file_is_right_and_its_parts_are_needed() {
    let experiment = parse(TEXT).unwrap();
    assert_eq!(experiment.kind, ExperimentKind::Volume);
    for profile in [ProfileName::Smoke, ProfileName::Quick, ProfileName::Paper] {
        let volume = experiment.profile(profile).volume.as_ref().unwrap();
        // Nothing is scored that a prior or a setting was chosen on.
        assert!(!volume.volumes.contains(&experiment.data.reference));
        assert!(!volume.volumes.contains(&experiment.data.validation));
    }
    let refused = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        parse(&TEXT.replacen(from, to, 1)).unwrap_err()
    };
    assert!(refused("form = \"valid\"", "form = \"reflect\"").contains("volumes need form"));
    assert!(refused("size = 20", "").contains("no size of the volumes"));
    assert!(refused("grain = 10.0", "grain = 1.0").contains("profile.smoke.volume.grain"));
    assert!(refused("patch_size = 4", "patch_size = 99").contains("patch_size"));
    assert!(refused("kind = \"volume\"", "kind = \"superresolution\"").contains("sets"));
    assert!(refused("volumes = [\"volume/test1\"]", "volumes = []").contains("volumes"));
}

#[test]
fn every_row_says_that_the_volumes_are_synthetic() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("experiments")).unwrap();
    std::fs::write(root.path().join("experiments/small.toml"), TEXT).unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smalti-tables"));
        command.current_dir(root.path()).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
        let output = command.args(["--profile", "smoke", "--device", "cpu"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let folder = root.path().join("results/small/smoke");
        let report = std::fs::read_to_string(folder.join("report.html")).unwrap();
        assert!(report.contains("nothing was measured") && report.contains("tricubic"));
        std::fs::read_to_string(folder.join("table.csv")).unwrap()
    };
    let table = run();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["tricubic", "tv", "wpp"]);
    for row in &rows {
        assert!(row.contains(&"volume/test1 (synthetic volume)"), "{row:?}");
        let psnr: f64 = row[2].parse().unwrap();
        assert!((14.0..40.0).contains(&psnr), "{row:?}");
    }
    let figures = |table: &str| -> Vec<String> {
        table.lines().map(|row| row.split(',').take(6).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(figures(&table), figures(&run()), "the same seed gives the same table");
}
