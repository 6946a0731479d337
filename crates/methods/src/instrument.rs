//! What makes observations, and what is learned from.

use crate::estimate::Metrics;
use crate::problem::{InverseProblem, Noise, ProblemKey, Range};
use crate::settings::{SettingFault, Settings};
use smalti_base::metrics::{blur_effect, psnr, ssim};
use smalti_base::{Error, Result, Seed, Space, ValueRange};
use smalti_operators::{Boundary, ImagingOperator};
use smalti_solvers::PairedDataset;
use std::path::Path;
use tch::{Kind, Tensor};

/// An instrument: simulates observations of images, poses the inverse problem of an observation, and scores estimates by the
/// protocol of its problem.
pub trait Instrument {
    /// Its kind of problem.
    fn key(&self) -> ProblemKey;

    /// All settings that its observations and problems depend on, as text.
    fn identity(&self) -> String;

    /// The space of the images that it looks at, where its settings fix it.
    fn domain(&self) -> Option<Space>;

    /// What it looks at of an image of a data set: a part of it, or fewer pixels.
    ///
    /// # Errors
    /// [`Error::Shape`] where `image` is too small.
    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let _ = name;
        Ok(image.shallow_clone())
    }

    /// What is learned from of a reference image of a data set; all of it unless an instrument says otherwise.
    ///
    /// # Errors
    /// [`Error::Shape`] where `image` is too small.
    fn reference(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let _ = name;
        Ok(image.shallow_clone())
    }

    /// What it sees of `truth`, with noise that depends on `seed`.
    ///
    /// # Errors
    /// Those of the forward operator.
    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor>;

    /// Looks at an image of a data set: what of it is looked at, what is seen of that, and what is seen around it.
    ///
    /// # Errors
    /// Those of [`Instrument::truth`] and [`Instrument::observe`].
    fn acquire(&self, name: &str, image: &Tensor, seed: Seed) -> Result<ObservedImage> {
        let truth = self.truth(name, image)?;
        let observation = self.observe(&truth, seed)?;
        let surroundings = self.surroundings(&observation)?;
        Ok(ObservedImage { truth, observation, surroundings })
    }

    /// Images of the same material that an observation alone shows, to learn from without a reference: itself unless an instrument
    /// says otherwise.
    ///
    /// # Errors
    /// [`Error::Shape`] where the observation is not one of this instrument.
    fn surroundings(&self, observation: &Tensor) -> Result<Vec<Tensor>> {
        Ok(vec![observation.shallow_clone()])
    }

    /// The inverse problem of an observation called `name`, of an image in `domain` where that is known.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where the observation is not one of this instrument.
    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem>;

    /// How much coarser observations are, where they are images.
    fn downsampling(&self) -> Option<Downsampling> {
        None
    }

    /// Observed crops `[N, 1, h, w]` as problems are posed with them, and the forward operator on images of which nothing is known
    /// beyond their edges: on `[B, 1, f h, f w]`, `f` the factor of [`Instrument::downsampling`], continued as `form` says. Its
    /// output pixel `(i, j)` belongs to pixel `(i, j)` of a crop; the last rows and columns of a crop may have none.
    ///
    /// # Errors
    /// [`Error::Value`] where observations are no images; those of the operator.
    fn on_crops(&self, crops: &Tensor, form: Boundary) -> Result<(Tensor, Box<dyn ImagingOperator>)> {
        let _ = form;
        let got = format!("{:?} of {:?}", crops.size(), self.key());
        Err(Error::value("observed crops", "observations that are images on a coarser grid", got))
    }

    /// An image such as it looks at, drawn anew for every seed and index.
    ///
    /// # Errors
    /// Those of drawing.
    fn phantom(&self, role: Role, seed: Seed, index: u64) -> Result<Tensor>;

    /// The name of a published data set in `folder`, and its pairs of [`crate::Start`] and truth; or why there are none.
    ///
    /// # Errors
    /// Those of reading.
    fn published_pairs<'a>(
        &'a self,
        folder: Option<&Path>,
    ) -> Result<std::result::Result<PublishedPairs<'a>, String>> {
        let _ = folder;
        Ok(Err("there are no published pairs of this problem".into()))
    }

    /// Whether it looks at images as published protocols do: whole ones, in their own pixels.
    fn is_published_protocol(&self) -> bool;

    /// Whether an observation is an image, which can be shown beside the truth.
    fn observation_is_an_image(&self) -> bool {
        true
    }

    /// The noise of observations.
    fn noise(&self) -> Noise;

    /// What values mean.
    fn range(&self) -> Range;

    /// The range of values that scores refer to.
    fn score_range(&self, truth: &Tensor) -> f64 {
        let _ = truth;
        1.0
    }

    /// The part of an image that is scored, as first index and length of each spatial axis.
    fn scored(&self, domain: Space) -> Vec<(i64, i64)>;

    /// The parts of an image that tables have a row for each, [`Instrument::scored`] last.
    fn regions(&self, domain: Space) -> Vec<Region> {
        vec![Region { label: String::new(), axes: self.scored(domain) }]
    }

    /// The scored part of images `[B, C, H, W]` or volumes.
    ///
    /// # Errors
    /// [`Error::Shape`] where nothing is left.
    fn scored_part(&self, images: &Tensor) -> Result<Tensor> {
        let axes = self.scored(Space::of("image to score", images)?);
        Region { label: String::new(), axes }.of(images)
    }

    /// How an estimate scores against the truth, in its scored part; see [`Instrument::score_in`].
    ///
    /// # Errors
    /// Those of the metrics.
    fn score(&self, image: &Tensor, truth: &Tensor) -> Result<Metrics> {
        let axes = self.scored(Space::of("image to score", truth)?);
        self.score_in(&Region { label: String::new(), axes }, image, truth)
    }

    /// How an estimate scores against the truth in a region: `psnr` in dB, `ssim` (7 x 7 uniform window; of volumes the mean over slices), and of images the
    /// `blur_effect` of both.
    ///
    /// # Errors
    /// Those of the metrics.
    fn score_in(&self, region: &Region, image: &Tensor, truth: &Tensor) -> Result<Metrics> {
        let slices = |t: Tensor| if t.dim() == 5 { t.f_flatten(1, 2) } else { Ok(t) };
        let (x, t) = (slices(region.of(image)?)?, slices(region.of(truth)?)?);
        let range = self.score_range(truth);
        let mut figures = Metrics::new();
        figures.insert("psnr".into(), psnr(&x, &t, range)?);
        figures.insert("ssim".into(), ssim(&x, &t, range)?);
        if x.dim() == 4 && x.size()[1] == 1 {
            figures.insert("blur_effect".into(), blur_effect(&x)?);
            figures.insert("blur_effect_of_truth".into(), blur_effect(&t)?);
        }
        Ok(figures)
    }

    /// What a reader must know to compare figures with others.
    fn protocol(&self) -> Vec<(&'static str, String)>;
}

/// Whether a two-dimensional network makes sense for what an instrument observes; else why not.
pub(crate) fn two_dimensional(instrument: &dyn Instrument) -> std::result::Result<(), String> {
    match instrument.key() {
        ProblemKey::Volume => Err("the network is two-dimensional".into()),
        _ => Ok(()),
    }
}

/// The name of a data set and its pairs.
pub type PublishedPairs<'a> = (&'static str, Box<dyn PairedDataset + 'a>);

/// Observations that are images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Downsampling {
    /// How many pixels of the image there are to one of the observation, along each axis.
    pub factor: i64,
    /// Standard deviation of the white noise, at least 0.
    pub noise: f64,
}

/// A part of an image that is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// For readers; empty where there is no other.
    pub label: String,
    /// First index and length of each spatial axis.
    pub axes: Vec<(i64, i64)>,
}

impl Region {
    /// This part of images `[B, C, H, W]` or volumes.
    ///
    /// # Errors
    /// [`Error::Shape`] where less than a window of SSIM is left.
    pub fn of(&self, images: &Tensor) -> Result<Tensor> {
        let mut part = images.shallow_clone();
        for (axis, &(first, length)) in self.axes.iter().enumerate() {
            if length < MIN_SCORED {
                let expected = format!("at least {MIN_SCORED} pixels along every axis of the scored part");
                return Err(Error::shape("image to score", expected, images.size()));
            }
            part = part.f_narrow(axis as i64 + 2, first, length)?;
        }
        Ok(part.f_contiguous()?)
    }
}

/// Pixels that must be scored along every axis: a window of SSIM.
pub const MIN_SCORED: i64 = 7;

/// An image as an instrument sees it.
#[derive(Debug)]
pub struct ObservedImage {
    /// The image.
    pub truth: Tensor,
    /// The observation of it.
    pub observation: Tensor,
    /// Images of the same material that are seen, without another reference: the observation itself, or what lies around a hole.
    pub surroundings: Vec<Tensor>,
}

/// What a drawn image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To be learned from as a reference.
    Reference,
    /// To be observed and reconstructed.
    Evaluation,
    /// One of the many that a network is trained on.
    Training,
}

/// What may be learned from.
pub struct TrainingData<'a> {
    /// Images of the material.
    pub references: Vec<Tensor>,
    /// An image that measures the learning.
    pub validation: Option<Tensor>,
    /// Observed crops of the material, `[N, 1, h, w]`, where there are others than those that the instrument makes of the references.
    pub observations: Option<Tensor>,
    /// Observations that measure the learning, `[V, 1, h, w]`, at least as large as the crops.
    pub validation_observations: Option<Tensor>,
    /// Step of the grey values of the files.
    pub grey_step: f64,
    /// Which stored values of image files become 0 and 1.
    pub values: ValueRange,
    /// The instrument, which makes pairs of images.
    pub instrument: &'a dyn Instrument,
    /// The folder of a data set, for published pairs.
    pub folder: Option<&'a Path>,
}

impl std::fmt::Debug for TrainingData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingData")
            .field("references", &self.references)
            .field("validation", &self.validation)
            .field("observations", &self.observations)
            .field("validation_observations", &self.validation_observations)
            .field("grey_step", &self.grey_step)
            .field("values", &self.values)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// A standard deviation below this share of the largest value is hardly a texture.
const FLAT: f64 = 1e-3;

/// Differences below this share of the largest value are rounding.
const CONSTANT: f64 = 1e-6;

impl<'a> TrainingData<'a> {
    /// Whether there is something to learn from: warns of images that hardly vary.
    ///
    /// # Errors
    /// [`Error::Value`] where images of a kind are all constant, or one has a value that is not finite.
    pub fn check(&self) -> Result<()> {
        let observations: Vec<Tensor> = self.observations.iter().map(Tensor::shallow_clone).collect();
        for (what, images) in
            [("image to learn from", &self.references), ("observations to learn from", &observations)]
        {
            let mut constant = 0;
            for (k, image) in images.iter().enumerate() {
                let image = image.f_to_kind(Kind::Double)?;
                let numbers =
                    [image.f_min()?, image.f_max()?, image.f_std(false)?].map(|t| t.double_value(&[]));
                let [least, most, deviation] = numbers;
                let name = format!("{what}, number {}", k + 1);
                if !numbers.iter().all(|v| v.is_finite()) {
                    return Err(Error::value(name, "finite values; mend the file", "NaN or infinity"));
                }
                let size = most.abs().max(least.abs());
                if most - least <= CONSTANT * size {
                    constant += 1;
                    tracing::warn!(
                        "{name} is constant, {most:.4} everywhere: nothing can be learned from it"
                    );
                } else if deviation <= FLAT * size {
                    tracing::warn!(
                        "{name} hardly varies, by {deviation:.1e} around {:.4}: estimates will be as flat",
                        image.f_mean(Kind::Double)?.double_value(&[])
                    );
                }
            }
            if constant > 0 && constant == images.len() {
                let expected = "values that vary; take an image that shows the material";
                return Err(Error::value(what, expected, "a constant image"));
            }
        }
        Ok(())
    }

    /// Nothing to learn from.
    pub fn none(instrument: &'a dyn Instrument) -> Self {
        Self {
            references: Vec::new(),
            validation: None,
            observations: None,
            validation_observations: None,
            grey_step: 0.0,
            values: ValueRange::ByType,
            instrument,
            folder: None,
        }
    }

    /// The references with uniform noise as wide as the step of their grey values: patches of one rounded value would have an
    /// infinite density.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn dequantised(&self, seed: Seed) -> Result<Vec<Tensor>> {
        let noisy = |(k, image): (usize, &Tensor)| {
            if self.grey_step == 0.0 {
                return Ok(image.shallow_clone());
            }
            let noise = seed.derive("grey steps", k as u64).at("noise", 0).uniform(&image.size());
            Ok(image.f_add(&((noise - 0.5) * self.grey_step))?)
        };
        self.references.iter().enumerate().map(noisy).collect()
    }
}

/// A kind of problem: its settings and the instrument that they describe. One file each.
pub trait Problem: 'static {
    /// Its key.
    const KEY: ProblemKey;
    /// The name in files.
    const NAME: &'static str;
    /// The name for readers.
    const TITLE: &'static str;
    /// Its settings.
    type Settings: Settings;

    /// Whether its settings fit together.
    ///
    /// # Errors
    /// The key that does not fit, and the problem.
    fn check(_settings: &Self::Settings) -> std::result::Result<(), SettingFault> {
        Ok(())
    }

    /// The files that the instrument reads, each with its key: names relative to a folder of data.
    fn files(_settings: &Self::Settings) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The instrument, with its files in `folder`; without a folder something simple stands in for them.
    ///
    /// # Errors
    /// Those of making it.
    fn instrument(settings: &Self::Settings, folder: Option<&Path>) -> Result<Box<dyn Instrument>>;
}
