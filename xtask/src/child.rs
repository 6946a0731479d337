//! Every process that xtask starts, in one place: its environment, Ctrl-C and its exit code.

use crate::failure::{Failure, Result};
use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

/// A cargo command, as the user's shell would start it: without the variables that `cargo run` gave to xtask.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(given_by_cargo_run) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether a variable describes the package that `cargo run` runs, i.e. xtask.
fn given_by_cargo_run(name: &str) -> bool {
    let exact = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_") || exact.contains(&name)
}

/// Runs a child to its end; its exit code becomes ours where it fails.
///
/// Ctrl-C in a terminal reaches the child directly. xtask only waits for it, so that the child can save its
/// state, and then stops too.
pub(crate) fn run(command: &mut Command) -> Result {
    finished(wait(command)?)
}

/// As [`run`], but gives back how the child ended and what it wrote to its standard error, which the user sees
/// too where `show` says so.
pub(crate) fn run_listening(command: &mut Command, show: bool) -> Result<(ExitStatus, String)> {
    survive_interrupts();
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|e| cannot_start(command, &e))?;
    let mut heard = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if show {
                let _ = io::stderr().write_all(&line);
            }
            heard.append(&mut line);
        }
    }
    let status = child.wait().map_err(|e| cannot_start(command, &e))?;
    interrupted()?;
    Ok((status, String::from_utf8_lossy(&heard).into_owned()))
}

/// The standard output of a short, silent child.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().map_err(|e| cannot_start(command, &e))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Failure::new(format!("{} failed: {}", name(command), last_line(&said))))
}

/// The last line that says something.
pub(crate) fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message")
}

/// Replaces xtask by the command, which then owns the terminal, Ctrl-C and the exit code; only returns where
/// the command cannot be started.
pub(crate) fn replace(mut command: Command) -> Failure {
    let error = command.exec();
    cannot_start(&command, &error)
}

fn wait(command: &mut Command) -> Result<ExitStatus> {
    survive_interrupts();
    let status = command.status().map_err(|e| cannot_start(command, &e))?;
    interrupted()?;
    Ok(status)
}

/// The child's exit code, or 128 + signal as shells count it.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

fn finished(status: ExitStatus) -> Result {
    if status.success() { Ok(()) } else { Err(Failure::child(code(status))) }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!(
        "{} cannot be started: {error}; check that it is installed and in PATH",
        name(command)
    ))
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Keeps xtask alive on Ctrl-C while a child decides what to do with it. A handler, not "ignore": an ignored
/// signal would be inherited by the child.
fn survive_interrupts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where no handler can be set, Ctrl-C ends xtask as it would by default.
        let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst));
    });
}

fn interrupted() -> Result {
    if INTERRUPTED.load(Ordering::SeqCst) {
        return Err(Failure { message: Some("interrupted".into()), code: 130 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_exit_code_of_a_child_is_passed_on() {
        run(&mut shell("exit 0")).unwrap();
        assert_eq!(run(&mut shell("exit 42")).unwrap_err().code, 42);
        assert_eq!(run(&mut shell("kill -9 $$")).unwrap_err().code, 137);
    }

    #[test]
    fn a_missing_program_is_named_with_the_remedy() {
        let failure = run(&mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(failure.code, 1);
        let line = failure.to_string();
        assert!(line.starts_with("no-such-program cannot be started") && line.contains("PATH"), "{line}");
    }

    #[test]
    fn standard_error_is_heard() {
        let (status, heard) = run_listening(&mut shell("echo one >&2; echo two >&2; exit 3"), false).unwrap();
        assert_eq!((code(status), heard.as_str()), (3, "one\ntwo\n"));
    }

    #[test]
    fn output_is_given_or_the_last_line_of_the_error() {
        assert_eq!(output(&mut shell("echo yes")).unwrap(), "yes\n");
        let failure = output(&mut shell("echo first >&2; echo last >&2; exit 1")).unwrap_err();
        assert_eq!(failure.to_string(), "sh failed: last");
    }

    #[test]
    fn only_the_variables_of_cargo_run_are_taken_away() {
        assert!(given_by_cargo_run("CARGO_PKG_NAME") && given_by_cargo_run("CARGO_MANIFEST_DIR"));
        assert!(!given_by_cargo_run("CARGO_TARGET_DIR") && !given_by_cargo_run("CARGO_HOME"));
    }
}
