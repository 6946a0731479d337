//! From the file as written to the checked experiment.

use super::diagnose::{Failure, FileError};
use super::parse::{self, File, Misfit};
use super::raw::{RawExperiment, RawFigures, RawProfile, RawPublished, RawRow, RawSet};
use super::{ExperimentKind, ProfileName};
use crate::data::DataSource;
use crate::outcome::{Figure, Figures};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_methods::{ConfiguredMethod, ConfiguredProblem, METHODS, MethodEntry, PROBLEMS, ProblemEntry};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// A checked experiment: every value lies in its range, and the parts fit together.
#[derive(Clone)]
#[non_exhaustive]
pub struct Experiment {
    /// The name: that of the file without `.toml`.
    pub name: String,
    /// The title of the report.
    pub title: String,
    /// The images that methods learn from.
    pub data: Data,
    profiles: [Profile; 3],
}

/// What methods learn from, relative to the data folder.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The reference images.
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub references: Vec<String>,
    /// The image that settings are chosen on; it measures trainings, unless it is one of the references.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub validation: Option<String>,
    /// Step of the grey values of the files, 0 to 0.1: densities are learned from images with uniform noise of this width, since
    /// patches of one rounded value would have an infinite density.
    #[serde(default)]
    #[garde(range(min = 0.0, max = 0.1))]
    pub grey_step: f64,
}

/// A checked profile: what runs on which images, with which settings.
#[derive(Clone)]
#[non_exhaustive]
pub struct Profile {
    /// The problem.
    pub problem: Rc<dyn ConfiguredProblem>,
    /// Its kind.
    pub kind: &'static ProblemEntry,
    /// The rows by their names.
    pub rows: BTreeMap<String, RowSpec>,
    /// The sets of images and the rows that run on them; at least one.
    pub sets: Vec<EvaluationSet>,
}

/// A row of a table: a method with its settings.
#[derive(Clone)]
#[non_exhaustive]
pub struct RowSpec {
    /// The name in experiment files, in `table.csv` and in file names.
    pub key: String,
    /// The name for readers.
    pub title: String,
    /// The method.
    pub method: &'static MethodEntry,
    /// Its settings.
    pub settings: Rc<dyn ConfiguredMethod>,
    /// The row whose estimate it starts from, where it is not the problem's own start.
    pub start: Option<String>,
    /// What it learns from.
    pub learns_from: LearnsFrom,
    /// The name of the published row beside it.
    pub published: String,
}

/// What a method learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnsFrom {
    /// The reference images of the experiment, once for all problems.
    #[default]
    References,
    /// The observation itself, or what is seen around its hole: anew for every image.
    Observation,
}

/// Images and the methods that run on them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EvaluationSet {
    /// Image names or patterns with one `*`, relative to the data folder.
    pub images: Vec<String>,
    /// The first so many of them; all where not given.
    pub take: Option<usize>,
    /// The names of the rows, in their order.
    pub methods: Vec<String>,
    /// Where the published figures come from.
    pub published_source: Option<String>,
    /// How many of the images, from the first on, the report shows.
    pub show: usize,
    published: BTreeMap<String, Figures>,
}

impl Experiment {
    /// Reads and checks the experiment file at `path`, where it is of this kind.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = parse::text(path)?;
        Ok(Self::parse(&parse::name(path), &path.display().to_string(), &text)?)
    }

    /// Checks the text of an experiment file; `file` is what errors call it.
    ///
    /// # Errors
    /// [`FileError`] naming file, line and column, for: wrong syntax, an unknown or missing key, a wrong type,
    /// a value out of its range, parts that do not fit together.
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Self, Box<FileError>> {
        let file = File::parse(file, text)?;
        checked(name, file.whole()?, &file)
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &Profile {
        let [smoke, quick, paper] = &self.profiles;
        match name {
            ProfileName::Smoke => smoke,
            ProfileName::Quick => quick,
            ProfileName::Paper => paper,
        }
    }
}

impl Experiment {
    /// Where the images of `profile` are; see [`DataSource::find`].
    ///
    /// # Errors
    /// [`smalti_base::Error::Content`] naming the first file that is missing.
    pub fn find_data(
        &self,
        profile: &Profile,
        option: Option<&Path>,
        environment: Option<&Path>,
        repository: &Path,
    ) -> smalti_base::Result<DataSource> {
        let learned: Vec<String> =
            self.data.references.iter().chain(&self.data.validation).cloned().collect();
        let sets: Vec<(&[String], Option<usize>)> =
            profile.sets.iter().map(|set| (&set.images[..], set.take)).collect();
        DataSource::find(option, environment, repository, &learned, &sets)
    }
}

impl Profile {
    /// Where the published figures come from, each once.
    pub fn sources(&self) -> Vec<String> {
        let mut sources: Vec<String> = Vec::new();
        for source in self.sets.iter().filter_map(|set| set.published_source.as_ref()) {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        sources
    }

    /// The settings of problem and methods as TOML.
    pub fn to_toml(&self) -> String {
        let table = |text: String| toml::from_str::<toml::Table>(&text).unwrap_or_default();
        let mut methods = toml::Table::new();
        for row in self.used() {
            let mut settings = table(row.settings.to_toml());
            settings.insert("method".into(), row.method.key.into());
            methods.insert(row.key.clone(), settings.into());
        }
        let mut problem = toml::Table::new();
        problem.insert(self.kind.name.into(), table(self.problem.to_toml()).into());
        let mut all = toml::Table::new();
        all.insert("problem".into(), problem.into());
        all.insert("methods".into(), methods.into());
        toml::to_string(&all).unwrap_or_default()
    }

    /// The rows that some set runs, or that one of those starts from.
    pub fn used(&self) -> Vec<&RowSpec> {
        let mut used: Vec<&RowSpec> = Vec::new();
        let mut asked: Vec<&String> = self.sets.iter().flat_map(|set| &set.methods).rev().collect();
        while let Some(key) = asked.pop() {
            if let Some(row) = self.rows.get(key)
                && !used.iter().any(|known| known.key == row.key)
            {
                used.push(row);
                asked.extend(&row.start);
            }
        }
        used
    }
}

impl EvaluationSet {
    /// The published figures of `row` on such images; empty where there are none.
    pub fn published(&self, row: &RowSpec) -> Figures {
        self.published.get(&row.published).copied().unwrap_or_default()
    }
}

fn checked(name: &str, raw: RawExperiment, file: &File<'_>) -> Result<Experiment, Box<FileError>> {
    let misfit = |misfit: Misfit| file.misfit(misfit);
    if raw.kind != ExperimentKind::Reconstruction {
        return Err(misfit(("kind".into(), "not reconstruction".into())));
    }
    let Data { references, validation, .. } = &raw.data;
    let named = references.iter().enumerate().map(|(i, name)| (format!("data.references[{i}]"), name));
    for (path, image) in named.chain(validation.iter().map(|name| ("data.validation".to_owned(), name))) {
        plain_name(image, false).map_err(|problem| misfit((path, problem)))?;
    }
    let [smoke, quick, paper] =
        raw.profile.all().map(|(path, profile)| checked_profile(path, profile, &raw, file));
    let profiles = [smoke?, quick?, paper?];
    Ok(Experiment { name: name.to_owned(), title: raw.title, data: raw.data, profiles })
}

/// The profile that stands at `path`.
fn checked_profile(
    path: &str,
    raw: &RawProfile,
    experiment: &RawExperiment,
    file: &File<'_>,
) -> Result<Profile, Box<FileError>> {
    let misfit = |key: String, problem: String| file.misfit((format!("{path}.{key}"), problem));
    let (kind, problem) = checked_problem(path, raw, experiment, file)?;
    let domain = match problem.instrument(None) {
        Ok(instrument) => instrument.domain(),
        Err(error) => return Err(misfit("problem".into(), error.to_string())),
    };
    let mut rows = BTreeMap::new();
    for key in raw.methods.keys() {
        let (row, at) = checked_row(path, key, file)?;
        (row.method.applies)(kind.key).map_err(|reason| {
            misfit(format!("methods.{key}"), format!("{} makes no sense here: {reason}", row.method.key))
        })?;
        row.settings.check(domain).map_err(|(key, problem)| file.misfit((format!("{at}.{key}"), problem)))?;
        rows.insert(key.clone(), row);
    }
    for (i, set) in raw.sets.iter().enumerate() {
        for key in set.methods.iter().filter(|key| !raw.methods.contains_key(*key)) {
            let row = implied(key).ok_or_else(|| {
                let known = MethodEntry::find(key).is_some();
                let problem = match known {
                    true => format!("{key} has no section methods.{key} in this profile"),
                    false => {
                        format!("there is no section methods.{key} in this profile, and no method {key}")
                    }
                };
                misfit(format!("sets[{i}].methods"), problem)
            })?;
            (row.method.applies)(kind.key).map_err(|reason| {
                misfit(format!("sets[{i}].methods"), format!("{key} makes no sense here: {reason}"))
            })?;
            rows.insert(key.clone(), row);
        }
    }
    for row in rows.values() {
        if let Some(problem) = wrong_start(row, &rows) {
            return Err(misfit(format!("methods.{}.start", row.key), problem));
        }
    }
    let sets = raw.sets.iter().enumerate().map(|(i, set)| {
        checked_set(set, &experiment.published)
            .map_err(|(key, problem)| misfit(format!("sets[{i}].{key}"), problem))
    });
    Ok(Profile { problem, kind, rows, sets: sets.collect::<Result<_, _>>()? })
}

/// The problem of a profile: what the file gives for all profiles, and in its place what the profile gives.
fn checked_problem(
    path: &str,
    raw: &RawProfile,
    experiment: &RawExperiment,
    file: &File<'_>,
) -> Result<(&'static ProblemEntry, Rc<dyn ConfiguredProblem>), Box<FileError>> {
    let names: Vec<&String> = experiment.problem.keys().chain(raw.problem.keys()).collect();
    let known = || PROBLEMS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    let Some(name) = names.first() else {
        let problem = format!("no section problem.NAME, with a NAME of {}", known());
        return Err(file.misfit((path.to_owned(), problem)));
    };
    if let Some(other) = names.iter().find(|other| other != &name) {
        return Err(
            file.misfit((format!("{path}.problem.{other}"), format!("the problem is {name} already")))
        );
    }
    let Some(kind) = ProblemEntry::find(name) else {
        let problem = format!("no such problem; there is {}", known());
        return Err(file.misfit((format!("problem.{name}"), problem)));
    };
    let places = [format!("{path}.problem.{name}"), format!("problem.{name}")];
    let section = file.merged(&places);
    let problem = (kind.read)(section).map_err(|fault| file.fault_in(&places, fault))?;
    if let Some((key, what)) = problem.out_of_range() {
        return Err(file.out_of_range(&file.place_of(&places, &key), &what));
    }
    problem.check().map_err(|(key, what)| file.misfit((file.place_of(&places, &key), what)))?;
    Ok((kind, problem))
}

/// The row `key` of the profile at `path`, and where it stands.
fn checked_row(path: &str, key: &str, file: &File<'_>) -> Result<(RowSpec, String), Box<FileError>> {
    let at = format!("{path}.methods.{key}");
    if !key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
        return Err(file.misfit((at, "a name has letters, digits, _ and - only".into())));
    }
    let places = std::slice::from_ref(&at);
    let head: RawRow = serde_path_to_error::deserialize(file.keys_of(&at, &RawRow::KEYS, true))
        .map_err(|fault| file.fault_in(places, fault))?;
    let name = head.method.as_deref().unwrap_or(key);
    let Some(method) = MethodEntry::find(name) else {
        let known = METHODS.iter().map(|m| m.key).collect::<Vec<_>>().join(", ");
        let at = if head.method.is_some() { format!("{at}.method") } else { at };
        return Err(file.misfit((at, format!("no method {name}; there is {known}"))));
    };
    let settings = (method.read)(file.keys_of(&at, &RawRow::KEYS, false))
        .map_err(|fault| file.fault_in(places, fault))?;
    if let Some((key, problem)) = settings.out_of_range() {
        return Err(file.out_of_range(&format!("{at}.{key}"), &problem));
    }
    let row = RowSpec {
        key: key.to_owned(),
        title: head.title.unwrap_or_else(|| method.title.to_owned()),
        method,
        settings,
        start: head.start,
        learns_from: head.learns_from,
        published: head.published.unwrap_or_else(|| key.to_owned()),
    };
    Ok((row, at))
}

/// The row of a method without settings, which needs no section.
fn implied(key: &str) -> Option<RowSpec> {
    let method = MethodEntry::find(key)?;
    let settings = (method.read)(toml::de::Deserializer::parse("").ok()?).ok()?;
    let (key, title) = (key.to_owned(), method.title.to_owned());
    let published = key.clone();
    Some(RowSpec {
        key,
        title,
        method,
        settings,
        start: None,
        learns_from: LearnsFrom::References,
        published,
    })
}

/// What is wrong with the row that `row` starts from.
fn wrong_start(row: &RowSpec, rows: &BTreeMap<String, RowSpec>) -> Option<String> {
    let mut seen = vec![&row.key];
    let mut next = row.start.as_ref();
    while let Some(key) = next {
        if seen.contains(&key) {
            return Some(format!("{} starts from itself", row.key));
        }
        seen.push(key);
        next = match rows.get(key) {
            Some(row) => row.start.as_ref(),
            None => {
                return Some(format!("{} starts from {key}, which has no section in this profile", row.key));
            }
        };
    }
    None
}

fn checked_set(raw: &RawSet, published: &BTreeMap<String, RawPublished>) -> Result<EvaluationSet, Misfit> {
    for (i, image) in raw.images.iter().enumerate() {
        plain_name(image, true).map_err(|problem| (format!("images[{i}]"), problem))?;
    }
    let table = match &raw.published {
        None => None,
        Some(name) => Some(published.get(name).ok_or_else(|| {
            let known: Vec<&str> = published.keys().map(String::as_str).collect();
            ("published".to_owned(), format!("no section published.{name}; there is {}", known.join(", ")))
        })?),
    };
    let rows = table.into_iter().flat_map(|t| &t.rows);
    Ok(EvaluationSet {
        images: raw.images.clone(),
        take: raw.take,
        methods: raw.methods.clone(),
        published_source: table.map(|t| t.source.clone()),
        show: raw.show,
        published: rows.map(|(method, row)| (method.clone(), figures(row))).collect(),
    })
}

fn figures(raw: &RawFigures) -> Figures {
    let figure = |values: &Option<Vec<f64>>| {
        let values = values.as_ref()?;
        Some(Figure { mean: *values.first()?, std: values.get(1).copied() })
    };
    Figures { psnr: figure(&raw.psnr), ssim: figure(&raw.ssim), lpips: figure(&raw.lpips) }
}

/// Image names stay inside of the data folder, and a pattern has one `*`, in the file name.
fn plain_name(name: &str, pattern: bool) -> Result<(), String> {
    let outside = name.starts_with('/') || name.split('/').any(|part| part.is_empty() || part == "..");
    let (folder, stars) = (name.rsplit_once('/').map_or("", |(f, _)| f), name.matches('*').count());
    match () {
        () if outside => Err(format!("{name:?} is not a name inside of the data folder")),
        () if stars > usize::from(pattern) || folder.contains('*') => {
            Err(format!("{name:?} has a * where none can be"))
        }
        () => Ok(()),
    }
}
