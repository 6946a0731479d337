//! From the file as written to the checked experiment.

use super::data::LearnsFrom;
use super::diagnose::{Failure, FileError};
use super::kind::{ExperimentKind, ProfileName};
use super::parse::{self, File};
use super::raw::{RawExperiment, RawProfile, RawRow};
use super::scene::{Scene, checked_scenes, plain};
use super::set::{EvaluationSet, checked_set};
use crate::data::DataSource;
use smalti_methods::{ConfiguredMethod, Instrument, Learns, METHODS, MethodEntry, ProblemKey};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// A checked experiment: every value lies in its range, and the parts fit together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Experiment {
    /// The name: that of the file without `.toml`.
    pub name: String,
    /// The title of the report.
    pub title: String,
    profiles: [Profile; 4],
}

/// A checked profile: what runs on which images, with which settings.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Profile {
    /// The scenes that images are of; at least one.
    pub scenes: Vec<Scene>,
    /// The rows by their names.
    pub rows: BTreeMap<String, RowSpec>,
    /// The sets of images and the rows that run on them; at least one.
    pub sets: Vec<EvaluationSet>,
}

/// A row of a table: a method with its settings.
#[derive(Debug, Clone)]
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
    /// Why it does not run, where it does not.
    pub left_out: Option<String>,
    /// What learning takes, and an image: in units of [`crate::plan::product_time`].
    pub work: Option<[f64; 2]>,
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
        let [smoke, quick, table, paper] = &self.profiles;
        match name {
            ProfileName::Smoke => smoke,
            ProfileName::Quick => quick,
            ProfileName::Table => table,
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
        // There are no volumes but drawn ones.
        let volume = |scene: &Scene| scene.kind.key == ProblemKey::Volume;
        if profile.scenes.iter().all(volume) {
            return Ok(DataSource::SyntheticVolumes);
        }
        let mut files: Vec<String> = Vec::new();
        let mut sets: Vec<(&[String], Option<usize>)> = Vec::new();
        for set in &profile.sets {
            files.extend(profile.scenes[set.scene].files());
            let observer = set.observer.iter().flat_map(|observer| observer.problem.files());
            files.extend(observer.map(|(_, name)| name).chain(set.observed.iter().cloned()));
            sets.push((&set.images, set.take));
        }
        DataSource::find(option, environment, repository, &files, &sets)
    }
}

impl Profile {
    /// Where the published figures come from, each once.
    pub fn sources(&self) -> Vec<String> {
        let mut sources: Vec<String> = Vec::new();
        for source in self.sets.iter().flat_map(EvaluationSet::sources) {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        sources
    }

    /// The settings of problems and methods as TOML.
    pub fn to_toml(&self) -> String {
        let table = |text: String| toml::from_str::<toml::Table>(&text).unwrap_or_default();
        let mut methods = toml::Table::new();
        for row in self.used(None) {
            let mut settings = table(row.settings.to_toml());
            settings.insert("method".into(), row.method.key.into());
            settings.extend(row.start.iter().map(|start| ("start".to_owned(), start.as_str().into())));
            if row.learns_from == LearnsFrom::Observation {
                settings.insert("learns_from".into(), "observation".into());
            }
            methods.insert(row.key.clone(), settings.into());
        }
        let (mut all, mut scenes) = (toml::Table::new(), toml::Table::new());
        for (_, scene) in self.seen() {
            let mut problem = toml::Table::new();
            problem.insert(scene.kind.name.into(), table(scene.problem.to_toml()).into());
            match scene.name.is_empty() {
                true => all.insert("problem".into(), problem.into()),
                false => {
                    let section = toml::Table::from_iter([("problem".to_owned(), problem.into())]);
                    scenes.insert(scene.name.clone(), section.into())
                }
            };
        }
        if !scenes.is_empty() {
            all.insert("scene".into(), scenes.into());
        }
        all.insert("methods".into(), methods.into());
        toml::to_string(&all).unwrap_or_default()
    }

    /// The scenes that some set is of, by number.
    pub fn seen(&self) -> impl Iterator<Item = (usize, &Scene)> {
        let seen = |i: usize| self.sets.iter().any(|set| set.scene == i);
        self.scenes.iter().enumerate().filter(move |(i, _)| seen(*i))
    }

    /// The rows that some set runs, or that one of those starts from; of one scene where it is given.
    pub fn used(&self, scene: Option<usize>) -> Vec<&RowSpec> {
        let mut used: Vec<&RowSpec> = Vec::new();
        let sets = self.sets.iter().filter(|set| scene.is_none_or(|scene| set.scene == scene));
        let mut asked: Vec<&String> = sets.flat_map(|set| &set.methods).rev().collect();
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

fn checked(name: &str, raw: RawExperiment, file: &File<'_>) -> Result<Experiment, Box<FileError>> {
    if raw.kind != ExperimentKind::Reconstruction {
        return Err(file.misfit(("kind".into(), "not reconstruction".into())));
    }
    let [smoke, quick, table, paper] =
        raw.profile.all().map(|(path, profile)| checked_profile(path, profile, &raw, file));
    let profiles = [smoke?, quick?, table?, paper?];
    Ok(Experiment { name: name.to_owned(), title: raw.title, profiles })
}

/// The profile that stands at `path`.
fn checked_profile(
    path: &str,
    raw: &RawProfile,
    experiment: &RawExperiment,
    file: &File<'_>,
) -> Result<Profile, Box<FileError>> {
    let misfit = |key: String, problem: String| file.misfit((format!("{path}.{key}"), problem));
    let instrument = |scene: Scene| match scene.problem.instrument(None) {
        Ok(instrument) => Ok((scene, instrument)),
        Err(error) => Err(misfit("problem".into(), error.to_string())),
    };
    let scenes = checked_scenes(path, raw, experiment, file)?;
    let scenes: Vec<(Scene, Box<dyn Instrument>)> =
        scenes.into_iter().map(instrument).collect::<Result<_, _>>()?;
    let sets = raw.sets.iter().enumerate();
    let sets = sets.map(|(i, set)| checked_set(&format!("{path}.sets[{i}]"), set, experiment, &scenes, file));
    let sets: Vec<EvaluationSet> = sets.collect::<Result<_, _>>()?;
    let mut rows = BTreeMap::new();
    for key in raw.methods.keys() {
        rows.insert(key.clone(), checked_row(path, key, file)?);
    }
    for (i, key) in sets.iter().enumerate().flat_map(|(i, set)| set.methods.iter().map(move |key| (i, key))) {
        if !rows.contains_key(key) {
            let row = implied(key).ok_or_else(|| {
                let problem = match MethodEntry::find(key) {
                    Some(_) => format!("{key} has no section methods.{key} in this profile"),
                    None => {
                        format!("there is no section methods.{key} in this profile, and no method {key}")
                    }
                };
                misfit(format!("sets[{i}].methods"), problem)
            })?;
            rows.insert(key.clone(), row);
        }
    }
    for row in rows.values() {
        if let Some(problem) = wrong_start(row, &rows) {
            return Err(misfit(format!("methods.{}.start", row.key), problem));
        }
    }
    let (scenes, instruments): (Vec<Scene>, Vec<Box<dyn Instrument>>) = scenes.into_iter().unzip();
    let profile = Profile { scenes, rows, sets };
    match profile.misfit(&instruments) {
        Some((row, key, problem)) if raw.methods.contains_key(&row) => {
            Err(misfit(format!("methods.{row}{key}"), problem))
        }
        Some((row, _, problem)) => {
            let set = profile.sets.iter().position(|set| set.methods.contains(&row)).unwrap_or_default();
            Err(misfit(format!("sets[{set}].methods"), problem))
        }
        None => Ok(profile),
    }
}

impl Profile {
    /// A row that does not suit a scene where it runs, the key, and why; `instruments` are those of the scenes. Where there is only
    /// one scene, all rows must suit it.
    fn misfit(&self, instruments: &[Box<dyn Instrument>]) -> Option<(String, String, String)> {
        for (i, (scene, instrument)) in self.scenes.iter().zip(instruments).enumerate() {
            let (rows, of) = match scene.name.is_empty() {
                true => (self.rows.values().collect(), "here".to_owned()),
                false => (self.used(Some(i)), format!("for {}", scene.name)),
            };
            for RowSpec { key, method, settings, learns_from, .. } in rows {
                let learns = *learns_from == LearnsFrom::References && method.learns != Learns::Nothing;
                if learns && scene.data.references.is_empty() {
                    let problem = "learns from reference images, and data.references names none";
                    return Some((key.clone(), String::new(), problem.into()));
                }
                if let Err(reason) = (method.applies)(instrument.as_ref()) {
                    let problem = format!("{} makes no sense {of}: {reason}", method.key);
                    return Some((key.clone(), String::new(), problem));
                }
                if *learns_from == LearnsFrom::Observation && !instrument.observation_is_an_image() {
                    let problem = "learns from the observation, which is no image here";
                    return Some((key.clone(), ".learns_from".into(), problem.into()));
                }
                if let Err((setting, problem)) = settings.check(instrument.as_ref(), instrument.domain()) {
                    return Some((key.clone(), format!(".{setting}"), problem));
                }
            }
        }
        None
    }
}

/// The row `key` of the profile at `path`.
fn checked_row(path: &str, key: &str, file: &File<'_>) -> Result<RowSpec, Box<FileError>> {
    let at = format!("{path}.methods.{key}");
    if !plain(key) {
        return Err(file.misfit((at, "a name has letters, digits, _ and - only".into())));
    }
    // What pictures are called that are of no row.
    if ["truth", "observation", "side-by-side"].contains(&key)
        || key.ends_with("-inset")
        || key.ends_with("-error")
    {
        return Err(file.misfit((at, "a row of this name would take the file of another picture".into())));
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
    if head.work.is_some_and(|work| work.iter().any(|&part| part < 0.0)) {
        return Err(file.misfit((format!("{at}.work"), "is not two numbers of at least 0".into())));
    }
    let settings = (method.read)(file.keys_of(&at, &RawRow::KEYS, false))
        .map_err(|fault| file.fault_in(places, fault))?;
    if let Some((key, problem)) = settings.out_of_range() {
        return Err(file.out_of_range(&format!("{at}.{key}"), &problem));
    }
    Ok(RowSpec {
        key: key.to_owned(),
        title: head.title.unwrap_or_else(|| method.title.to_owned()),
        method,
        settings,
        start: head.start,
        learns_from: head.learns_from,
        published: head.published.unwrap_or_else(|| key.to_owned()),
        left_out: head.left_out,
        work: head.work,
    })
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
        left_out: None,
        work: None,
    })
}

/// What is wrong with the row that `row` starts from.
fn wrong_start(row: &RowSpec, rows: &BTreeMap<String, RowSpec>) -> Option<String> {
    if row.start.is_some() && !row.method.starts {
        return Some(format!("{} does not go on from another estimate", row.method.key));
    }
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
