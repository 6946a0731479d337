//! A peer: a child process that does one timed run for every line that it reads.

use crate::answer::Answer;
use crate::children::{Children, Running};
use serde::Deserialize;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command};

/// The scripts of the peers, which stand in this program: it needs no folder of ours at run time.
const SCRIPTS: [(&str, &str); 8] = [
    ("protocol.py", include_str!("../peers/protocol.py")),
    ("patchnr_flow.py", include_str!("../peers/patchnr_flow.py")),
    ("patchnr_grad.py", include_str!("../peers/patchnr_grad.py")),
    ("patchnr_curve.py", include_str!("../peers/patchnr_curve.py")),
    ("patchnr_train.py", include_str!("../peers/patchnr_train.py")),
    ("transport.py", include_str!("../peers/transport.py")),
    ("exact_transport.py", include_str!("../peers/exact_transport.py")),
    ("radon.py", include_str!("../peers/radon.py")),
];

/// One line with what is wrong with a peer; not an error of ours.
pub type Reason = String;

/// A peer of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSpec {
    /// Its name in the table, e.g. `pytorch-frozen`.
    pub name: &'static str,
    /// Its script.
    pub script: &'static str,
    /// What the script gets after the inputs.
    pub arguments: Vec<String>,
}

/// What all peers of a run have in common.
#[derive(Debug)]
pub struct Host {
    /// The Python to run them with.
    pub python: OsString,
    /// A folder for scripts, inputs and messages, which is removed at the end.
    pub folder: PathBuf,
    /// Threads that a peer may use.
    pub threads: usize,
    /// The processes.
    pub children: Children,
}

impl Host {
    /// Writes the scripts into the folder.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write_scripts(&self) -> smalti_base::Result<()> {
        SCRIPTS.iter().try_for_each(|(name, text)| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(|e| smalti_base::Error::file(&path, "writing", e))
        })
    }
}

/// The first line of a peer, after its first run, which is not timed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    ready: String,
}

/// A peer that is loaded and warm.
#[derive(Debug)]
pub struct Peer {
    /// Ends the process when the peer is dropped.
    _running: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    errors: PathBuf,
    /// The versions of what it stands on, in words.
    pub versions: String,
}

impl Peer {
    /// Starts a peer on a file of inputs and waits until it is ready.
    ///
    /// # Errors
    /// Why it cannot run here.
    pub fn start(host: &Host, spec: &PeerSpec, inputs: &Path) -> Result<Self, Reason> {
        let errors = host.folder.join(format!("{}.stderr", spec.name));
        let stderr = File::create(&errors).map_err(|e| format!("no file for its messages: {e}"))?;
        let mut command = Command::new(&host.python);
        command.arg(host.folder.join(spec.script)).arg(inputs).arg(host.threads.to_string());
        command.args(&spec.arguments).stderr(stderr);
        let (running, stdin, stdout) = host.children.start(command).map_err(|e| {
            let python = host.python.to_string_lossy();
            match e.kind() {
                io::ErrorKind::NotFound => format!("no {python} in PATH; install Python 3.10 or newer"),
                _ => format!("{python} cannot be started: {e}"),
            }
        })?;
        let stdout = BufReader::new(stdout);
        let mut peer = Self { _running: running, stdin, stdout, errors, versions: String::new() };
        peer.versions = peer.read::<Ready>()?.ready;
        Ok(peer)
    }

    /// One timed run.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn run(&mut self) -> Result<Answer, Reason> {
        // Where the peer is gone, its last words say more than a broken pipe does.
        let _ = self.stdin.write_all(b"run\n").and_then(|()| self.stdin.flush());
        let answer: Answer = self.read()?;
        if answer.seconds > 0.0 { Ok(answer) } else { Err(format!("answered {} seconds", answer.seconds)) }
    }

    fn read<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, Reason> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(0) => Err(self.last_words()),
            Ok(_) => serde_json::from_str(&line).map_err(|e| format!("answered `{}` ({e})", line.trim())),
            Err(e) => Err(format!("cannot be heard: {e}")),
        }
    }

    /// Why the peer ended: the last line that it wrote to its standard error.
    fn last_words(&self) -> Reason {
        let errors = fs::read(&self.errors).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        match errors.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) if line.starts_with("ModuleNotFoundError") => {
                format!("{}; `cargo xtask bench-peers` installs what peers need", line.trim())
            }
            Some(line) => format!("ended, saying: {}", line.trim()),
            None => "ended without a word (perhaps out of memory; try a smaller --patches)".to_owned(),
        }
    }
}
