//! The one error type of the libraries: what was expected, what came, and the remedy.

use std::path::{Path, PathBuf};

/// What can go wrong because of data, files, settings or users.
///
/// Every message is one line and ends with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has the wrong shape, dtype or device.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// The argument or file that has the wrong shape.
        what: String,
        /// The shape that was needed.
        expected: String,
        /// The shape that came.
        got: String,
    },
    /// A setting or value lies outside of its range.
    #[error("{what}: expected {expected}, got {got}")]
    Value {
        /// The name of the setting.
        what: String,
        /// Its range.
        expected: String,
        /// The value that came.
        got: String,
    },
    /// A file could not be read or written.
    #[error("{}: {doing} failed: {source}; {remedy}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried, e.g. `reading`.
        doing: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
        /// What to do.
        remedy: String,
    },
    /// A file was read but its content cannot be used.
    #[error("{}: {problem}; {remedy}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A term became NaN or infinite.
    #[error("{term} became {value} in iteration {iteration}; lower the learning rate or look at the data")]
    NonFinite {
        /// Which term.
        term: String,
        /// In which iteration (counted from 0).
        iteration: u64,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },
    /// The device asked for is not there.
    #[error("device {asked}: {problem}; use --device cpu or auto")]
    Device {
        /// The device as written by the user.
        asked: String,
        /// Why it cannot be used.
        problem: String,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Shape`] from anything printable.
    pub fn shape(what: impl Into<String>, expected: impl std::fmt::Debug, got: impl std::fmt::Debug) -> Self {
        Self::Shape { what: what.into(), expected: format!("{expected:?}"), got: format!("{got:?}") }
    }

    /// A [`Error::Value`] from anything printable.
    pub fn value(what: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Value { what: what.into(), expected: expected.into(), got: got.to_string() }
    }

    /// A [`Error::File`] whose remedy is worded from the operating system's answer.
    pub fn file(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let remedy = match source.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied | K::ReadOnlyFilesystem => "check the permissions of the folder",
            K::StorageFull | K::QuotaExceeded => "free some space on the disk or choose another folder",
            _ => "check the path and the disk",
        };
        Self::File { path: path.to_owned(), doing, source, remedy: remedy.into() }
    }

    /// A [`Error::Content`].
    pub fn content(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// The first line of a libtorch message: the rest is a C++ stack trace that helps no user.
pub fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
