//! Why a command stopped: one line for the user, and the exit code.

use std::{fmt, io, path::Path};

/// What a command of xtask gives.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// One line with the remedy, and the exit code that the process ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The line; none where a child has already said what was wrong.
    pub(crate) message: Option<String>,
    /// 1 for our own errors, 2 for usage, a failing child's own code.
    pub(crate) code: u8,
}

impl Failure {
    /// An error of ours (exit code 1).
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code: 1 }
    }

    /// A wrong argument (exit code 2).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code: 2 }
    }

    /// A child that failed and has said why.
    pub(crate) fn child(code: u8) -> Self {
        Self { message: None, code }
    }

    /// A file that could not be read or written, with the remedy worded from the system's answer.
    pub(crate) fn file(path: &Path, doing: &str, source: &io::Error) -> Self {
        use io::ErrorKind as K;
        let remedy = match source.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied | K::ReadOnlyFilesystem => "check the permissions of the folder",
            K::StorageFull | K::QuotaExceeded => "free some space on the disk",
            _ => "check the path and the disk",
        };
        Self::new(format!("{}: {doing} failed: {source}; {remedy}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => f.write_str(message),
            None => write!(f, "exit code {}", self.code),
        }
    }
}
