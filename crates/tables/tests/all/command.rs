//! The command: what it writes, and how it says what is wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// A folder with an experiment of one bicubic row.
fn checkout() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let methods = r#"methods = ["bicubic", "l2_tv", "epll", "alr", "patchnr", "wpp", "dpir"], published = "example", show = 1 }]"#;
    assert!(TEXT.contains(methods));
    let text = TEXT.replace(methods, r#"methods = ["bicubic"], published = "example", show = 1 }]"#);
    std::fs::create_dir(root.path().join("experiments")).unwrap();
    std::fs::write(root.path().join("experiments/small.toml"), text).unwrap();
    root
}

fn smalti_tables(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smalti-tables"));
    command.current_dir(folder).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
    command
        .args(["--profile", "smoke", "--device", "cpu", "--threads", "1"])
        .args(arguments)
        .output()
        .unwrap()
}

/// The one line on standard error of a command that failed with exit code 1.
fn complaint(folder: &Path, arguments: &[&str]) -> String {
    let output = smalti_tables(folder, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn the_same_seed_gives_the_same_table() {
    let root = checkout();
    let table = |seed: &str| {
        let output = smalti_tables(root.path(), &["--seed", seed]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.starts_with("Data: the built-in synthetic microstructures"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "no escape codes where the output is no terminal: {shown:?}");
        let folder = root.path().join("results/small/smoke");
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["images", "report.html", "run.toml", "table.csv", "table.md"]);
        let csv = std::fs::read_to_string(folder.join("table.csv")).unwrap();
        let row = csv.lines().nth(1).unwrap();
        assert!(row.starts_with("bicubic,1,") && row.ends_with(",synthetic/test (synthetic),"), "{row}");
        row.split(',').take(5).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = table("1");
    assert_eq!(first, table("1"));
    assert_ne!(first, table("2"), "another seed is another noise");
    let psnr: f64 = first[2].parse().unwrap();
    // Interpolation with pixel centres aside loses several dB.
    assert!((psnr - 25.56).abs() < 0.5, "{psnr}");
}

#[test]
fn mistakes_are_one_line_and_exit_code_1() {
    let root = checkout();
    let text = complaint(root.path(), &["--experiment", "smoll"]);
    assert!(text.contains("one of small, got \"smoll\"") && text.lines().count() == 1, "{text}");
    let text = complaint(root.path(), &["--data", "nowhere"]);
    assert!(
        text.contains("nowhere/sic/ref.png: there is no such file") && text.lines().count() == 1,
        "{text}"
    );
    std::fs::write(root.path().join("file"), "").unwrap();
    let text = complaint(root.path(), &["--out", "file"]);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("error: file/small/smoke: writing failed"), "{text}");
    assert!(!root.path().join("results").exists());
    let path = root.path().join("experiments/small.toml");
    std::fs::write(&path, TEXT.replace("crop = 40", "corp = 40")).unwrap();
    let text = complaint(root.path(), &[]);
    assert!(
        text.starts_with("error: ") && text.contains("small.toml:19:1") && text.contains("^^^^"),
        "{text}"
    );
    std::fs::remove_file(path).unwrap();
    let text = complaint(root.path(), &[]);
    assert!(text.contains("experiments/") && text.lines().count() == 1, "{text}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let root = checkout();
    for wrong in
        [["--profile", "fast"], ["--device", "gpu"], ["--threads", "0"], ["--seed", "x"], ["--bogus", "1"]]
    {
        let output = smalti_tables(root.path(), &wrong);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {text}");
    }
}
