//! Real processes that are ended, cut off from their terminal, or asked for what they cannot do: nothing is lost or half-written,
//! and what can be known is said before the work.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::bad_input::{checkout, command};
use smalti_base::{Seed, image_file};
use smalti_methods::synthetic::microstructure;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The rows of the smoke profile.
const ROWS: &str = r#"methods = ["bicubic", "l2_tv", "epll", "alr", "patchnr", "wpp", "dpir"], published = "example", show = 1 }]"#;

fn with_rows(text: &str, rows: &str) -> String {
    assert!(text.contains(ROWS));
    text.replace(ROWS, &format!(r#"methods = [{rows}], published = "example", show = 1 }}]"#))
}

/// An experiment of a second.
fn quick(text: &str) -> String {
    with_rows(text, r#""bicubic""#)
}

/// An experiment whose first training would take hours.
fn endless(text: &str) -> String {
    with_rows(text, r#""patchnr""#).replacen("steps = 1_000\n", "steps = 10_000_000\n", 1)
}

/// Adds the quick experiment under another name.
fn add_second(root: &Path, edit: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(root.join("experiments/small.toml")).unwrap();
    std::fs::write(root.join("experiments/two.toml"), edit(&text)).unwrap();
}

/// A process whose standard error is read line by line.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    told: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, told: Vec::new() }
    }

    /// Reads until it says `what`.
    fn says(&mut self, what: &str) {
        for line in self.lines.by_ref() {
            self.told.push(line.unwrap());
            if self.told.last().unwrap().contains(what) {
                return;
            }
        }
        panic!("it never said {what}: {:#?}", self.told);
    }

    fn signal(&self, name: &str) {
        let (signal, id) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([signal, id]).status().unwrap().success());
    }

    /// The exit code, none where a signal has ended it, and all that it said.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        for line in self.lines.by_ref() {
            self.told.push(line.unwrap());
        }
        (self.child.wait().unwrap().code(), self.told)
    }
}

/// Every file within `folder` with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    all
}

fn states(folder: &Path) -> Vec<String> {
    let names = contents(&folder.join("state")).into_keys();
    names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn no_panic(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked") && output.status.code() != Some(101), "{:?} {text}", output.status);
    text
}

#[test]
fn every_signal_to_end_keeps_the_state() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let root = checkout(endless);
        let mut run = Running::start(command(root.path(), &["--data", "images"]));
        run.says("kept in");
        run.signal(signal);
        let (ended, told) = run.end();
        assert_eq!(ended, Some(code), "{told:?}");
        let [.., kept, last] = &told[..] else { panic!("{told:?}") };
        assert!(kept.contains("kept in") && last.contains("the same command goes on from there"), "{told:?}");
        let state = states(&root.path().join("results/small/smoke"));
        assert!(state.iter().any(|name| name.starts_with("patchnr-training-")), "{state:?}");
        assert!(told.iter().filter(|line| line.contains("kept in")).count() > 1, "{told:?}");
        assert_eq!(names(&root.path().join("results/small")), ["smoke"], "nothing hidden stays");
    }
}

/// As `nohup` starts it.
#[test]
fn a_hangup_that_is_to_be_ignored_is_ignored() {
    let root = checkout(endless);
    let inner = command(root.path(), &["--data", "images"]);
    let mut shell = Command::new("sh");
    shell.current_dir(root.path()).args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    shell.arg(inner.get_program()).args(inner.get_args()).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
    let mut run = Running::start(shell);
    run.says("profile smoke");
    run.signal("HUP");
    run.says("kept in");
    run.signal("TERM");
    assert_eq!(run.end().0, Some(143));
}

/// The first state is kept after five seconds. A second process is told who is at work, and what it is told is over when that is.
#[test]
fn a_killed_process_leaves_its_first_state_and_no_lock() {
    let root = checkout(endless);
    let arguments = ["--data", "images"];
    let clock = Instant::now();
    let mut first = Running::start(command(root.path(), &arguments));
    first.says("profile smoke");
    let second = command(root.path(), &arguments).output().unwrap();
    let told = no_panic(&second);
    assert_eq!(second.status.code(), Some(1), "{told}");
    let holder = format!("error: results/small/smoke: is in use by process {}", first.child.id());
    assert!(told.starts_with(&holder) && told.lines().count() == 1, "{told}");
    // Another profile's or experiment's results are in nobody's way, but a command begins all or nothing.
    first.says("kept in");
    assert!(clock.elapsed() < Duration::from_secs(40), "{:?}", clock.elapsed());
    first.signal("KILL");
    assert_eq!(first.end().0, None);
    assert!(names(&root.path().join("results/small")).iter().any(|name| name.starts_with(".smoke.")));
    let mut third = Running::start(command(root.path(), &arguments));
    third.says("going on after step");
    third.signal("INT");
    assert_eq!(third.end().0, Some(130));
    assert_eq!(names(&root.path().join("results/small")), ["smoke"], "nothing hidden stays");
}

/// Interrupted while it reconstructs, then asked for with another seed: what the first seed has made stays to the byte, and is gone
/// on with.
#[test]
fn another_seed_overwrites_nothing() {
    let root = checkout(|text| {
        with_rows(text, r#""patchnr""#).replacen("steps = 1_000\n", "steps = 40\n", 1).replacen(
            "\ndescent = { iterations = 60,",
            "\ndescent = { iterations = 1_000_000,",
            1,
        )
    });
    let folder = root.path().join("results/small/smoke");
    let with_seed = |seed: &str| command(root.path(), &["--data", "images", "--seed", seed]);
    let interrupted = |seed: &str, at: &str| {
        let mut run = Running::start(with_seed(seed));
        run.says(at);
        run.signal("INT");
        let (code, told) = run.end();
        assert_eq!(code, Some(130), "{told:?}");
        told
    };
    interrupted("1", "patchNR of sic/test.png");
    let before = contents(&folder);
    assert!(before.keys().any(|path| path.ends_with("patchnr.safetensors")), "{:?}", before.keys());
    let told = interrupted("2", "patchNR of sic/test.png");
    let at = |what: &str| told.iter().position(|line| line.contains(what));
    let warned = at("was made with seed 1; that is kept").unwrap_or_else(|| panic!("{told:#?}"));
    assert!(warned < at("training patchNR").unwrap(), "{told:#?}");
    let after = contents(&folder);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "{:?}", after.keys());
    assert!(after.len() >= 2 * before.len(), "{:?}", after.keys());
    // Weights stand where readers look with the table that they made, not before.
    assert!(!folder.join("patchnr.safetensors").exists());
    let told = interrupted("1", "going on after step");
    assert!(!told.iter().any(|line| line.contains("training patchNR")), "{told:#?}");
}

#[test]
fn results_of_another_seed_are_told_of_and_stay_to_the_end() {
    let root = checkout(quick);
    let folder = root.path().join("results/small/smoke");
    let seed = |seed: &str| command(root.path(), &["--data", "images", "--seed", seed]).output().unwrap();
    assert!(seed("1").status.success());
    assert!(!no_panic(&seed("1")).contains("will replace"));
    let text = std::fs::read_to_string(root.path().join("experiments/small.toml")).unwrap();
    let slow = text.replace(r#"methods = ["bicubic"]"#, r#"methods = ["bicubic", "patchnr"]"#);
    std::fs::write(root.path().join("experiments/small.toml"), endless_training(&slow)).unwrap();
    let before = contents(&folder);
    let mut run = Running::start(command(root.path(), &["--data", "images", "--seed", "2"]));
    run.says("results of seed 1, which those of seed 2 will replace");
    run.says("kept in");
    run.signal("TERM");
    assert_eq!(run.end().0, Some(143));
    let after = contents(&folder);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "{:?}", after.keys());
}

fn endless_training(text: &str) -> String {
    text.replacen("steps = 1_000\n", "steps = 10_000_000\n", 1)
}

/// Closed pipes are no reason to lose the second experiment; a full device is told, after the work.
#[test]
fn closed_and_full_streams_end_nothing() {
    let root = checkout(quick);
    add_second(root.path(), str::to_owned);
    let tables = || {
        ["small", "two"].map(|name| {
            let folder = root.path().join("results").join(name);
            let there = folder.join("smoke/table.csv").exists();
            let _ = std::fs::remove_dir_all(folder);
            there
        })
    };
    let program = command(root.path(), &["--data", "images", "--experiment", "all"]);
    let shell = |script: &str| {
        let mut shell = Command::new("bash");
        shell.current_dir(root.path()).args(["-c", script, "bash"]);
        shell
            .arg(program.get_program())
            .args(program.get_args())
            .env_remove("SMALTI_DATA")
            .env_remove("RUST_LOG");
        shell.output().unwrap()
    };
    for (script, code) in [
        ("set -o pipefail; \"$@\" | true", 0),
        ("set -o pipefail; \"$@\" 2>&1 | true", 0),
        ("\"$@\" >&- 2>&-", 0),
        ("\"$@\" 2>/dev/full", 0),
        ("\"$@\" >/dev/full", 1),
        ("\"$@\" >/dev/full 2>&1", 1),
    ] {
        let output = shell(script);
        let told = no_panic(&output);
        assert_eq!(output.status.code(), Some(code), "{script}: {told}");
        assert_eq!(tables(), [true, true], "{script}: {told}");
        if script == "\"$@\" >/dev/full" {
            assert!(
                told.lines().last().unwrap().starts_with("error: standard output: writing failed"),
                "{told}"
            );
        }
    }
    // Errors keep their codes where nobody hears them.
    let output = command(root.path(), &["--experiment", "smoll"]).stderr(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let mut lost = command(root.path(), &["--experiment", "smoll"]);
    assert_eq!(lost.stderr(std::fs::File::create("/dev/full").unwrap()).status().unwrap().code(), Some(1));
}

#[test]
fn paths_need_not_be_utf_8() {
    let name = |name: &[u8]| OsString::from_vec(name.to_vec());
    let root = checkout(quick);
    let place = root.path().join(name(b"r\xe9sultats"));
    std::fs::rename(root.path().join("images"), root.path().join(name(b"donn\xe9es"))).unwrap();
    let arguments = ["--data".into(), name(b"donn\xe9es"), "--out".into(), name(b"r\xe9sultats")];
    let output = command(root.path(), &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", no_panic(&output));
    let report = std::fs::read_to_string(place.join("small/smoke/report.html")).unwrap();
    assert!(report.contains(r"r\xe9sultats"), "the command as a shell can read it");
    // The checkout itself may be called anything, and strange files may lie in it.
    std::fs::write(root.path().join("experiments").join(name(b"\xff.toml")), "kind = 'x'").unwrap();
    let inner = root.path().join(name(b"d\xe9p\xf4t"));
    std::fs::create_dir(&inner).unwrap();
    std::fs::rename(root.path().join("experiments"), inner.join("experiments")).unwrap();
    std::fs::rename(root.path().join(name(b"donn\xe9es")), inner.join("data")).unwrap();
    let output = command(&inner, &["--seed", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", no_panic(&output));
    assert!(inner.join("results/small/smoke/table.csv").exists());
    let wrong = [OsString::from("--experiment"), name(b"\xff")];
    let output = command(&inner, &wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", no_panic(&output));
}

/// The complaint of a command that must end before anything is trained or written.
fn refused(root: &Path, arguments: &[&str]) -> String {
    let clock = Instant::now();
    let output = command(root, arguments).output().unwrap();
    let told = no_panic(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(["training patchNR", "estimation", "kept in"].iter().all(|work| !told.contains(work)), "{told}");
    assert!(clock.elapsed() < Duration::from_secs(60), "{:?}", clock.elapsed());
    told.lines().last().unwrap().to_owned()
}

/// The first experiment of these would train for hours.
#[test]
fn what_is_wrong_with_a_later_experiment_is_said_before_the_first() {
    let data = ["--data", "images", "--experiment", "small", "--experiment", "two"];
    // Its folder of results cannot be made.
    let root = checkout(endless);
    add_second(root.path(), str::to_owned);
    std::fs::create_dir_all(root.path().join("results")).unwrap();
    std::fs::write(root.path().join("results/two"), "a file").unwrap();
    let line = refused(root.path(), &data);
    assert!(line.starts_with("error: results/two/smoke: writing failed"), "{line}");
    assert_eq!(names(&root.path().join("results/small")), [""; 0], "nothing hidden stays");
    std::fs::remove_file(root.path().join("results/two")).unwrap();
    // Weights of a row of it are not there, or no weights.
    let weights =
        |text: &str| text.replacen("hidden = 64\n", "hidden = 64\nweights = \"later.safetensors\"\n", 1);
    add_second(root.path(), weights);
    assert!(refused(root.path(), &data).contains("later.safetensors: reading failed"));
    std::fs::write(root.path().join("later.safetensors"), "no weights").unwrap();
    let line = refused(root.path(), &data);
    assert!(line.contains("later.safetensors") && line.contains("damaged"), "{line}");
    // Its image is too small for the crop of 40 pixels on every side.
    let size = "problem.superresolution.size = 120 # images are cut to their centre\n";
    add_second(root.path(), |text| text.replacen(size, "", 1).replace("sic/test.png", "sic/small.png"));
    let image = microstructure(84, 84, Seed::new(3), 9).unwrap();
    image_file::save_png8(&root.path().join("images/sic/small.png"), &image).unwrap();
    let line = refused(root.path(), &data);
    assert!(line.contains("sic/small.png: expected at least 87 x 87 pixels"), "{line}");
}

#[test]
fn weights_that_are_no_weights_are_said_before_any_row_trains() {
    let second = "[profile.smoke.methods.patchnr_2]\nmethod = \"patchnr\"\nweight = { mean = 0.1 }\npatches = \"all\"\n\
                  descent = { iterations = 60, learning_rate = 0.01, schedule = \"cosine\" }\n\
                  [profile.smoke.methods.patchnr_2.flow]\npatch_size = 4\nblocks = 2\nhidden = 8\nclamp = 1.6\n\
                  weights = \"later.safetensors\"\ntraining = { steps = 10, batch = 8, learning_rate = 1e-3, \
                  schedule = \"constant\", validation_every = 5 }\n";
    let root = checkout(|text| endless_training(&(with_rows(text, r#""patchnr", "patchnr_2""#) + second)));
    std::fs::write(root.path().join("later.safetensors"), "no weights").unwrap();
    assert!(refused(root.path(), &["--data", "images"]).contains("later.safetensors: is damaged"));
}

#[test]
fn a_sweep_is_refused_before_its_first_value() {
    let root = checkout(endless_training);
    let sweep = ["--data", "images", "--sweep", "patchnr.flow.training.batch=8,16"];
    std::fs::write(root.path().join("file"), "").unwrap();
    let line = refused(root.path(), &[&sweep[..], &["--out", "file"]].concat());
    assert!(line.starts_with("error: file/small/smoke-sweep: writing failed"), "{line}");
    // The last of the values does not suit the image.
    let size = "problem.superresolution.size = 120 # images are cut to their centre\n";
    let root =
        checkout(|text| text.replacen(size, "", 1).replacen("references = 500\n", "references = 5\n", 1));
    let image = microstructure(96, 136, Seed::new(3), 9).unwrap();
    image_file::save_png8(&root.path().join("images/sic/small.png"), &image).unwrap();
    let sweep = ["--data", "images", "--sweep", "wpp.scales=2,5", "--image", "sic/small.png"];
    let line = refused(root.path(), &sweep);
    assert!(
        line.contains("sic/small.png for wpp (scales)") && line.contains("got 96 x 136 pixels"),
        "{line}"
    );
    assert_eq!(names(&root.path().join("results/small")), [""; 0], "nothing hidden stays");
}

/// Where a file may have half a megabyte only, as on a disk that is nearly full.
#[test]
fn a_disk_without_room_is_said_before_the_work() {
    let root = checkout(endless);
    let inner = command(root.path(), &["--data", "images"]);
    let mut shell = Command::new("bash");
    shell.current_dir(root.path()).args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "bash"]);
    shell.arg(inner.get_program()).args(inner.get_args()).env_remove("SMALTI_DATA").env_remove("RUST_LOG");
    let output = shell.output().unwrap();
    let told = no_panic(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.starts_with("error: results/small/smoke: writing failed") && told.lines().count() == 1,
        "{told}"
    );
}

/// Runs of two seeds in turn, killed at any time: the table and what it says it was made with are of one run.
#[test]
fn killed_runs_leave_results_of_one_seed() {
    let root = checkout(quick);
    let folder = root.path().join("results/small/smoke");
    let with_seed = |seed: u32| {
        let mut command = command(root.path(), &["--data", "images", "--seed", &seed.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut rows = BTreeMap::new();
    for seed in [1, 2] {
        assert!(with_seed(seed).status().unwrap().success());
        rows.insert(seed, score(&folder));
    }
    assert_ne!(rows[&1], rows[&2]);
    let clock = Instant::now();
    assert!(with_seed(1).status().unwrap().success());
    let time = clock.elapsed();
    for k in 0..8_u32 {
        let mut child = with_seed(1 + k % 2).spawn().unwrap();
        // Most of them near the end, where results are published.
        std::thread::sleep(time.mul_f64(0.8 + 0.04 * f64::from(k)));
        let _ = child.kill();
        child.wait().unwrap();
        let made = std::fs::read_to_string(folder.join("run.toml")).unwrap();
        let seed = if made.contains("seed = 1\n") { 1 } else { 2 };
        assert_eq!(score(&folder), rows[&seed], "{made}");
    }
    assert!(with_seed(2).status().unwrap().success());
    assert_eq!(names(&root.path().join("results/small")), ["smoke"], "nothing hidden stays");
}

/// PSNR and SSIM of the only row.
fn score(folder: &Path) -> String {
    let csv = std::fs::read_to_string(folder.join("table.csv")).unwrap();
    csv.lines().nth(1).unwrap().split(',').take(5).collect::<Vec<_>>().join(",")
}
