//! What ends a command, in one line, and its exit code.

use smalti_base::Error;
use smalti_tables::experiment::FileError;

/// What ends a command.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// A file of settings is wrong; its line is shown: exit code 1.
    Settings(Box<FileError>),
    /// A method lacks something, as it says itself: exit code 1.
    Missing(String),
    /// Everything else: exit code 1, or that of the signal that asked for the end.
    Other(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<tch::TchError> for Fault {
    fn from(error: tch::TchError) -> Self {
        Self::Other(error.into())
    }
}

impl From<Box<FileError>> for Fault {
    fn from(error: Box<FileError>) -> Self {
        Self::Settings(error)
    }
}

impl Fault {
    /// For a terminal: one line, and for a file of settings the line in question with a caret.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Usage(problem) | Self::Missing(problem) => format!("error: {problem}"),
            Self::Settings(error) => error.render(),
            Self::Other(error) => format!("error: {}", error.to_string().lines().next().unwrap_or_default()),
        }
    }

    /// Whether somebody asked for the end.
    pub(crate) fn cancelled(&self) -> bool {
        matches!(self, Self::Other(Error::Cancelled { .. }))
    }

    /// The exit code where no signal has one.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Settings(_) | Self::Missing(_) | Self::Other(_) => 1,
        }
    }
}

/// A fault of the command line.
pub(crate) fn usage(problem: impl Into<String>) -> Fault {
    Fault::Usage(problem.into())
}
