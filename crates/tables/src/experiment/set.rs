//! Sets of images: how they are observed, which rows run on them, and what was published.

use super::diagnose::FileError;
use super::parse::{File, SettingFault};
use super::raw::{Names, RawExperiment, RawFigures, RawPublished, RawSet};
use super::scene::{ObservationModel, Scene, no_scene, plain_name};
use crate::outcome::{Figure, Figures};
use smalti_base::Space;
use smalti_methods::Instrument;
use std::collections::BTreeMap;

/// Images and the methods that run on them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EvaluationSet {
    /// Which of the scenes of the profile they are of.
    pub scene: usize,
    /// Image names or patterns with one `*`, relative to the data folder.
    pub images: Vec<String>,
    /// The first so many of them; all where not given.
    pub take: Option<usize>,
    /// Measured observations, one for each image; none where they are simulated.
    pub observed: Vec<String>,
    /// What observations are really made with, where it is not what the scene says.
    pub observer: Option<ObservationModel>,
    /// What else the column `data` of the table says of them.
    pub label: Option<String>,
    /// The names of the rows, in their order.
    pub methods: Vec<String>,
    /// How many of the images, from the first on, the report shows.
    pub show: usize,
    /// For each scored part; none where nothing was published.
    published: Vec<Published>,
}

/// Where published figures come from, and the figures by row.
type Published = (String, BTreeMap<String, Figures>);

impl EvaluationSet {
    /// The published figures of the row `key` in the scored part number `region`; empty where there are none.
    pub fn published(&self, region: usize, key: &str) -> Figures {
        let figures = self.published.get(region).and_then(|(_, rows)| rows.get(key));
        figures.copied().unwrap_or_default()
    }

    /// Where published figures come from.
    pub fn sources(&self) -> impl Iterator<Item = &String> {
        self.published.iter().map(|(source, _)| source)
    }
}

/// The set at `path`.
pub(super) fn checked_set(
    path: &str,
    raw: &RawSet,
    experiment: &RawExperiment,
    scenes: &[(Scene, Box<dyn Instrument>)],
    file: &File<'_>,
) -> Result<EvaluationSet, Box<FileError>> {
    let misfit = |key: &str, problem: String| file.misfit((format!("{path}.{key}"), problem));
    let index = scene_of(raw, experiment, scenes).map_err(|problem| misfit("scene", problem))?;
    let (scene, instrument) = &scenes[index];
    for (i, image) in raw.images.iter().enumerate() {
        plain_name(image, raw.observed.is_none())
            .map_err(|problem| misfit(&format!("images[{i}]"), problem))?;
    }
    for (i, image) in raw.observed.iter().flatten().enumerate() {
        plain_name(image, false).map_err(|problem| misfit(&format!("observed[{i}]"), problem))?;
    }
    if let Some(observed) = &raw.observed
        && observed.len() != raw.images.len()
    {
        let problem = format!("{} observations of {} images", observed.len(), raw.images.len());
        return Err(misfit("observed", problem));
    }
    let twice = |names: &[String]| {
        let at = (1..names.len()).find(|&i| names[..i].contains(&names[i]));
        at.map(|i| (i, format!("{} stands twice", names[i])))
    };
    for (key, names) in [("images", &raw.images), ("methods", &raw.methods)] {
        if let Some((i, problem)) = twice(names)
            && (key == "methods" || raw.observed.is_none())
        {
            return Err(misfit(&format!("{key}[{i}]"), problem));
        }
    }
    let with = |with| scene.observed_with(format!("{path}.observed_with"), with, file);
    // Images of unknown size have as many scored parts as any.
    let domain = instrument.domain().unwrap_or(Space::image(1, 1 << 20, 1 << 20));
    Ok(EvaluationSet {
        scene: index,
        images: raw.images.clone(),
        take: raw.take,
        observed: raw.observed.clone().unwrap_or_default(),
        observer: raw.observed_with.as_ref().map(with).transpose()?,
        label: raw.label.clone(),
        methods: raw.methods.clone(),
        show: raw.show,
        published: published(raw, &experiment.published, instrument.regions(domain).len())
            .map_err(|(key, problem)| misfit(&key, problem))?,
    })
}

fn scene_of(
    raw: &RawSet,
    experiment: &RawExperiment,
    scenes: &[(Scene, Box<dyn Instrument>)],
) -> Result<usize, String> {
    match &raw.scene {
        None if experiment.scene.is_empty() => Ok(0),
        None => Err("missing field `scene`".into()),
        Some(_) if experiment.scene.is_empty() => Err("the file has no scenes".into()),
        Some(name) => {
            let found = scenes.iter().position(|(scene, _)| scene.name == *name);
            found.ok_or_else(|| no_scene(name, experiment))
        }
    }
}

/// What was published, for each of `regions` scored parts.
fn published(
    raw: &RawSet,
    groups: &BTreeMap<String, RawPublished>,
    regions: usize,
) -> Result<Vec<Published>, SettingFault> {
    let (names, listed) = match &raw.published {
        None => return Ok(Vec::new()),
        Some(Names::One(name)) => (std::slice::from_ref(name), false),
        Some(Names::Each(names)) => (&names[..], true),
    };
    if names.len() != regions {
        return Err(("published".into(), format!("not one name for each of {regions} scored parts")));
    }
    let group = |(i, name): (usize, &String)| {
        let group = groups.get(name).ok_or_else(|| {
            let key = if listed { format!("published[{i}]") } else { "published".into() };
            let known: Vec<&str> = groups.keys().map(String::as_str).collect();
            (key, format!("no section published.{name}; there is {}", known.join(", ")))
        })?;
        let rows = group.rows.iter().map(|(row, raw)| (row.clone(), figures(raw)));
        Ok((group.source.clone(), rows.collect()))
    };
    names.iter().enumerate().map(group).collect()
}

fn figures(raw: &RawFigures) -> Figures {
    let figure = |values: &Option<Vec<f64>>| {
        let values = values.as_ref()?;
        Some(Figure { mean: *values.first()?, std: values.get(1).copied() })
    };
    Figures { psnr: figure(&raw.psnr), ssim: figure(&raw.ssim), lpips: figure(&raw.lpips) }
}
