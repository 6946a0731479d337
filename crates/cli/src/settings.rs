//! Settings in layers: presets, what the images say, a file, and the command line; each key knows where it comes from.

use crate::fault::{Fault, usage};
use smalti_base::{Error, Result};
use smalti_methods::registry::Fault as Unreadable;
use smalti_methods::settings::SettingFault;
use smalti_tables::experiment::FileError;
use smalti_tables::experiment::diagnose::{Source, locate};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use toml::de::{DeTable, Deserializer};
use toml::{Table, Value};

/// `KEY=VALUE` of the command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// Keys from the outside in, joined by dots.
    pub(crate) key: String,
    /// The value, and how it was written.
    pub(crate) value: Value,
    pub(crate) text: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, written) = text.split_once('=').ok_or("expected KEY=VALUE, such as stride=4")?;
        let key = key.trim();
        if key.split('.').any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
            return Err(format!("{key:?} is no key, such as stride or patchnr.descent.iterations"));
        }
        let written = written.trim();
        // A value as it would stand in a file; a word is a string without its quotes.
        let parsed = toml::from_str::<Table>(&format!("value = {written}"));
        let value = parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| written.into());
        Ok(Self { key: key.to_owned(), value, text: text.to_owned() })
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// A preset of the method, or of the problem.
    Preset,
    /// The images, or an option such as `--factor`, as the text says.
    Derived(String),
    /// The file of settings.
    File,
    /// `--set`, as it was written.
    Option(String),
}

/// Settings of a problem or a method in layers, by their full keys.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    /// What they are the settings of, and the section of a file that they stand in.
    name: String,
    section: String,
    /// What keys begin with on the command line.
    prefix: String,
    entries: BTreeMap<String, (Value, Origin)>,
}

impl Layers {
    /// No settings of the problem `name`.
    pub(crate) fn of_problem(name: &str) -> Self {
        let (name, section) = (name.to_owned(), format!("problem.{name}"));
        Self { name, section, prefix: String::new(), entries: BTreeMap::new() }
    }

    /// No settings of the method `name`.
    pub(crate) fn of_method(name: &str) -> Self {
        let (name, section, prefix) = (name.to_owned(), format!("methods.{name}"), format!("{name}."));
        Self { name, section, prefix, entries: BTreeMap::new() }
    }

    /// What keys begin with on the command line.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether there is a value for the key, or for a key within it.
    pub(crate) fn has(&self, key: &str) -> bool {
        let within = format!("{key}.");
        self.entries.keys().any(|known| known == key || known.starts_with(&within))
    }

    /// The number at a key.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        let (value, _) = self.entries.get(key)?;
        value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
    }

    /// Keys whose last part is `last`, with their numbers.
    pub(crate) fn numbers_called(&self, last: &str) -> Vec<(String, f64)> {
        let called = |key: &&String| key.rsplit('.').next() == Some(last);
        self.entries.keys().filter(called).filter_map(|key| Some((key.clone(), self.number(key)?))).collect()
    }

    /// Puts a value in place of what is there under its key, within it, or around it. A key beside the only one of a preset's table
    /// takes its place: such tables are choices, like `weight = { likelihood = .. }`.
    pub(crate) fn put(&mut self, key: &str, value: Value, origin: Origin) {
        let within = format!("{key}.");
        let around = |known: &str| key.starts_with(&format!("{known}."));
        self.drop_other_choice(key, &origin);
        self.entries.retain(|known, _| known != key && !known.starts_with(&within) && !around(known));
        self.insert(key, value, origin);
    }

    fn insert(&mut self, key: &str, value: Value, origin: Origin) {
        match value {
            Value::Table(table) if !table.is_empty() => {
                for (name, value) in table {
                    self.insert(&format!("{key}.{name}"), value, origin.clone());
                }
            }
            value => {
                self.entries.insert(key.to_owned(), (value, origin));
            }
        }
    }

    /// Removes the only other key of a table of a preset on the way to `key`.
    fn drop_other_choice(&mut self, key: &str, origin: &Origin) {
        if *origin == Origin::Preset {
            return;
        }
        for (at, _) in key.match_indices('.') {
            let (table, rest) = (&key[..=at], &key[at + 1..]);
            let own = rest.split('.').next().unwrap_or_default();
            let child = |known: &str| known.strip_prefix(table)?.split('.').next().map(str::to_owned);
            let children: std::collections::BTreeSet<String> =
                self.entries.keys().filter_map(|known| child(known)).collect();
            let mut of_preset =
                self.entries.iter().filter(|(known, _)| known.starts_with(table)).map(|(_, (_, from))| from);
            if children.len() == 1 && !children.contains(own) && of_preset.all(|from| *from == Origin::Preset)
            {
                self.entries.retain(|known, _| !known.starts_with(table));
            }
        }
    }

    /// Puts a value only where there is none.
    pub(crate) fn fill(&mut self, key: &str, value: impl Into<Value>, why: &str) {
        if !self.has(key) {
            self.insert(key, value.into(), Origin::Derived(why.to_owned()));
        }
    }

    /// Puts all values of a table, key by key.
    pub(crate) fn merge(&mut self, table: &Table, origin: &Origin) {
        self.merge_within("", table, origin);
    }

    fn merge_within(&mut self, path: &str, table: &Table, origin: &Origin) {
        for (key, value) in table {
            let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Table(inner) if !inner.is_empty() => self.merge_within(&key, inner, origin),
                value => self.put(&key, value.clone(), origin.clone()),
            }
        }
    }

    /// Replaces texts such as `$stride` by numbers.
    pub(crate) fn substitute(&mut self, numbers: &BTreeMap<&'static str, i64>) {
        for (value, origin) in self.entries.values_mut() {
            let name = value.as_str().and_then(|text| text.strip_prefix('$'));
            if let Some(&number) =
                name.filter(|_| *origin == Origin::Preset).and_then(|name| numbers.get(name))
            {
                *value = number.into();
            }
        }
    }

    /// Keys, values and whether they differ from what a preset says, for readers.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|(key, (value, _))| format!("{key} = {value}")).collect()
    }

    /// The settings read by a registry's `read`, with their ranges checked by `check`.
    ///
    /// # Errors
    /// What is missing, unknown, of the wrong kind or out of its range, where it was written.
    pub(crate) fn read<T: ?Sized>(
        &self,
        read: fn(Deserializer<'_>) -> Result<Rc<T>, Unreadable>,
        check: impl Fn(&T) -> Option<SettingFault>,
        file: Option<&SettingsFile>,
    ) -> Result<Rc<T>, Fault> {
        let text: String =
            self.entries.iter().map(|(key, (value, _))| format!("{key} = {value}\n")).collect();
        let parsed = Deserializer::parse(&text)
            .map_err(|e| usage(format!("settings of {}: {}", self.name, e.message().trim())))?;
        let settings = read(parsed).map_err(|fault| {
            let message = fault.inner().message().lines().next().unwrap_or_default().to_owned();
            let path = match fault.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            if let Some(name) =
                message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
            {
                let dot = if path.is_empty() { "" } else { "." };
                return self.missing(&format!("{path}{dot}{name}"));
            }
            let line = fault.inner().span().and_then(|span| {
                let before = text.get(..span.start)?;
                let line = text.lines().nth(before.matches('\n').count())?;
                Some(line.split(" = ").next().unwrap_or_default().to_owned())
            });
            let key = line.filter(|key| self.entries.contains_key(key)).unwrap_or(path);
            self.fault(&key, &message, file)
        })?;
        match check(&settings) {
            Some((key, problem)) => Err(self.fault(&key, &problem, file)),
            None => Ok(settings),
        }
    }

    /// A setting that has to be given.
    fn missing(&self, key: &str) -> Fault {
        let Self { name, prefix, section, .. } = self;
        let short = match key {
            "stride" => "--factor N",
            "kernel" => "--blur SIGMA (pixels of the result)",
            "noise" => "--noise SIGMA",
            "hole" => "--set hole={top=T,left=L,height=H,width=W} (pixels)",
            _ => "",
        };
        let or = if short.is_empty() { String::new() } else { format!("{short}, or ") };
        usage(format!(
            "{name} needs {key}: give {or}--set {prefix}{key}=VALUE, or {key} in [{section}] of a file for --config"
        ))
    }

    /// What is wrong with the value of a key, told where it was written.
    pub(crate) fn fault(&self, key: &str, problem: &str, file: Option<&SettingsFile>) -> Fault {
        let Self { name, prefix, section, .. } = self;
        let plain = key.replace('[', ".").replace(']', "");
        // The key itself, one within it, or the nearest one around it.
        let within = format!("{plain}.");
        let exact = self.entries.iter().find(|(known, _)| **known == plain || known.starts_with(&within));
        let around = || {
            let shared =
                |known: &str| plain.split('.').zip(known.split('.')).take_while(|(a, b)| a == b).count();
            self.entries.iter().filter(|(known, _)| shared(known) > 0).max_by_key(|(known, _)| shared(known))
        };
        let found = exact.or_else(around);
        match found.map(|(known, (value, origin))| (known, value, origin)) {
            Some((_, _, Origin::Option(written))) => usage(format!("--set {written}: {problem}")),
            Some((_, _, Origin::File)) => match file {
                Some(file) => file.fault(&format!("{section}.{key}"), problem).into(),
                None => usage(format!("{name}.{key}: {problem}")),
            },
            Some((_, value, Origin::Derived(from))) => usage(format!(
                "{name}: {key} = {value}, from {from}: {problem}; --set {prefix}{key}=VALUE changes it"
            )),
            Some((_, _, Origin::Preset)) => {
                usage(format!("{name}: {key}: {problem}; --set {prefix}{key}=VALUE changes it"))
            }
            None => usage(format!("{name}: {key}: {problem}")),
        }
    }
}

/// A file of settings: `[problem.NAME]` and `[methods.NAME]`.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    text: String,
    table: Table,
}

impl SettingsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, or its syntax or a section is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = smalti_base::files::read(path)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::content(path, "is not UTF-8 text", "write the file as plain text"))?;
        let file = path.display().to_string();
        let table = text.parse::<Table>().map_err(|e| {
            let source = Source { file: &file, text: &text };
            source.fault(e.span().unwrap_or(0..0), e.message().trim(), "correct the syntax of the file")
        })?;
        let read = Self { path: path.to_owned(), text, table };
        for (section, content) in &read.table {
            if !["problem", "methods"].contains(&section.as_str()) || !content.is_table() {
                let problem = "expected the sections [problem.NAME] and [methods.NAME]";
                return Err(read.fault(section, problem).into());
            }
        }
        Ok(read)
    }

    /// The names within a section.
    pub(crate) fn names(&self, section: &str) -> Vec<&str> {
        let table = self.table.get(section).and_then(Value::as_table);
        table.into_iter().flat_map(|table| table.keys()).map(String::as_str).collect()
    }

    /// The settings of a problem or method.
    pub(crate) fn section(&self, section: &str, name: &str) -> Table {
        let found = self.table.get(section).and_then(|table| table.get(name)?.as_table());
        found.cloned().unwrap_or_default()
    }

    /// What is wrong at a key, with its line.
    pub(crate) fn fault(&self, path: &str, problem: &str) -> Box<FileError> {
        let file = self.path.display().to_string();
        let source = Source { file: &file, text: &self.text };
        let span = DeTable::parse(&self.text).map_or(0..0, |table| locate(table.get_ref(), path).span);
        let key = path.splitn(3, '.').nth(2).unwrap_or(path);
        source.fault(span, format!("{key}: {problem}"), "correct the name or the value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_methods::{MethodEntry, ProblemEntry};

    fn set(text: &str) -> Setting {
        text.parse().unwrap()
    }

    #[test]
    fn values_are_written_as_in_files() {
        assert_eq!(set("stride=4").value, Value::Integer(4));
        assert_eq!(set("form = valid").value, Value::String("valid".into()));
        assert_eq!(set("noise=1e-2").value, Value::Float(0.01));
        assert!(set("a.b={c=1}").value.is_table() && set("x=[1,2]").value.is_array());
        for wrong in ["stride", "=4", "a..b=1", "a b=1"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_choice_replaces_that_of_a_preset_and_a_key_beside_others_does_not() {
        let preset: Table = "weight = { likelihood = { lambda = 1, observed = 2 } }\ndescent = { iterations = 3, learning_rate = 0.1 }"
            .parse()
            .unwrap();
        let mut layers = Layers::of_method("patchnr");
        layers.merge(&preset, &Origin::Preset);
        layers.put("weight.mean", 5.0.into(), Origin::Option("patchnr.weight.mean=5".into()));
        layers.put("descent.schedule", "cosine".into(), Origin::File);
        layers.put("descent.iterations", 7.into(), Origin::File);
        assert_eq!(
            layers.lines(),
            [
                "descent.iterations = 7",
                "descent.learning_rate = 0.1",
                "descent.schedule = \"cosine\"",
                "weight.mean = 5.0"
            ]
        );
        // Nor does one that is there.
        let mut inner = Layers::of_method("patchnr");
        inner.merge(&preset, &Origin::Preset);
        inner.put("weight.likelihood.lambda", 9.into(), Origin::File);
        inner.put("descent.iterations", 9.into(), Origin::File);
        assert_eq!(inner.lines().len(), 4);
        // What a user has written is kept beside what a user writes.
        let mut own = Layers::of_problem("tomography");
        own.put("scan.size", 8.into(), Origin::File);
        own.put("scan.extent", 0.1.into(), Origin::Option("scan.extent=0.1".into()));
        assert_eq!(own.lines().len(), 2);
        own.put("scan", toml::from_str::<Table>("size = 1").unwrap().into(), Origin::File);
        assert_eq!(own.lines(), ["scan.size = 1"]);
    }

    #[test]
    fn faults_name_what_was_written() {
        let entry = ProblemEntry::find("superresolution").unwrap();
        let read = |layers: &Layers| {
            layers.read(entry.read, |p| p.out_of_range().or_else(|| p.check().err()), None).map(drop)
        };
        let mut layers = Layers::of_problem("superresolution");
        let line = |layers: &Layers| read(layers).unwrap_err().render();
        let full = "kernel_size = 16\nsigma = 2.0\nform = \"valid\"\nnoise = 0.01\ncrop = 0";
        layers.merge(&full.parse().unwrap(), &Origin::Preset);
        assert!(
            line(&layers)
                .starts_with("error: superresolution needs stride: give --factor N, or --set stride=VALUE")
        );
        let with = |key: &str, value: Value| {
            let mut with = layers.clone();
            with.put("stride", 4.into(), Origin::File);
            with.put(key, value.clone(), Origin::Option(format!("{key}={value}")));
            with
        };
        assert!(read(&with("noise", 0.02.into())).is_ok());
        let wrong = line(&with("strid", 4.into()));
        assert!(wrong.starts_with("error: --set strid=4: unknown field `strid`"), "{wrong}");
        let wrong = line(&with("stride", 400.into()));
        assert_eq!(wrong, "error: --set stride=400: greater than 16");
        let wrong = line(&with("noise", "much".into()));
        assert!(wrong.starts_with("error: --set noise=\"much\": invalid type"), "{wrong}");
        let wrong = line(&with("size", 9.into()));
        assert!(wrong.contains("size") && wrong.contains("multiple of the stride"), "{wrong}");
    }

    #[test]
    fn faults_in_a_file_show_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(
            &path,
            "[methods.tv]\nweight = { half_squared_errors = 5e-4 }\niteration = 20\ntolerance = 1e-4\n",
        )
        .unwrap();
        let file = SettingsFile::read(&path).unwrap();
        let mut layers = Layers::of_method("tv");
        layers.merge(&file.section("methods", "tv"), &Origin::File);
        let entry = MethodEntry::find("tv").unwrap();
        let shown =
            layers.read(entry.read, |m| m.out_of_range(), Some(&file)).map(drop).unwrap_err().render();
        assert!(shown.contains("mine.toml:3:1: ") && shown.contains("unknown field `iteration`"), "{shown}");
        std::fs::write(&path, "[method.tv]\n").unwrap();
        let shown = SettingsFile::read(&path).unwrap_err().render();
        assert!(shown.contains("mine.toml:1:2") && shown.contains("[methods.NAME]"), "{shown}");
    }
}
