//! From the text of an experiment file to a value whose ranges are checked, with faults that point into the text.

use super::diagnose::{Failure, FileError, Place, Source, locate, non_finite};
use super::profiles::complete_table;
use garde::Validate;
use serde::de::DeserializeOwned;
use smalti_base::{Error, Result};
use smalti_methods::registry::Fault;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// A path in the file, such as `profile.quick.size`, and what is wrong there.
pub(super) type SettingFault = (String, String);

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
    checked: impl FnOnce(T) -> Result<U, SettingFault>,
) -> Result<U, Box<FileError>>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    let file = File::parse(file, text)?;
    checked(file.whole()?).map_err(|misfit| file.misfit(misfit))
}

/// A file whose syntax is right.
pub(super) struct File<'a> {
    source: Source<'a>,
    table: Spanned<DeTable<'a>>,
}

impl<'a> File<'a> {
    /// The file with this text.
    ///
    /// # Errors
    /// [`FileError`] for wrong syntax, and for a number that is not finite.
    pub(super) fn parse(file: &'a str, text: &'a str) -> Result<Self, Box<FileError>> {
        let source = Source { file, text };
        let mut table = DeTable::parse(text).map_err(|e| {
            source.fault(e.span().unwrap_or(0..0), e.message().trim(), "correct the syntax of the file")
        })?;
        complete_table(table.get_mut());
        Ok(Self { source, table })
    }

    /// All of it as a `T` whose values are in their ranges.
    ///
    /// # Errors
    /// [`FileError`] for an unknown or missing key, a wrong type, a value out of its range.
    pub(super) fn whole<T: DeserializeOwned + Validate<Context = ()>>(&self) -> Result<T, Box<FileError>> {
        let raw: T = serde_path_to_error::deserialize(Deserializer::from(self.table.clone()))
            .map_err(|fault| self.fault_in(&[String::new()], fault))?;
        if let Some(path) = non_finite(self.table.get_ref(), "") {
            return Err(self.out_of_range(&path, "not a finite number"));
        }
        if let Err(report) = raw.validate()
            && let Some((path, error)) = report.iter().next()
        {
            return Err(self.out_of_range(&path.to_string(), error.message()));
        }
        Ok(raw)
    }

    /// The keys `keys` of the section at `path`, or all others.
    pub(super) fn keys_of(&self, path: &str, keys: &[&str], these: bool) -> Deserializer<'a> {
        let mut section = self.section(path);
        let names = section.get_ref().keys().map(|key| key.get_ref().to_string());
        let others: Vec<String> = names.filter(|name| keys.contains(&name.as_str()) != these).collect();
        for name in others {
            section.get_mut().remove(name.as_str());
        }
        Deserializer::from(section)
    }

    /// The sections at `paths` as one: what stands in the first that has a key counts.
    pub(super) fn merged(&self, paths: &[String]) -> Deserializer<'a> {
        let sections = paths.iter().rev().map(|path| self.section(path));
        let mut sections = sections.filter(|section| !section.get_ref().is_empty());
        let mut all = sections.next().unwrap_or_else(|| Spanned::new(0..0, DeTable::new()));
        for (key, value) in sections.flat_map(Spanned::into_inner) {
            // The key goes with its value, for its place in the file.
            all.get_mut().remove(key.get_ref().as_ref());
            all.get_mut().insert(key, value);
        }
        Deserializer::from(all)
    }

    /// The section at `path`, empty where there is none.
    fn section(&self, path: &str) -> Spanned<DeTable<'a>> {
        let root = Spanned::new(self.table.span(), DeValue::Table(self.table.get_ref().clone()));
        let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']'));
        let found =
            steps.filter(|step| !step.is_empty()).try_fold(root, |value, step| match value.into_inner() {
                DeValue::Table(mut table) => table.remove(step),
                DeValue::Array(array) => array.get(step.parse::<usize>().ok()?).cloned(),
                _ => None,
            });
        let nothing = || Spanned::new(0..0, DeTable::new());
        found.map_or_else(nothing, |value| match (value.span(), value.into_inner()) {
            (span, DeValue::Table(table)) => Spanned::new(span, table),
            _ => nothing(),
        })
    }

    /// The first of the sections at `paths` in which `key` is written, with the key; the last of them where it is in none.
    pub(super) fn place_of(&self, paths: &[String], key: &str) -> String {
        let join = |path: &String| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let whole = |path: &&String| {
            let full = join(path);
            locate(self.table.get_ref(), &full).path.len() >= full.trim_end_matches("[0]").len()
        };
        let path = paths.iter().find(whole).or(paths.last());
        path.map_or_else(|| key.to_owned(), join)
    }

    /// A key or value that cannot be read, within one of the sections at `paths`.
    pub(super) fn fault_in(&self, paths: &[String], fault: Fault) -> Box<FileError> {
        let within = match fault.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let path = match paths {
            [root] if root.is_empty() => within,
            _ if within.is_empty() => {
                let there = paths.iter().rev().find(|path| !self.section(path).get_ref().is_empty());
                there.or(paths.first()).cloned().unwrap_or_default()
            }
            _ => self.place_of(paths, &within),
        };
        let span = fault.inner().span().unwrap_or_else(|| locate(self.table.get_ref(), &path).span);
        let message = fault.inner().message();
        let problem = if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") };
        self.source.fault(span, problem, "correct the name or the kind of the value")
    }

    /// A value out of its range.
    pub(super) fn out_of_range(&self, path: &str, problem: &str) -> Box<FileError> {
        let Place { path, span, value } = locate(self.table.get_ref(), path);
        let got = self.source.text.get(value).unwrap_or_default().lines().next().unwrap_or_default();
        self.source.fault(span, format!("{path}: {problem}, got {got}"), "write a value in the range")
    }

    /// Parts that do not fit together.
    pub(super) fn misfit(&self, (path, problem): SettingFault) -> Box<FileError> {
        let span = locate(self.table.get_ref(), &path).span;
        self.source.fault(span, format!("{path}: {problem}"), "make the settings fit together")
    }
}
