//! The protocol between us and a peer, with peers that are shell scripts.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{answering, is_alive, program, wait_for};
use smalti_base::{Error, Result};
use smalti_bench::answer::Answer;
use smalti_bench::children::Children;
use smalti_bench::compare::{Comparison, Outcome, Row, compare};
use smalti_bench::peer::{Host, PeerSpec};
use std::fs;
use std::path::Path;

fn host(folder: &Path, python: &Path) -> Host {
    Host { python: python.into(), folder: folder.into(), threads: 3, children: Children::default() }
}

/// A comparison in which we take half a second for value 8 and gradient norm 2, and log every run.
fn comparison(folder: &Path) -> Comparison {
    let log = folder.join("log");
    let ours = move |k| {
        let so_far = fs::read_to_string(&log).unwrap_or_default();
        fs::write(&log, format!("{so_far}ours {k}\n")).unwrap();
        let values = [("value".to_owned(), 8.0), ("gradient norm".to_owned(), 2.0)];
        Ok(Answer { seconds: 0.5, values: values.into() })
    };
    Comparison {
        name: "task",
        size: "small".into(),
        tolerance: 1e-3,
        inputs: folder.join("inputs"),
        ours: Box::new(ours),
        peers: vec![PeerSpec { name: "fake", script: "script.py", arguments: vec!["frozen".into()] }],
    }
}

fn run(folder: &Path, script: &str) -> Result<Vec<Row>> {
    let python = program(folder, "python", script);
    let host = host(folder, &python);
    let rows = compare(comparison(folder), &host, 2);
    assert_eq!(host.children.alive(), 0, "a peer outlives its comparison");
    rows
}

fn outcome(script: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = run(folder.path(), script).unwrap();
    assert_eq!((rows.len(), rows[0].ours, rows[0].peer), (1, 0.5, "fake"));
    rows.remove(0).outcome
}

fn reason(script: &str) -> String {
    match outcome(script) {
        Outcome::Missing(reason) => reason,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn the_sides_take_turns_and_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let answer = r#"{"seconds": 0.25, "values": {"value": 8.004, "gradient norm": 2}}"#;
    let script = format!(
        "cd '{}'; echo \"$@\" > arguments; echo ready >> log; echo '{{\"ready\": \"fake 1.0\"}}'\n\
         while read line; do echo \"theirs $line\" >> log; echo '{answer}'; done",
        folder.path().display()
    );
    let rows = run(folder.path(), &script).unwrap();
    let order = "ours 0\nready\nours 1\ntheirs run\nours 2\ntheirs run\n";
    assert_eq!(fs::read_to_string(log).unwrap(), order);
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    let path = folder.path().display();
    assert_eq!(arguments, format!("{path}/script.py {path}/inputs 3 frozen\n"));
    let Outcome::Agrees { seconds, deviation, versions } = &rows[0].outcome else {
        unreachable!("{rows:?}");
    };
    assert_eq!((*seconds, versions.as_str(), rows[0].ratio()), (0.25, "fake 1.0", Some(2.0)));
    assert!((deviation - 0.004 / 8.004).abs() < 1e-12);
}

#[test]
fn other_values_are_no_comparison() {
    for script in [answering("8.1", "2"), answering("8", "2.1"), answering("-8", "2")] {
        assert!(matches!(outcome(&script), Outcome::Disagrees { seconds: 0.25, .. }), "{script}");
    }
    let Outcome::Disagrees { values, .. } = outcome(&answering("8", "3")) else { unreachable!() };
    assert!(
        values.contains("ours gradient norm 2.000000") && values.contains("theirs gradient norm 3.000000")
    );
    let one = r#"echo '{"ready": ""}'; while read l; do echo '{"seconds": 1, "values": {"value": 8}}'; done"#;
    assert!(matches!(outcome(one), Outcome::Disagrees { .. }));
}

#[test]
fn a_peer_that_cannot_run_says_why() {
    let no_module = "echo 'Traceback' >&2; echo \"ModuleNotFoundError: No module named 'FrEIA'\" >&2; exit 1";
    let line = reason(no_module);
    assert!(
        line.starts_with("ModuleNotFoundError: No module named 'FrEIA'; `cargo xtask bench-peers`"),
        "{line}"
    );
    assert_eq!(reason("echo 'needs torch 2' >&2; exit 1"), "ended, saying: needs torch 2");
    assert!(reason("exit 1").starts_with("ended without a word"));
    let in_a_run = "echo '{\"ready\": \"\"}'; read line; echo 'out of memory' >&2";
    assert_eq!(reason(in_a_run), "ended, saying: out of memory");
    assert!(reason("echo hello; cat").starts_with("answered `hello`"));
    assert!(
        reason(r#"echo '{"ready": ""}'; read l; echo '{"seconds": 0, "values": {}}'; cat"#).contains("0 s")
    );
}

#[test]
fn no_python_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let rows =
        compare(comparison(folder.path()), &host(folder.path(), Path::new("no-such-python")), 1).unwrap();
    let missing = "no no-such-python in PATH; install Python 3.10 or newer";
    assert_eq!(rows[0].outcome, Outcome::Missing(missing.into()));
}

#[test]
fn a_stop_ends_a_peer_in_the_middle_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script =
        format!("echo '{{\"ready\": \"\"}}'; read line; echo $$ > '{}'; exec sleep 600", pid.display());
    let host = host(folder.path(), &program(folder.path(), "python", &script));
    let children = host.children.clone();
    let stopper = std::thread::spawn(move || {
        let number = wait_for(&pid);
        assert!(is_alive(&number));
        children.stop();
        number
    });
    let result = compare(comparison(folder.path()), &host, 2);
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    assert!(!is_alive(&stopper.join().unwrap()));
    assert!(host.children.start(std::process::Command::new("true")).is_err(), "started after the stop");
}
