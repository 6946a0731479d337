//! From the text of an experiment file to a value whose ranges are checked, with faults that point into the text.

use super::diagnose::{Failure, FileError, Place, Source, locate, non_finite};
use garde::Validate;
use serde::de::DeserializeOwned;
use smalti_base::{Error, Result};
use std::path::Path;
use toml::de::{DeTable, Deserializer};

/// A path in the file, such as `profile.quick.size`, and what is wrong there.
pub(super) type Misfit = (String, String);

/// The kind that the text of an experiment file names.
pub(super) fn kind(text: &str) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    Some(table.get_ref().get("kind")?.get_ref().as_str()?.to_owned())
}

/// The text of the file at `path`.
///
/// # Errors
/// [`Error::File`]; [`Error::Content`] where it is not text.
pub(super) fn text(path: &Path) -> Result<String> {
    String::from_utf8(smalti_base::files::read(path)?)
        .map_err(|_| Error::content(path, "it is not UTF-8 text", "write the file as plain text"))
}

/// The name of the experiment in the file at `path`.
pub(super) fn name(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The experiment in the file at `path`, where it is of `kind`: by `parse`, which gets the name, what errors call the file, and
/// its text.
///
/// # Errors
/// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
pub(super) fn of_kind<T>(
    path: &Path,
    kind: &str,
    parse: impl FnOnce(&str, &str, &str) -> Result<T, Box<FileError>>,
) -> Result<Option<T>, Failure> {
    let text = text(path)?;
    if self::kind(&text).as_deref() != Some(kind) {
        return Ok(None);
    }
    Ok(Some(parse(&name(path), &path.display().to_string(), &text)?))
}

/// Reads `text` as a `T`, checks the ranges of its values and then, by `checked`, whether they fit together; `file` is
/// what errors call the text.
///
/// # Errors
/// [`FileError`] naming file, line and column, for: wrong syntax, an unknown or missing key, a wrong type, a value out
/// of its range, parts that do not fit together.
pub(super) fn parse<T, U>(
    file: &str,
    text: &str,
    checked: impl FnOnce(T) -> Result<U, Misfit>,
) -> Result<U, Box<FileError>>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    let source = Source { file, text };
    let spanned = DeTable::parse(text).map_err(|e| {
        source.fault(e.span().unwrap_or(0..0), e.message().trim(), "correct the syntax of the file")
    })?;
    let table = spanned.get_ref().clone();
    let at = |path: &str| locate(&table, path);
    let raw: T = serde_path_to_error::deserialize(Deserializer::from(spanned)).map_err(|e| {
        let path = e.path().to_string();
        let span = e.inner().span().unwrap_or_else(|| at(&path).span);
        let problem = match path.as_str() {
            "." => e.inner().message().to_owned(),
            _ => format!("{path}: {}", e.inner().message()),
        };
        source.fault(span, problem, "correct the name or the kind of the value")
    })?;
    let out_of_range = |path: &str, problem: &str| {
        let Place { path, span, value } = at(path);
        let got = text.get(value).unwrap_or_default().lines().next().unwrap_or_default();
        source.fault(span, format!("{path}: {problem}, got {got}"), "write a value in the range")
    };
    if let Some(path) = non_finite(&table, "") {
        return Err(out_of_range(&path, "not a finite number"));
    }
    if let Err(report) = raw.validate()
        && let Some((path, error)) = report.iter().next()
    {
        return Err(out_of_range(&path.to_string(), error.message()));
    }
    checked(raw).map_err(|(path, problem)| {
        source.fault(at(&path).span, format!("{path}: {problem}"), "make the settings fit together")
    })
}
