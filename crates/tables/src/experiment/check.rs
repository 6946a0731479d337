//! From the file as written to the checked experiment.

use super::diagnose::{Failure, FileError};
use super::parse::{self, Misfit};
use super::raw::{RawExperiment, RawFigures, RawProfile, RawPublished, RawSet};
use super::settings::{Data, Form, L2Tv, Operator, PatchNr, Wpp};
use super::{ExperimentKind, Method, ProfileName};
use crate::outcome::{Figure, Figures};
use crate::volume::settings::Volume;
use std::collections::BTreeMap;
use std::path::Path;

/// Pixels that must remain between the crops: a window of SSIM.
const LEAST_INTERIOR: i64 = 7;

/// A checked experiment: every value lies in its range, and the parts fit together.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Experiment {
    /// The name: that of the file without `.toml`.
    pub name: String,
    /// The title of the report.
    pub title: String,
    /// What it is about.
    pub kind: ExperimentKind,
    /// Pixels cut from every side before an image is scored.
    pub crop: i64,
    /// The images that a prior is learned from.
    pub data: Data,
    /// The forward operator and its noise.
    pub operator: Operator,
    smoke: Profile,
    quick: Profile,
    paper: Profile,
}

/// A checked profile: what runs on which images, with which settings.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Profile {
    /// The sets of images and the methods that run on them; at least one but for volumes.
    pub sets: Vec<EvaluationSet>,
    /// Side of the centred square that every evaluated image is cut to; whole images where not given.
    pub size: Option<i64>,
    /// Settings of L2-TV; there where a set names it.
    pub l2_tv: Option<L2Tv>,
    /// Settings of patchNR; there where a set names it.
    pub patchnr: Option<PatchNr>,
    /// Volumes and what runs on them; there where the experiment is about volumes.
    pub volume: Option<Volume>,
    /// Settings of the Wasserstein patch prior; there where a set names it.
    pub wpp: Option<Wpp>,
}

/// Images and the methods that run on them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EvaluationSet {
    /// Image names or patterns with one `*`, relative to the data folder.
    pub images: Vec<String>,
    /// The first so many of them; all where not given.
    pub take: Option<usize>,
    /// The methods, in the order of the rows.
    pub methods: Vec<Method>,
    /// Where the published figures come from.
    pub published_source: Option<String>,
    /// How many of the images, from the first on, the report shows.
    pub show: usize,
    published: BTreeMap<String, Figures>,
}

impl Experiment {
    /// Reads and checks the experiment file at `path`.
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
        parse::parse(file, text, |raw| checked(name, raw))
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &Profile {
        match name {
            ProfileName::Smoke => &self.smoke,
            ProfileName::Quick => &self.quick,
            ProfileName::Paper => &self.paper,
        }
    }
}

impl EvaluationSet {
    /// The published figures of `method` on such images; empty where there are none.
    pub fn published(&self, method: Method) -> Figures {
        self.published.get(method.published_key()).copied().unwrap_or_default()
    }
}

fn checked(name: &str, raw: RawExperiment) -> Result<Experiment, Misfit> {
    for (key, image) in [("reference", &raw.data.reference), ("validation", &raw.data.validation)] {
        plain_name(image, false).map_err(|problem| (format!("data.{key}"), problem))?;
    }
    let profile = |which: &str, p: RawProfile| {
        let path = format!("profile.{which}");
        complete(raw.kind, &p, &raw.operator)
            .and_then(|()| checked_profile(p, &raw.published, raw.crop, raw.operator.stride))
            .map_err(|(key, problem)| (format!("{path}.{key}"), problem))
    };
    Ok(Experiment {
        smoke: profile("smoke", raw.profile.smoke)?,
        quick: profile("quick", raw.profile.quick)?,
        paper: profile("paper", raw.profile.paper)?,
        name: name.to_owned(),
        title: raw.title,
        kind: raw.kind,
        crop: raw.crop,
        data: raw.data,
        operator: raw.operator,
    })
}

/// Checks that a profile has what its kind of experiment needs.
fn complete(kind: ExperimentKind, raw: &RawProfile, operator: &Operator) -> Result<(), Misfit> {
    let problem = |key: &str, problem: &str| Err((key.to_owned(), problem.to_owned()));
    match kind {
        ExperimentKind::Superresolution if raw.sets.is_empty() => problem("sets", "length is lower than 1"),
        ExperimentKind::Superresolution => Ok(()),
        ExperimentKind::Wppnets
        | ExperimentKind::Wppflow
        | ExperimentKind::Ct
        | ExperimentKind::Langevin
        | ExperimentKind::Mixture
        | ExperimentKind::Scatterometry => problem("sets", "an experiment of this kind has another form"),
        ExperimentKind::Volume if raw.volume.is_none() => problem("volume", "no such section for a volume"),
        ExperimentKind::Volume if raw.size.is_none() => problem("size", "no size of the volumes"),
        ExperimentKind::Volume if operator.form != Form::Valid => {
            problem("volume", "volumes need form = \"valid\"")
        }
        ExperimentKind::Volume => Ok(()),
    }
}

fn checked_profile(
    raw: RawProfile,
    published: &BTreeMap<String, RawPublished>,
    crop: i64,
    stride: i64,
) -> Result<Profile, Misfit> {
    let misfit = |key: &str, problem: String| Err((key.to_owned(), problem));
    if let Some(size) = raw.size {
        if size % stride != 0 {
            return misfit("size", format!("{size} is not a multiple of the stride {stride}"));
        }
        if size < 2 * crop + LEAST_INTERIOR {
            return misfit("size", format!("a crop of {crop} leaves too little of {size} pixels to score"));
        }
        if raw.patchnr.as_ref().is_some_and(|p| p.patch_size > size) {
            return misfit("patchnr.patch_size", format!("larger than the images of {size} pixels"));
        }
        if raw.wpp.as_ref().is_some_and(|w| w.patch_size > size) {
            return misfit("wpp.patch_size", format!("larger than the images of {size} pixels"));
        }
    }
    if let Some(problem) = raw.patchnr.as_ref().and_then(|p| p.training.misfit()) {
        return misfit("patchnr.training.warmup_steps", problem);
    }
    for (i, set) in raw.sets.iter().enumerate() {
        for method in &set.methods {
            let settings = match method {
                Method::Bicubic => true,
                Method::L2Tv => raw.l2_tv.is_some(),
                Method::Patchnr => raw.patchnr.is_some(),
                Method::PatchnrAuthors => raw.patchnr.as_ref().is_some_and(|p| p.authors.is_some()),
                Method::Wpp => raw.wpp.is_some(),
                Method::WppAuthors => raw.wpp.as_ref().is_some_and(|w| w.authors.is_some()),
            };
            if !settings {
                let section = match method {
                    Method::PatchnrAuthors => "patchnr.authors",
                    Method::WppAuthors => "wpp.authors",
                    other => other.key(),
                };
                let problem = format!("{} has no section {section} in this profile", method.key());
                return misfit(&format!("sets[{i}].methods"), problem);
            }
        }
    }
    let set = |(i, s): (usize, RawSet)| {
        checked_set(s, published).map_err(|(key, problem)| (format!("sets[{i}].{key}"), problem))
    };
    Ok(Profile {
        sets: raw.sets.into_iter().enumerate().map(set).collect::<Result<_, _>>()?,
        size: raw.size,
        l2_tv: raw.l2_tv,
        patchnr: raw.patchnr,
        volume: raw.volume,
        wpp: raw.wpp,
    })
}

fn checked_set(raw: RawSet, published: &BTreeMap<String, RawPublished>) -> Result<EvaluationSet, Misfit> {
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
        images: raw.images,
        take: raw.take,
        methods: raw.methods,
        published_source: table.map(|t| t.source.clone()),
        show: raw.show,
        published: rows.map(|(method, row)| (method.clone(), figures(row))).collect(),
    })
}

pub(super) fn figures(raw: &RawFigures) -> Figures {
    let figure = |values: &Option<Vec<f64>>| {
        let values = values.as_ref()?;
        Some(Figure { mean: *values.first()?, std: values.get(1).copied() })
    };
    Figures { psnr: figure(&raw.psnr), ssim: figure(&raw.ssim), lpips: figure(&raw.lpips) }
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
