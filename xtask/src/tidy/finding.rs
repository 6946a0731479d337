//! What a check finds.

use std::fmt;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    /// The file or package.
    pub(super) place: String,
    /// The line, counted from 1, where there is one.
    pub(super) line: Option<usize>,
    /// What is wrong, and what would be right.
    pub(super) problem: String,
}

impl Finding {
    pub(super) fn new(place: impl ToString, problem: impl Into<String>) -> Self {
        Self { place: place.to_string(), line: None, problem: problem.into() }
    }

    pub(super) fn at(place: impl ToString, line: usize, problem: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::new(place, problem) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.problem),
            None => write!(f, "{}: {}", self.place, self.problem),
        }
    }
}
