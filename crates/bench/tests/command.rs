//! The command `bench-peers` as a whole: with fake peers always, with the real ones where they are installed.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{answering, is_alive, program, wait_for};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn bench_peers(folder: &Path, python: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-peers"));
    let scratch = folder.join("scratch");
    fs::create_dir_all(&scratch).unwrap();
    command.current_dir(folder).env("TMPDIR", scratch).arg("--python").arg(python);
    command.args(["--patches", "60", "--rounds", "1", "--out", "out/peers.csv"]);
    command
}

fn lines(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("out/peers.csv")).unwrap().lines().map(str::to_owned).collect()
}

fn nothing_is_left(folder: &Path) {
    assert_eq!(fs::read_dir(folder.join("scratch")).unwrap().count(), 0);
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_peer_that_disagrees_fails_the_run_and_the_rest_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let python = program(folder.path(), "python", &answering("1e9", "1e9"));
    let mut command = bench_peers(folder.path(), &python);
    let output = command.args(["--only", "patchnr_grad_f32_130k"]).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("error: a peer computed something else"), "{err}");
    assert_eq!(out.matches("VALUES DISAGREE: ours").count(), 2, "{out}");
    let lines = lines(folder.path());
    assert_eq!(lines[0], "name,size,ours_s,peer,peer_s,ratio");
    assert!(lines[1].starts_with("patchnr_grad_f32_130k,60 of 354025 patches,0."), "{lines:?}");
    assert!(lines[1].ends_with(",pytorch-authors,0.250000,-"), "{lines:?}");
    assert!(lines[2].ends_with(",pytorch-frozen,0.250000,-"), "{lines:?}");
    assert_eq!(lines.len(), 3);
    nothing_is_left(folder.path());
}

#[test]
fn without_python_our_figures_stand_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bench_peers(folder.path(), Path::new("no-such-python"));
    let output = command.args(["--only", "patchnr_train_32"]).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(out.contains("not measured: no no-such-python in PATH"), "{out}");
    assert!(lines(folder.path())[1].ends_with(",pytorch,-,-"));
}

#[test]
fn an_unknown_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench_peers(folder.path(), Path::new("sh")).args(["--only", "patchnr"]).output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("patchnr_grad_bf16_130k"), "{err}");
}

#[test]
fn ctrl_c_leaves_no_children_and_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script =
        format!("echo '{{\"ready\": \"\"}}'; read line; echo $$ > '{}'; exec sleep 600", pid.display());
    let python = program(folder.path(), "python", &script);
    let mut command = bench_peers(folder.path(), &python);
    command.args(["--only", "patchnr_grad_f32_130k"]).stderr(Stdio::piped());
    let running = command.spawn().unwrap();
    let pid = wait_for(&pid);
    let interrupt = Command::new("sh").args(["-c", "kill -INT \"$0\"", &running.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let output = running.wait_with_output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("error: stopped on request; no file was written"), "{err}");
    assert!(!is_alive(&pid));
    assert!(!folder.path().join("out").exists());
    nothing_is_left(folder.path());
}

#[test]
fn the_real_peers_compute_what_we_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let inherited = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let folders = [root.join(".peers"), root.join(".libtorch")].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&inherited))).unwrap();
    let mut probe = Command::new("python3");
    probe
        .env("PYTHONPATH", &path)
        .args(["-c", "import FrEIA, torch; assert torch.__version__[:6] == '2.11.0'"]);
    if !probe.output().is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no FrEIA and torch 2.11.0; `cargo xtask bench-peers` installs them");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = bench_peers(folder.path(), Path::new("python3"));
    command.env("PYTHONPATH", path).args(["--only", "patchnr_grad_f32_130k", "--only", "patchnr_train_512"]);
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!(out.matches("values agree to").count(), 3, "{out}{err}");
    assert_eq!(out.matches("torch 2.11.0").count(), 3, "{out}");
}

#[test]
fn the_real_projectors_compute_what_we_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let inherited = std::env::var_os("PYTHONPATH").unwrap_or_default();
    let folders = [root.join(".peers"), root.join(".libtorch")].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&inherited))).unwrap();
    let mut probe = Command::new("python3");
    let import = "import astra, deepinv, torch; assert torch.__version__[:6] == '2.11.0'";
    if !probe.env("PYTHONPATH", &path).args(["-c", import]).output().is_ok_and(|o| o.status.success()) {
        println!("skipped: python3 has no astra and deepinv; `cargo xtask bench-peers` installs them");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = bench_peers(folder.path(), Path::new("python3"));
    command.env("PYTHONPATH", path);
    for name in ["radon_forward_362", "radon_adjoint_362", "fan_forward_362", "fan_adjoint_362"] {
        command.args(["--only", name]);
    }
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    // Of parallel beams there are two peers.
    assert_eq!(out.matches("values agree to").count(), 6, "{out}{err}");
}

#[test]
fn a_projector_that_disagrees_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let answer = r#"{"seconds": 0.25, "values": {"norm": 1e9, "1 - distance from ours": 0.9}}"#;
    let script = format!("echo '{{\"ready\": \"\"}}'; while read line; do echo '{answer}'; done");
    let python = program(folder.path(), "python", &script);
    let mut command = bench_peers(folder.path(), &python);
    let output = command.args(["--only", "radon_adjoint_362"]).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert_eq!(
        out.matches("VALUES DISAGREE: ours 1 - distance from ours 1.000000, norm").count(),
        2,
        "{out}"
    );
}
