//! Experiment files of kind `ct`: a scanner, its noise, and the methods that reconstruct slices.

mod check;
mod methods;

pub use methods::{CtMap, CtSinkhorn, CtWpp, DipTv, FbpUnet, FilterChoice, Map, PairSource, Start, Tv};

use super::check::{figures, plain_name};
use super::diagnose::{Failure, FileError};
use super::parse::{self, Misfit};
use super::profiles::Profiles;
use super::raw::RawPublished;
use super::settings::PatchNr;
use super::{ExperimentKind, ProfileName};
use crate::outcome::Figures;
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A checked experiment file of this kind.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ct {
    /// The name: that of the file without `.toml`.
    #[serde(skip)]
    #[garde(skip)]
    pub name: String,
    /// The title of the report.
    #[garde(length(min = 1))]
    pub title: String,
    /// What it is about: [`ExperimentKind::Ct`].
    #[garde(skip)]
    pub kind: ExperimentKind,
    /// The values that pictures show as black and as white.
    #[garde(inner(range(min = -10.0, max = 10.0)))]
    pub window: [f64; 2],
    /// The slices that priors are learned from.
    #[garde(dive)]
    pub data: Data,
    /// The noise.
    #[garde(dive)]
    pub noise: Noise,
    #[serde(default)]
    #[garde(dive)]
    published: BTreeMap<String, RawPublished>,
    #[garde(dive)]
    profile: Profiles<Profile>,
}

/// Which slices priors are learned from, relative to the data folder.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The slices whose patches are learned.
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub train: Vec<String>,
    /// The slice whose patches measure the training, where one is held out.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub validation: Option<String>,
    /// Step of the grey values of the files, 0 to 0.1: flows learn from slices with uniform noise of this width, since patches
    /// of one rounded value would have an infinite density.
    #[serde(default)]
    #[garde(range(min = 0.0, max = 0.1))]
    pub grey_step: f64,
}

/// Photon counts are Poisson distributed with mean `photons * exp(-mu_max * u)`, where no count is below 0.1, and
/// the observation is `-log(counts / photons) / mu_max`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Photons that reach a detector pixel through air, 1 to 1e9.
    #[garde(range(min = 1.0, max = 1e9))]
    pub photons: f64,
    /// Attenuation that the value 1 stands for, per metre, above 0, at most 1e6.
    #[garde(range(min = 1e-6, max = 1e6))]
    pub mu_max: f64,
}

/// What runs with which settings.
#[derive(Debug, Clone, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// The scanner.
    #[garde(dive)]
    pub scan: Scan,
    /// Filtered back-projection, which the other methods start from.
    #[garde(dive)]
    pub fbp: Fbp,
    /// Slices and the methods that run on them.
    #[garde(length(min = 1), dive)]
    pub sets: Vec<Set>,
    /// Total variation.
    #[garde(dive)]
    pub tv: Option<Tv>,
    /// The deep image prior with total variation.
    #[garde(dive)]
    pub dip_tv: Option<DipTv>,
    /// A network that was trained to correct filtered back-projections.
    #[garde(dive)]
    pub fbp_unet: Option<FbpUnet>,
    /// The patch normalizing flow regularizer.
    #[garde(dive)]
    pub patchnr: Option<PatchNr<CtMap>>,
    /// The Wasserstein patch prior.
    #[garde(dive)]
    pub wpp: Option<CtWpp>,
    /// The Sinkhorn patch prior.
    #[garde(dive)]
    pub sinkhorn: Option<CtSinkhorn>,
}

/// A parallel beam: `angles` directions at the midpoints of equal parts of 180 degrees, of which the first and the last
/// `missing` are not measured; detector pixels side by side over the diagonal of the slice.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Side of a slice in pixels, 16 to 4096; the slices of a data folder must have it, unless it is less than theirs:
    /// then their means over pixels are taken.
    #[garde(range(min = 16, max = 4096))]
    pub size: i64,
    /// Side of a slice in metres, above 0, at most 100.
    #[garde(range(min = 1e-6, max = 100.0))]
    pub extent: f64,
    /// Directions over 180 degrees, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub angles: usize,
    /// Directions cut off at either end, 0 to 50,000.
    #[serde(default)]
    #[garde(range(max = 50_000))]
    pub missing: usize,
    /// Detector pixels, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub detectors: usize,
    /// Side in pixels of the grid that observations are simulated on, 16 to 8192.
    #[garde(range(min = 16, max = 8192))]
    pub simulation_size: i64,
}

/// Settings of filtered back-projection.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Fbp {
    /// The window on the ramp filter.
    #[garde(skip)]
    pub filter: FilterChoice,
    /// Cut-off in parts of the Nyquist frequency, above 0, at most 1.
    #[garde(range(min = 1e-3, max = 1.0))]
    pub frequency_scaling: f64,
}

/// Slices and the methods that run on them.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Names of slices or patterns with one `*`, relative to the data folder.
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub images: Vec<String>,
    /// The first so many of them; all where not given.
    #[garde(inner(range(min = 1, max = 100_000)))]
    pub take: Option<usize>,
    /// The methods, in the order of the rows.
    #[garde(length(min = 1))]
    pub methods: Vec<CtMethod>,
    /// The section of published figures that stand beside ours.
    #[garde(skip)]
    pub published: Option<String>,
    /// How many of the slices, from the first on, the report shows; at most 100.
    #[serde(default)]
    #[garde(range(max = 100))]
    pub show: usize,
}

/// A method that reconstructs slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CtMethod {
    /// Filtered back-projection.
    Fbp,
    /// Poisson likelihood with total variation.
    Tv,
    /// The deep image prior with total variation.
    DipTv,
    /// Filtered back-projection corrected by a network.
    FbpUnet,
    /// MAP with the patch normalizing flow regularizer.
    Patchnr,
    /// The same with the settings of its authors for the reconstruction.
    PatchnrAuthors,
    /// MAP with the Wasserstein patch prior.
    Wpp,
    /// MAP with the Sinkhorn patch prior.
    Sinkhorn,
}

impl CtMethod {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fbp,
        Self::Tv,
        Self::DipTv,
        Self::FbpUnet,
        Self::Patchnr,
        Self::PatchnrAuthors,
        Self::Wpp,
        Self::Sinkhorn,
    ];

    /// The name in experiment files, in `table.csv` and in file names.
    pub fn key(self) -> &'static str {
        match self {
            Self::Fbp => "fbp",
            Self::Tv => "tv",
            Self::DipTv => "dip_tv",
            Self::FbpUnet => "fbp_unet",
            Self::Patchnr => "patchnr",
            Self::PatchnrAuthors => "patchnr_authors",
            Self::Wpp => "wpp",
            Self::Sinkhorn => "sinkhorn",
        }
    }

    /// The name of the method in published tables.
    fn published_key(self) -> &'static str {
        if self == Self::PatchnrAuthors { Self::Patchnr.key() } else { self.key() }
    }

    /// The name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Fbp => "FBP",
            Self::Tv => "TV",
            Self::DipTv => "DIP+TV",
            Self::FbpUnet => "FBP+UNet",
            Self::Patchnr => "patchNR",
            Self::PatchnrAuthors => "patchNR, authors' settings",
            Self::Wpp => "WPP",
            Self::Sinkhorn => "Sinkhorn",
        }
    }
}

impl Ct {
    /// Reads the experiment file at `path`, where it is of this kind.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        parse::of_kind(path, "ct", Self::parse)
    }

    /// Checks the text of an experiment file; `file` is what errors call it.
    ///
    /// # Errors
    /// [`FileError`] naming file, line and column, as [`super::Experiment::parse`].
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Self, Box<FileError>> {
        parse::parse(file, text, |experiment: Self| {
            experiment.check()?;
            Ok(Self { name: name.to_owned(), ..experiment })
        })
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &Profile {
        self.profile.of(name)
    }

    /// The published figures of `method` on the slices of `set`; empty where there are none.
    pub fn published(&self, set: &Set, method: CtMethod) -> Figures {
        let section = set.published.as_ref().and_then(|name| self.published.get(name));
        section.and_then(|p| p.rows.get(method.published_key())).map(figures).unwrap_or_default()
    }

    /// Where the published figures of a profile come from, each once.
    pub fn sources(&self, profile: &Profile) -> Vec<String> {
        let mut sources: Vec<String> = Vec::new();
        for name in profile.sets.iter().filter_map(|set| set.published.as_ref()) {
            if let Some(section) = self.published.get(name)
                && !sources.contains(&section.source)
            {
                sources.push(section.source.clone());
            }
        }
        sources
    }

    /// All files that a profile needs, relative to the data folder.
    pub fn files(&self, profile: &Profile) -> Vec<String> {
        let images = profile.sets.iter().flat_map(|set| &set.images);
        self.data.train.iter().chain(&self.data.validation).chain(images).cloned().collect()
    }

    fn check(&self) -> Result<(), Misfit> {
        if self.kind != ExperimentKind::Ct {
            return Err(("kind".into(), "not ct".into()));
        }
        if self.window[0] >= self.window[1] {
            return Err(("window".into(), "black is not below white".into()));
        }
        for (i, name) in self.data.train.iter().enumerate() {
            plain_name(name, false).map_err(|problem| (format!("data.train[{i}]"), problem))?;
        }
        if let Some(name) = &self.data.validation {
            plain_name(name, false).map_err(|problem| ("data.validation".into(), problem))?;
        }
        for (which, profile) in self.profile.all() {
            profile.check(&self.published).map_err(|(path, problem)| (format!("{which}.{path}"), problem))?;
        }
        Ok(())
    }
}

impl Profile {
    /// Whether there are settings for `method`.
    fn has(&self, method: CtMethod) -> bool {
        match method {
            CtMethod::Fbp => true,
            CtMethod::Tv => self.tv.is_some(),
            CtMethod::DipTv => self.dip_tv.is_some(),
            CtMethod::FbpUnet => self.fbp_unet.is_some(),
            CtMethod::Patchnr => self.patchnr.is_some(),
            CtMethod::PatchnrAuthors => self.patchnr.as_ref().is_some_and(|p| p.authors.is_some()),
            CtMethod::Wpp => self.wpp.is_some(),
            CtMethod::Sinkhorn => self.sinkhorn.is_some(),
        }
    }

    /// Where `method` begins.
    pub fn start(&self, method: CtMethod) -> Start {
        let adam = match method {
            CtMethod::Patchnr => self.patchnr.as_ref().map(|p| p.map.adam),
            CtMethod::PatchnrAuthors => self.patchnr.as_ref().and_then(|p| p.authors).map(|map| map.adam),
            CtMethod::Wpp => self.wpp.map(|wpp| wpp.adam),
            CtMethod::Sinkhorn => self.sinkhorn.map(|sinkhorn| sinkhorn.adam),
            CtMethod::Fbp | CtMethod::Tv | CtMethod::DipTv | CtMethod::FbpUnet => None,
        };
        adam.map(|adam| adam.start).unwrap_or_default()
    }

    /// Whether any set runs one of `methods`.
    pub fn runs(&self, methods: &[CtMethod]) -> bool {
        self.sets.iter().any(|set| set.methods.iter().any(|m| methods.contains(m)))
    }
}
