//! Peers that only speak the protocol.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Answers as if each run took a quarter of a second and computed `value` and `norm`.
pub(crate) fn answering(value: &str, norm: &str) -> String {
    let answer = format!(r#"{{"seconds": 0.25, "values": {{"value": {value}, "gradient norm": {norm}}}}}"#);
    format!("echo '{{\"ready\": \"fake 1.0\"}}'\nwhile read line; do echo '{answer}'; done\n")
}

/// A program `name` in `folder` to be used in place of Python: a shell script with this text.
pub(crate) fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    // Written by a process that is gone when it returns: a file that is open for writing anywhere cannot be run,
    // and the other tests of this process start children, which inherit what is open here.
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod +x \"$0\""]).arg(&path).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{text}").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    path
}

/// Whether a process with this number is there.
pub(crate) fn is_alive(pid: &str) -> bool {
    let status = Command::new("sh").args(["-c", "kill -0 \"$0\" 2>/dev/null", pid.trim()]).status();
    status.unwrap().success()
}

/// Waits for a file that holds a whole line, and reads it.
pub(crate) fn wait_for(path: &Path) -> String {
    for _ in 0..3000 {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    unreachable!("{} did not come within a minute", path.display());
}
