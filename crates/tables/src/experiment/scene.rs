//! Scenes: what images are of, what is learned from, and how it is observed.

use super::data::Data;
use super::diagnose::FileError;
use super::parse::{File, SettingFault};
use super::raw::{RawExperiment, RawProfile};
use smalti_methods::{ConfiguredProblem, PROBLEMS, ProblemEntry};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A scene of a profile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Scene {
    /// Its name; empty for the only one of an experiment.
    pub name: String,
    /// What methods learn from.
    pub data: Data,
    /// The kind of its problem.
    pub kind: &'static ProblemEntry,
    /// The problem as methods know it.
    pub problem: Rc<dyn ConfiguredProblem>,
    /// What observations are really made with, where it is something else.
    pub observer: Option<ObservationModel>,
    /// Where the settings of the observer stand in the file.
    pub(super) places: Vec<String>,
}

/// A problem with some other settings than methods know.
#[derive(Debug, Clone)]
pub struct ObservationModel {
    /// The problem.
    pub problem: Rc<dyn ConfiguredProblem>,
    /// The other settings, for readers.
    pub description: String,
}

impl Scene {
    /// All files that it needs, relative to the data folder.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.data.files().into_iter().map(|(_, name)| name.clone()).collect();
        let observer = self.observer.iter().flat_map(|observer| observer.problem.files());
        files.extend(self.problem.files().into_iter().chain(observer).map(|(_, name)| name));
        files
    }
}

/// The scenes of the profile at `path`; at least one.
pub(super) fn checked_scenes(
    path: &str,
    raw: &RawProfile,
    experiment: &RawExperiment,
    file: &File<'_>,
) -> Result<Vec<Scene>, Box<FileError>> {
    let misfit = |path: String, problem: &str| file.misfit((path, problem.to_owned()));
    if let Some(data) = &experiment.data {
        if let Some(name) = experiment.scene.keys().next() {
            return Err(misfit(format!("scene.{name}"), "the file has data outside of scenes"));
        }
        if !raw.scene.is_empty() {
            return Err(misfit(format!("{path}.scene"), "the file has no scenes"));
        }
        let section = Section {
            name: "",
            within: String::new(),
            profile: path.to_owned(),
            data,
            problems: [&experiment.problem, &raw.problem],
            observed_with: experiment.observed_with.as_ref(),
        };
        return Ok(vec![section.checked(file)?]);
    }
    if experiment.scene.is_empty() {
        return Err(misfit("data".into(), "missing field `data`, or sections scene.NAME.data"));
    }
    for (at, given) in [
        ("problem".to_owned(), !experiment.problem.is_empty()),
        ("observed_with".to_owned(), experiment.observed_with.is_some()),
        (format!("{path}.problem"), !raw.problem.is_empty()),
    ] {
        if given {
            return Err(misfit(at, "stands outside of scenes"));
        }
    }
    if let Some(name) = raw.scene.keys().find(|name| !experiment.scene.contains_key(*name)) {
        return Err(misfit(format!("{path}.scene.{name}"), &no_scene(name, experiment)));
    }
    let none = BTreeMap::new();
    let scene = |(name, scene): (&String, &super::raw::RawScene)| {
        let within = format!("scene.{name}");
        if !plain(name) {
            return Err(misfit(within, "a name has letters, digits, _ and - only"));
        }
        let section = Section {
            name,
            profile: format!("{path}.{within}"),
            within,
            data: &scene.data,
            problems: [&scene.problem, raw.scene.get(name).map_or(&none, |scene| &scene.problem)],
            observed_with: scene.observed_with.as_ref(),
        };
        section.checked(file)
    };
    experiment.scene.iter().map(scene).collect()
}

/// What is wrong with a scene called `name`.
pub(super) fn no_scene(name: &str, experiment: &RawExperiment) -> String {
    let known: Vec<&str> = experiment.scene.keys().map(String::as_str).collect();
    format!("no section scene.{name}; there is {}", known.join(", "))
}

/// Whether a name can be part of a path and of a file's name.
pub(super) fn plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// A scene as it stands in the file and, for some settings, in a profile.
struct Section<'a> {
    name: &'a str,
    /// The path of the scene; empty for the whole file.
    within: String,
    /// The path of what the profile says of it.
    profile: String,
    data: &'a Data,
    problems: [&'a BTreeMap<String, toml::Table>; 2],
    observed_with: Option<&'a toml::Table>,
}

impl Section<'_> {
    fn checked(self, file: &File<'_>) -> Result<Scene, Box<FileError>> {
        let at = |key: &str| {
            if self.within.is_empty() { key.to_owned() } else { format!("{}.{key}", self.within) }
        };
        for (key, name) in self.data.files() {
            plain_name(name, false).map_err(|problem| file.misfit((at(&format!("data.{key}")), problem)))?;
        }
        let kind = self.kind(file)?;
        let problem = |profile: &str| format!("{profile}.problem.{}", kind.name);
        let mut places = vec![problem(&self.profile), at(&format!("problem.{}", kind.name))];
        let problem = read(kind, &places, file)?;
        let mut observer = None;
        if let Some(with) = self.observed_with {
            places.insert(0, at("observed_with"));
            observer = Some(ObservationModel {
                problem: read(kind, &places, file)?,
                description: description(with),
            });
        }
        let (name, data) = (self.name.to_owned(), self.data.clone());
        Ok(Scene { name, data, kind, problem, observer, places })
    }

    /// The kind of the problem: what the file gives for all profiles and what the profile gives are of one kind.
    fn kind(&self, file: &File<'_>) -> Result<&'static ProblemEntry, Box<FileError>> {
        let path = &self.profile;
        let names: Vec<&String> = self.problems.into_iter().flat_map(BTreeMap::keys).collect();
        let known = || PROBLEMS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        let Some(name) = names.first() else {
            let problem = format!("no section problem.NAME, with a NAME of {}", known());
            return Err(file.misfit((path.to_owned(), problem)));
        };
        if let Some(unknown) = names.iter().find(|name| ProblemEntry::find(name).is_none()) {
            let places = [path.clone(), self.within.clone()];
            let problem = format!("no such problem; there is {}", known());
            return Err(file.misfit((file.place_of(&places, &format!("problem.{unknown}")), problem)));
        }
        if let Some(other) = names.iter().find(|other| other != &name) {
            let problem = format!("the problem is {name} already");
            return Err(file.misfit((format!("{path}.problem.{other}"), problem)));
        }
        let none = || file.misfit((path.to_owned(), format!("no problem {name}")));
        ProblemEntry::find(name).ok_or_else(none)
    }
}

/// The problem whose settings stand at `places`: what stands in the first that has a key counts.
fn read(
    kind: &ProblemEntry,
    places: &[String],
    file: &File<'_>,
) -> Result<Rc<dyn ConfiguredProblem>, Box<FileError>> {
    let problem = (kind.read)(file.merged(places)).map_err(|fault| file.fault_in(places, fault))?;
    if let Some((key, what)) = problem.out_of_range() {
        return Err(file.out_of_range(&file.place_of(places, &key), &what));
    }
    let misfit = |(key, what): SettingFault| file.misfit((file.place_of(places, &key), what));
    problem.check().map_err(misfit)?;
    for (key, name) in problem.files() {
        plain_name(&name, false).map_err(|what| misfit((key.to_owned(), what)))?;
    }
    Ok(problem)
}

impl Scene {
    /// What observations of a set are made with, whose other settings stand at `place`.
    pub(super) fn observed_with(
        &self,
        place: String,
        with: &toml::Table,
        file: &File<'_>,
    ) -> Result<ObservationModel, Box<FileError>> {
        let places: Vec<String> = [place].iter().chain(&self.places).cloned().collect();
        Ok(ObservationModel { problem: read(self.kind, &places, file)?, description: description(with) })
    }
}

/// Settings for readers.
fn description(with: &toml::Table) -> String {
    with.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
}

/// Image names stay inside of the data folder, and a pattern has one `*`, in the file name.
pub(super) fn plain_name(name: &str, pattern: bool) -> Result<(), String> {
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
