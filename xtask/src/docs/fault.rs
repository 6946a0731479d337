//! Documents as they are read, and what is wrong in them.

use crate::failure::{Failure, Result};
use std::{fs, path::Path};

/// The text of a document.
pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Failure::file(path, "reading", &e))
}

/// What is wrong in a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) problem: String,
}

impl Fault {
    pub(super) fn new(line: usize, problem: impl Into<String>) -> Self {
        Self { line, problem: problem.into() }
    }

    pub(super) fn of(self, file: &Path) -> Failure {
        Failure::new(format!("{}:{}: {}", file.display(), self.line, self.problem))
    }
}
