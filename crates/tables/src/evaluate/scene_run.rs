//! A scene with its instruments: what is learned from, and what is observed.

use crate::data::{DataSource, SYNTHETIC_SEED};
use crate::experiment::{EvaluationSet, LearnsFrom, Observations, Profile, RowSpec, Scene};
use smalti_base::hdf5_file::load_crops_in;
use smalti_base::{Error, Result, Seed, Space};
use smalti_methods::wpp_training::tiles;
use smalti_methods::{Instrument, InverseProblem, ObservedImage, Role, Run, TrainingData};
use std::collections::BTreeMap;
use tch::Tensor;

/// Side of the crops that are cut from drawn observations in place of a file of crops.
const CROP: i64 = 25;

/// A scene with its instruments.
pub(super) struct SceneRun<'a> {
    /// Which of the scenes of the profile it is.
    pub(super) number: usize,
    scene: &'a Scene,
    data: &'a DataSource,
    /// The run of its part of the work.
    pub(super) run: Run,
    /// The instrument that methods know.
    pub(super) instrument: Box<dyn Instrument>,
    /// The one that observes, where it is another.
    observer: Option<Box<dyn Instrument>>,
}

/// An image with what all rows know about it.
pub(super) struct Observed {
    /// What the problem is called.
    pub(super) name: String,
    pub(super) seen: ObservedImage,
    pub(super) domain: Space,
}

/// The images of a set.
pub(super) struct Images<'a> {
    pub(super) set: &'a EvaluationSet,
    /// The names of the images.
    pub(super) names: Vec<String>,
    /// What observes them, where it is not what the scene says.
    observer: Option<Box<dyn Instrument>>,
}

impl<'a> SceneRun<'a> {
    /// The scene `number` of `profile`. The files of a scene that no set is of may be missing.
    pub(super) fn new(number: usize, profile: &'a Profile, data: &'a DataSource, run: &Run) -> Result<Self> {
        let scene = &profile.scenes[number];
        let folder = data.folder().filter(|_| profile.seen().any(|(i, _)| i == number));
        let observer = scene.observer.as_ref();
        Ok(Self {
            number,
            scene,
            data,
            run: run.in_scene(&scene.name),
            instrument: scene.problem.instrument(folder)?,
            observer: observer.map(|other| other.problem.instrument(folder)).transpose()?,
        })
    }

    fn observer(&self) -> &dyn Instrument {
        self.observer.as_deref().unwrap_or(self.instrument.as_ref())
    }

    /// The images of a set of this scene.
    pub(super) fn images(&self, set: &'a EvaluationSet) -> Result<Images<'a>> {
        let observer = set.observer.as_ref();
        Ok(Images {
            set,
            names: self.data.names(&set.images, set.take)?,
            observer: observer.map(|other| other.problem.instrument(self.data.folder())).transpose()?,
        })
    }

    /// Which images and observations these are, for the column `data` of the table.
    pub(super) fn label(&self, images: &Images<'_>) -> Result<String> {
        let Images { set, names, .. } = images;
        let label = match &set.observed[..] {
            [] => self.data.label(names),
            observed => self.data.label(&self.data.names(observed, Some(names.len()))?),
        };
        let with = set.observer.as_ref().filter(|_| set.observed.is_empty());
        let with = with.map_or_else(String::new, |other| format!(" observed with {}", other.description));
        let note = set.label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
        Ok(self.called(&format!("{label}{with}{note}")))
    }

    /// What something of this scene is called beside things of other scenes.
    pub(super) fn called(&self, name: &str) -> String {
        let scene = &self.scene.name;
        if scene.is_empty() { name.to_owned() } else { format!("{scene}: {name}") }
    }

    /// Image number `i` and its observation: measured, or simulated with noise that depends on the seed of the run and the name of
    /// the image.
    pub(super) fn observe(&self, images: &Images<'_>, i: usize) -> Result<Observed> {
        let name = &images.names[i];
        let observer = images.observer.as_deref().unwrap_or(self.observer());
        let image =
            self.data.image(name, self.scene.data.values, Role::Evaluation, self.instrument.as_ref())?;
        let image = image.f_to_device(self.run.device)?;
        let Some(file) = images.set.observed.get(i) else {
            let seen = observer.acquire(name, &image, self.run.seed.derive(name, 0))?;
            let with =
                images.set.observer.as_ref().map(|other| format!(" observed with {}", other.description));
            let name = format!("{name}{}", with.unwrap_or_default());
            return Ok(Observed { domain: Space::of(&name, &seen.truth)?, name, seen });
        };
        let truth = self.instrument.truth(name, &image)?;
        let observation = match self.data.folder() {
            Some(_) => self.data.load(file, self.scene.data.values)?.f_to_device(self.run.device)?,
            None => observer.observe(&truth, stand_in(file))?,
        };
        let name = self.data.names(std::slice::from_ref(file), None)?.join("");
        let surroundings = self.instrument.surroundings(&observation)?;
        Ok(Observed {
            domain: Space::of(&name, &truth)?,
            name,
            seen: ObservedImage { truth, observation, surroundings },
        })
    }

    /// The inverse problem of an observation as methods know it. Its start knows where the observed pixels lie.
    pub(super) fn pose(&self, images: &Images<'_>, image: &Observed) -> Result<InverseProblem> {
        let pose = |by: &dyn Instrument| by.pose(&image.name, &image.seen.observation, Some(image.domain));
        let mut problem = pose(self.instrument.as_ref())?;
        if let Some(observer) = images.observer.as_deref().or(self.observer.as_deref()) {
            problem.start = pose(observer)?.start;
        }
        Ok(problem)
    }

    /// What is wrong with an image is said before any training, not after it.
    /// Every measured observation is looked at, of simulated ones the first; each of them where it is learned from.
    pub(super) fn check(&self, images: &Images<'_>, rows: &BTreeMap<String, RowSpec>) -> Result<()> {
        let mut used: Vec<&RowSpec> = images.set.methods.iter().filter_map(|key| rows.get(key)).collect();
        let mut next = 0;
        while let Some(row) = used.get(next) {
            let start = row.start.as_ref().and_then(|key| rows.get(key));
            used.extend(start.filter(|row| used.iter().all(|known| known.key != row.key)));
            next += 1;
        }
        let observer = images.observer.as_deref().unwrap_or(self.observer());
        if observer.domain() != self.instrument.domain() {
            let expected = "the size that methods know";
            return Err(Error::value("images observed with other settings", expected, "another"));
        }
        let from_it =
            used.iter().any(|row| row.learns_from == LearnsFrom::Observation && row.left_out.is_none());
        for (i, name) in images.names.iter().enumerate() {
            let domain = if images.set.observed.is_empty() && i > 0 && !from_it {
                let image = self.data.image(
                    name,
                    self.scene.data.values,
                    Role::Evaluation,
                    self.instrument.as_ref(),
                )?;
                Space::of(name, &self.instrument.truth(name, &image)?)?
            } else {
                let image = self.observe(images, i)?;
                self.pose(images, &image)?;
                if from_it && image.seen.surroundings.is_empty() {
                    return Err(no_room(&image.name));
                }
                image.domain
            };
            for row in used.iter().filter(|row| row.left_out.is_none()) {
                row.settings.check(self.instrument.as_ref(), Some(domain)).map_err(|(key, problem)| {
                    Error::value(format!("{name} for {} ({key})", row.key), "an image that fits", problem)
                })?;
            }
        }
        Ok(())
    }

    /// What is learned from.
    pub(super) fn material(&self) -> Result<TrainingData<'_>> {
        let load = |name: &String| {
            let image =
                self.data.image(name, self.scene.data.values, Role::Reference, self.instrument.as_ref())?;
            check_contrast(name, &image)?;
            self.instrument.reference(name, &image)
        };
        let data = &self.scene.data;
        let validation = data.validation.as_ref().filter(|name| !data.references.contains(name));
        let measured = |name: &String| match self.data.path(name) {
            Some(path) => load_crops_in(&path, Some("obs"), self.scene.data.values),
            None => self.stand_in(name),
        };
        Ok(TrainingData {
            references: data.references.iter().map(load).collect::<Result<_>>()?,
            validation: validation.map(load).transpose()?,
            observations: data.observations.as_ref().map(|from| self.crops(from)).transpose()?,
            validation_observations: data.validation_observations.as_ref().map(measured).transpose()?,
            ..self.no_material()
        })
    }

    pub(super) fn no_material(&self) -> TrainingData<'_> {
        let grey_step = self.scene.data.grey_step;
        let values = self.scene.data.values;
        let folder = self.data.folder();
        TrainingData { grey_step, values, folder, ..TrainingData::none(self.instrument.as_ref()) }
    }

    fn crops(&self, from: &Observations) -> Result<Tensor> {
        match (from, self.data.folder()) {
            (Observations::File(name), Some(folder)) => {
                load_crops_in(&folder.join(name), None, self.scene.data.values)
            }
            (Observations::File(name), None) => tiles(&self.stand_in(name)?, [CROP; 2], [CROP / 2; 2]),
            (&Observations::Cut { ref image, size, step }, folder) => {
                let whole = if folder.is_some() {
                    self.data.load(image, self.scene.data.values)?
                } else {
                    self.stand_in(image)?
                };
                tiles(&whole, [size; 2], [step; 2])
            }
        }
    }

    /// A drawn observation that stands for the file `name`.
    fn stand_in(&self, name: &str) -> Result<Tensor> {
        let image =
            self.data.image(name, self.scene.data.values, Role::Reference, self.instrument.as_ref())?;
        self.observer().observe(&image, stand_in(name))
    }
}

/// Refuses an image to learn from that is constant, and warns of one that nearly is, or whose values are not those that settings and
/// scores are for.
fn check_contrast(name: &str, image: &Tensor) -> Result<()> {
    let (low, high) = (image.f_min()?.f_double_value(&[])?, image.f_max()?.f_double_value(&[])?);
    if low == high {
        let got = format!("{low} everywhere");
        return Err(Error::value(name, "an image to learn from, with structure", got));
    }
    let range = format!("values from {low:.3} to {high:.3}, and settings and scores are for [0, 1]");
    if high - low < 0.1 {
        tracing::warn!("{name}: nearly constant, {range}; data.values brings them there");
    } else if low < -0.5 || high > 1.5 {
        tracing::warn!("{name}: {range}; data.values brings them there");
    }
    Ok(())
}

/// Why nothing is learned from the observation called `name`.
pub(super) fn no_room(name: &str) -> Error {
    Error::value(name.to_owned(), "room for patches to learn from, around what is reconstructed", "none")
}

/// The seed of the noise of the drawn observation that stands for the file `name`.
fn stand_in(name: &str) -> Seed {
    Seed::new(SYNTHETIC_SEED).derive(name, 0)
}
