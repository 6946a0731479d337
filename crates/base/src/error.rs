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
    #[error("{}: {doing} failed: {cause}; {remedy}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried, e.g. `reading`.
        doing: &'static str,
        /// The operating system's answer (part of the message, hence not a `source`).
        cause: std::io::Error,
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
    /// A file has a format that this build does not read or write.
    #[error("{}: is a file of the format {format}, for which smalti-base is to be built with its feature `{feature}`", path.display())]
    Feature {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// The feature of this crate that adds it.
        feature: &'static str,
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
    /// Somebody asked to stop.
    #[error("stopped on request; {kept}")]
    Cancelled {
        /// What was kept of the work, and how to go on.
        kept: String,
    },
    /// The CUDA device asked for is not there.
    #[error("device cuda:{index}: {problem}; use cpu or auto")]
    Device {
        /// Number of the device that was asked for.
        index: usize,
        /// Why it cannot be used.
        problem: String,
    },
    /// libtorch refused an operation. The message is the first line of its answer; the C++ stack trace that
    /// follows it stays in the value and is no `source`, so that no report prints it.
    #[error("libtorch: {}", first_line(.0))]
    Torch(tch::TchError),
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error)
    }
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Shape`] from anything printable; text is printed without quotes.
    pub fn shape(what: impl Into<String>, expected: impl std::fmt::Debug, got: impl std::fmt::Debug) -> Self {
        let plain = |text: String| text.trim_matches('"').to_owned();
        let (expected, got) = (plain(format!("{expected:?}")), plain(format!("{got:?}")));
        Self::Shape { what: what.into(), expected, got }
    }

    /// A [`Error::Value`] from anything printable.
    pub fn value(what: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Value { what: what.into(), expected: expected.into(), got: got.to_string() }
    }

    /// A [`Error::File`] whose remedy is worded from the operating system's answer.
    pub fn file(path: &Path, doing: &'static str, cause: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let remedy = match cause.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied | K::ReadOnlyFilesystem => "check the permissions of the folder",
            K::StorageFull | K::QuotaExceeded => "free some space on the disk or choose another folder",
            K::IsADirectory => "give a file, not a folder",
            K::NotADirectory => "a part of the path is a file, not a folder: check the path",
            _ => "check the path and the disk",
        };
        Self::File { path: path.to_owned(), doing, cause, remedy: remedy.into() }
    }

    /// A [`Error::Content`]. Line breaks and other control characters in the problem, such as names in a file can have, become spaces.
    pub fn content(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let problem = problem.into().replace(char::is_control, " ");
        Self::Content { path: path.to_owned(), problem, remedy: remedy.into() }
    }
}

/// The first line of a libtorch message: the rest is a C++ stack trace that helps no user.
pub fn first_line(error: &tch::TchError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("Internal torch error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_file_do_not_break_the_line() {
        let error = Error::content(Path::new("a.h5"), "a link leads to b\r\nc", "look");
        assert_eq!(error.to_string(), "a.h5: a link leads to b  c; look");
    }
    use std::error::Error as _;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn libtorch_errors_are_one_line() {
        let a = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let cause = a.f_matmul(&a).unwrap_err();
        assert!(cause.to_string().lines().count() > 1, "libtorch gave no stack trace to hide: {cause}");
        let error = Error::from(cause);
        let line = error.to_string();
        assert!(
            line.starts_with("libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
        assert!(error.source().is_none());
    }

    #[test]
    fn shapes_are_printed_without_quotes() {
        let error = Error::shape("x", "[B, C, H, W]", [2, 3]);
        assert_eq!(error.to_string(), "x: expected [B, C, H, W], got [2, 3]");
    }

    #[test]
    fn file_errors_carry_cause_and_remedy_once() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::file(Path::new("out.png"), "writing", full);
        assert_eq!(
            error.to_string(),
            "out.png: writing failed: no storage space; free some space on the disk or choose another folder"
        );
        assert!(error.source().is_none());
    }
}
