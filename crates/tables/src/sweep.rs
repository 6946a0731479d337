//! A setting of one row in several values, on an image that nothing is learned from: how settings are chosen.

use crate::data::DataSource;
use crate::evaluate;
use crate::experiment::{Experiment, Failure, ProfileName};
use crate::options::RunOptions;
use crate::outcome::TableRow;
use crate::table;
use smalti_base::{Error, Result};
use smalti_methods::Run;
use std::path::Path;
use std::str::FromStr;
use toml::{Table, Value};

/// `ROW.KEY=V,V,...`: the values of one setting of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// The row.
    row: String,
    /// The setting, as keys from the outside in.
    key: Vec<String>,
    values: Vec<Value>,
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (path, values) = text.split_once('=').ok_or("expected ROW.KEY=V,V,...")?;
        let mut keys = path.split('.').map(|key| key.trim().to_owned());
        let row = keys.next().unwrap_or_default();
        let key: Vec<String> = keys.collect();
        if row.is_empty() || key.is_empty() || key.iter().any(String::is_empty) {
            return Err(format!("{path:?} names no setting of a row, such as patchnr.descent.iterations"));
        }
        let values = values.split(',').map(|value| value_of(value.trim())).collect::<Vec<Value>>();
        Ok(Self { row, key, values })
    }
}

/// A value as it would stand in a file; a word is a string without its quotes.
fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.into())
}

impl Sweep {
    /// The experiment of the file at `path` for every value, with what its row is called: one row on one image, which is the
    /// validation image unless `image` is another. Nothing is learned from that image.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read or has no such row and setting, [`Failure::Experiment`] where a value is
    /// wrong.
    pub fn experiments(
        &self,
        path: &Path,
        profile: ProfileName,
        image: Option<&str>,
    ) -> Result<Vec<(String, Experiment)>, Failure> {
        // Faults of the file itself are shown in it.
        let whole = Experiment::read(path)?;
        let [scene] = &whole.profile(profile).scenes[..] else {
            let expected = "a file with one scene";
            return Err(Error::value(
                "experiment of a sweep",
                expected,
                format!("{} with several", whole.name),
            )
            .into());
        };
        let validation = scene.data.validation.as_deref();
        let image = image.or(validation).ok_or_else(|| {
            Error::value("image of a sweep", "--image NAME, for the file has no validation image", "none")
        })?;
        if image.contains('*') || image.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            let expected = "the name of one image within the data folder, as files name it";
            return Err(Error::value("image of a sweep", expected, image).into());
        }
        let text = String::from_utf8_lossy(&smalti_base::files::read(path)?).into_owned();
        let document: Table = toml::from_str(&text)
            .map_err(|e| Error::content(path, e.message(), "correct the syntax of the file"))?;
        let one = |value: &Value| {
            let label = format!("{} {} = {value}", self.row, self.key.join("."));
            let text = self.changed(document.clone(), profile, image, value)?;
            let file = format!("{} with {label}", path.display());
            Ok((label, Experiment::parse(&whole.name, &file, &text)?))
        };
        self.values.iter().map(one).collect()
    }

    /// The file with `value` in place, as text.
    fn changed(
        &self,
        mut document: Table,
        profile: ProfileName,
        image: &str,
        value: &Value,
    ) -> Result<String> {
        let name = profile.to_string();
        // What `table` does not give is as in `quick`.
        let sections: &[&str] = if profile == ProfileName::Table { &["table", "quick"] } else { &[&name] };
        let profiles = document.entry("profile").or_insert_with(|| Table::new().into());
        let methods = |section: &str| profiles.get(section)?.get("methods")?.as_table();
        let rows: Vec<String> =
            sections.iter().filter_map(|s| Some(methods(s)?.keys().cloned())).flatten().collect();
        let changed = sections.iter().any(|section| {
            let methods =
                profiles.get_mut(section).and_then(|profile| profile.get_mut("methods")?.as_table_mut());
            methods.is_some_and(|methods| set(methods, &self.row, &self.key, value))
        });
        if !changed {
            let rows = rows.join(", ");
            let expected = format!("a setting of a row of profile {name} ({rows}) that the file gives");
            return Err(Error::value("--sweep", expected, format!("{}.{}", self.row, self.key.join("."))));
        }
        let mut only = Table::new();
        only.insert("images".into(), Value::Array(vec![image.into()]));
        only.insert("methods".into(), Value::Array(vec![self.row.as_str().into()]));
        if let Some(profiles) = profiles.as_table_mut() {
            let chosen = profiles.entry(name).or_insert_with(|| Table::new().into());
            if let Some(chosen) = chosen.as_table_mut() {
                chosen.insert("sets".into(), Value::Array(vec![only.into()]));
            }
        }
        if let Some(Value::Table(data)) = document.get_mut("data") {
            if let Some(Value::Array(references)) = data.get_mut("references") {
                references.retain(|name| name.as_str() != Some(image));
                if references.is_empty() {
                    let expected = "an image other than the only one that is learned from";
                    return Err(Error::value("image of a sweep", expected, image));
                }
            }
            if data.get("validation").and_then(Value::as_str) == Some(image) {
                data.remove("validation");
            }
        }
        toml::to_string(&document).map_err(|e| Error::value("experiment of a sweep", "TOML", e))
    }
}

/// Puts `value` in the place of a setting that is there.
fn set(methods: &mut Table, row: &str, key: &[String], value: &Value) -> bool {
    let mut place = methods.get_mut(row);
    for step in key {
        place = place.and_then(|inner| inner.as_table_mut()?.get_mut(step));
    }
    place.map(|place| place.clone_from(value)).is_some()
}

/// Whether every value of a sweep can run, in the way of [`evaluate::check`].
///
/// # Errors
/// Those of [`evaluate::check`].
pub fn check(experiments: &[(String, Experiment)], data: &DataSource, options: &RunOptions) -> Result<()> {
    let mut profiles = experiments.iter().map(|(_, experiment)| experiment.profile(options.profile));
    profiles.try_for_each(|profile| evaluate::check(profile, data, options))
}

/// Runs every experiment of a sweep and gives its rows, each under what the sweep calls it; they are published as `table.md`, with
/// what the rows have learned. State is kept until all have run.
///
/// # Errors
/// Those of [`evaluate::run`]; [`Error::File`] where the table cannot be written.
pub fn run(
    experiments: &[(String, Experiment)],
    data: &DataSource,
    options: &RunOptions,
) -> Result<Vec<TableRow>> {
    let (mut rows, mut finished): (Vec<TableRow>, Vec<(&str, Run)>) = Default::default();
    for (label, experiment) in experiments {
        let outcome = evaluate::run(experiment.profile(options.profile), data, options)?;
        finished.extend(outcome.run.map(|run| (label.as_str(), run)));
        rows.extend(outcome.rows.into_iter().map(|row| TableRow { title: renamed(&row, label), ..row }));
    }
    let results = &options.results;
    let markdown = format!("{}\n\n{}", data.sentence(), table::markdown(&rows));
    results.add("table.md", markdown.as_bytes())?;
    // What a row has learned with one value does not take the place of what it has learned with another.
    for (label, run) in &finished {
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".+-".contains(c) { c } else { '_' };
        run.deliver(&results.collected().join(label.chars().map(plain).collect::<String>()))?;
    }
    results.publish()?;
    finished.iter().for_each(|(_, run)| run.discard_state());
    Ok(rows)
}

/// What a row of a sweep is called; those beside the estimate keep what they are.
fn renamed(row: &TableRow, label: &str) -> String {
    if label.starts_with(&format!("{} ", row.method)) {
        label.to_owned()
    } else {
        format!("{label}: {}", row.title)
    }
}
