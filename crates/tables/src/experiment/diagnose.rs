//! Faults in an experiment file, or another one of settings, shown with file, line and a caret under the key.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, NamedSource, SourceSpan};
use std::ops::Range;
use toml::de::{DeArray, DeTable, DeValue};

/// A fault in an experiment file.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct FileError {
    /// The file as the user named it.
    pub file: String,
    /// Line of the fault, counted from 1.
    pub line: usize,
    /// Column of the fault in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    #[help]
    remedy: String,
    #[source_code]
    source_code: NamedSource<String>,
    #[label]
    span: SourceSpan,
}

/// What stops the program before or while it runs an experiment.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A fault in an experiment file.
    #[error(transparent)]
    Experiment(#[from] Box<FileError>),
    /// Everything else.
    #[error(transparent)]
    Other(#[from] smalti_base::Error),
}

impl Failure {
    /// Whether somebody asked for the end.
    pub fn cancelled(&self) -> bool {
        matches!(self, Self::Other(smalti_base::Error::Cancelled { .. }))
    }

    /// The failure for a terminal: one line, and for an experiment file the line in question with a caret.
    pub fn render(&self) -> String {
        match self {
            Self::Other(e) => format!("error: {}", e.to_string().lines().next().unwrap_or_default()),
            Self::Experiment(e) => e.render(),
        }
    }
}

impl FileError {
    /// The fault with the line in question and a caret under the key.
    pub fn render(&self) -> String {
        let mut theme = GraphicalTheme::none();
        theme.characters.error = "error:".into();
        let mut text = String::new();
        // The first line is not broken, however long it is.
        let handler = GraphicalReportHandler::new_themed(theme).with_width(10_000);
        match handler.render_report(&mut text, self) {
            Ok(()) => text.trim().to_owned(),
            Err(_) => format!("error: {self}"),
        }
    }
}

/// The text of a TOML file, to point into.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What errors call it.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// The fault `problem` at the bytes `span` of the file.
    pub fn fault(&self, span: Range<usize>, problem: impl Into<String>, remedy: &str) -> Box<FileError> {
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        // One line is shown and underlined, however long the faulty value is.
        let rest = self.text.get(start..).unwrap_or_default();
        let length = span.len().min(rest.find('\n').unwrap_or(rest.len()));
        Box::new(FileError {
            file: self.file.to_owned(),
            line,
            column,
            problem: problem.into(),
            remedy: remedy.to_owned(),
            source_code: NamedSource::new(self.file, self.text.to_owned()),
            span: (start, length).into(),
        })
    }
}

/// A place in the file.
#[derive(Debug, Clone)]
pub struct Place {
    /// The path of its key, such as `profile.smoke.sets[0].take`.
    pub path: String,
    /// The name of the key, or the element of an array.
    pub span: Range<usize>,
    /// What is written there.
    pub value: Range<usize>,
}

/// Where the key at `path` stands; the innermost enclosing key where there is no such key.
pub fn locate(table: &DeTable<'_>, path: &str) -> Place {
    let steps = path.split(['.', '[']).map(|s| s.trim_end_matches(']')).filter(|s| !s.is_empty());
    let mut place = Place { path: String::new(), span: 0..0, value: 0..0 };
    let (mut keys, mut items) = (Some(table), None::<&DeArray<'_>>);
    for step in steps {
        let index = step.parse::<usize>().ok();
        // The only field of an enum's variant is called 0 by the checks, and by its variant in the file.
        let only = |t: &&DeTable<'_>| index == Some(0) && t.len() == 1;
        let entry = keys.and_then(|t| {
            t.iter()
                .find(|(k, _)| k.get_ref() == step)
                .or_else(|| keys.filter(only).and_then(|t| t.iter().next()))
        });
        let value = if let Some((key, value)) = entry {
            let dot = if place.path.is_empty() { "" } else { "." };
            place.path.push_str(&format!("{dot}{}", key.get_ref()));
            place.span = key.span();
            value
        } else if let Some((i, value)) = index.and_then(|i| Some((i, items?.get(i)?))) {
            place.path.push_str(&format!("[{i}]"));
            place.span = value.span();
            value
        } else {
            break;
        };
        place.value = value.span();
        (keys, items) = match value.get_ref() {
            DeValue::Table(t) => (Some(t), None),
            DeValue::Array(a) => (None, Some(a)),
            _ => (None, None),
        };
    }
    place
}

/// The path of the first float in `table` that is infinite or not a number, where there is one.
pub(super) fn non_finite(table: &DeTable<'_>, path: &str) -> Option<String> {
    table
        .iter()
        .find_map(|(key, value)| non_finite_value(value.get_ref(), &format!("{path}.{}", key.get_ref())))
}

fn non_finite_value(value: &DeValue<'_>, path: &str) -> Option<String> {
    match value {
        DeValue::Float(f) if !f.as_str().parse().is_ok_and(f64::is_finite) => Some(path.to_owned()),
        DeValue::Table(t) => non_finite(t, path),
        DeValue::Array(a) => {
            a.iter().enumerate().find_map(|(i, v)| non_finite_value(v.get_ref(), &format!("{path}[{i}]")))
        }
        _ => None,
    }
}
