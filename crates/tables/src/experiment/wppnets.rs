//! Experiment files of kind `wppnets`: which networks learn from which data, and what they are tested on.

use super::diagnose::{Failure, FileError};
use super::parse;
use super::profiles::Profiles;
use super::{ExperimentKind, ProfileName};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_methods::problems::superresolution::Form;
use smalti_methods::settings::{PrecisionChoice, Schedule};
use std::collections::BTreeMap;
use std::path::Path;

/// A checked experiment file of this kind.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WppNets {
    /// The name: that of the file without `.toml`.
    #[serde(skip)]
    #[garde(skip)]
    pub name: String,
    /// The title of the report.
    #[garde(length(min = 1))]
    pub title: String,
    /// What it is about: [`ExperimentKind::Wppnets`].
    #[garde(skip)]
    pub kind: ExperimentKind,
    /// Pixels cut from every side before an image is scored for the second time, 0 to 10,000.
    #[garde(range(min = 0, max = 10_000))]
    pub crop: i64,
    /// The networks by their names.
    #[garde(dive)]
    pub network: BTreeMap<String, Network>,
    #[garde(dive)]
    profile: Profiles<Profile>,
}

/// A network: what it learns from, and what it is tested on.
#[derive(Debug, Clone, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How many times as large results are, 2 to 64, a product of twos and threes.
    #[garde(range(min = 2, max = 64))]
    pub factor: i64,
    /// The observations that it learns from.
    #[garde(dive)]
    pub crops: Crops,
    /// HDF5 file with groups that hold an observation `obs` each; crops of them measure the training.
    #[garde(length(min = 1))]
    pub validation: String,
    /// The reference image.
    #[garde(length(min = 1))]
    pub reference: String,
    /// Whether patches are compared without their means.
    #[garde(skip)]
    pub centred: bool,
    /// The forward operator that the training knows.
    #[garde(dive)]
    pub operator: Forward,
    /// The one that observations in files were made with, where it is another: says where their pixels lie, and stand-ins
    /// for them are made with it.
    #[garde(dive)]
    pub observed_with: Option<Forward>,
    /// What it is tested on.
    #[garde(length(min = 1), dive)]
    pub tests: Vec<Test>,
}

/// Where training crops come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crops {
    /// All images of an HDF5 file.
    File(#[garde(length(min = 1))] String),
    /// Cut from an observation.
    Cut {
        /// The observation.
        #[garde(length(min = 1))]
        image: String,
        /// Side of a crop in pixels, 8 to 1000.
        #[garde(range(min = 8, max = 1000))]
        size: i64,
        /// Distance of neighbouring crops in pixels, 1 to 1000.
        #[garde(range(min = 1, max = 1000))]
        step: i64,
    },
}

/// A forward operator.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Forward {
    /// Gaussian blur, then every `factor`-th pixel.
    Gaussian {
        /// Side of the kernel in pixels, 1 to 63.
        #[garde(range(min = 1, max = 63))]
        kernel_size: i64,
        /// Standard deviation in pixels, 0.05 to 30.
        #[garde(range(min = 0.05, max = 30.0))]
        sigma: f64,
    },
    /// Estimated from a registered pair: a file of PyTorch with `kernel` and `bias`.
    Estimated(#[garde(length(min = 1))] String),
}

/// A test image.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The true image.
    #[garde(length(min = 1))]
    pub truth: String,
    /// What is observed of it.
    #[garde(dive)]
    pub observed: Observed,
    /// Published PSNR of the whole image.
    #[garde(inner(range(min = 0.0, max = 100.0)))]
    pub published_psnr: Option<f64>,
    /// Published PSNR without the crop.
    #[garde(inner(range(min = 0.0, max = 100.0)))]
    pub published_psnr_crop: Option<f64>,
    /// Published SSIM of the whole image.
    #[garde(inner(range(min = -1.0, max = 1.0)))]
    pub published_ssim: Option<f64>,
}

/// An observation.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Observed {
    /// As it was measured.
    File(#[garde(length(min = 1))] String),
    /// Made from the true image: Gaussian blur of it, continued periodically on the right and at the bottom, every
    /// `factor`-th pixel, white noise.
    Simulated {
        /// Side of the kernel in pixels, 1 to 63.
        #[garde(range(min = 1, max = 63))]
        kernel_size: i64,
        /// Standard deviation in pixels, 0.05 to 30.
        #[garde(range(min = 0.05, max = 30.0))]
        sigma: f64,
        /// Standard deviation of the noise, 0 to 1.
        #[garde(range(min = 0.0, max = 1.0))]
        noise: f64,
    },
}

/// What runs, and how networks are trained.
#[derive(Debug, Clone, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// The networks, in the order of the table.
    #[garde(length(min = 1))]
    pub networks: Vec<String>,
    /// How they are trained.
    #[garde(dive)]
    pub training: Training,
}

/// Training of a network.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How long.
    #[garde(dive)]
    pub length: Length,
    /// Crops a step, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub batch: usize,
    /// How a Gaussian blur continues the results of crops.
    #[garde(skip)]
    pub form: Form,
    /// Weight of the squared Wasserstein distance against the mean squared residual, 0 to 1e6.
    #[garde(range(min = 0.0, max = 1e6))]
    pub lambda: f64,
    /// Learning rate after the warm-up, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
    /// Steps over which the learning rate grows before it follows the cosine; 0 where not given.
    #[serde(default)]
    #[garde(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// The validation loss is measured every so many steps, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub validation_every: u64,
    /// Validation crops, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub validation_crops: usize,
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Distance of neighbouring patches of a result in pixels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub patch_stride: i64,
    /// Patches of the reference image, drawn once, 1 to 10 million.
    #[garde(range(min = 1, max = 10_000_000))]
    pub reference_patches: usize,
    /// Supergradient steps of size 1 in the potentials for a batch, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub psi_steps: usize,
    /// The dtype of convolutions in the training.
    #[serde(default)]
    #[garde(skip)]
    pub precision: PrecisionChoice,
}

/// How long a training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// So many steps, 1 to 100 million.
    Steps(#[garde(range(min = 1, max = 100_000_000))] u64),
    /// So many times through all crops, 1 to 1 million.
    Epochs(#[garde(range(min = 1, max = 1_000_000))] u64),
}

impl WppNets {
    /// Reads the experiment file at `path`, where it is of this kind.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        parse::of_kind(path, "wppnets", Self::parse)
    }

    /// Checks the text of an experiment file; `file` is what errors call it.
    ///
    /// # Errors
    /// [`FileError`] naming file, line and column, as [`super::Experiment::parse`].
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Self, Box<FileError>> {
        parse::parse(file, text, |experiment: Self| match experiment.misfit() {
            Some(misfit) => Err(misfit),
            None => Ok(Self { name: name.to_owned(), ..experiment }),
        })
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &Profile {
        self.profile.of(name)
    }

    /// The networks of a profile with their names.
    pub fn networks<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = (&'a str, &'a Network)> {
        profile.networks.iter().filter_map(|name| Some((name.as_str(), self.network.get(name)?)))
    }

    /// A path in the file and what does not fit there.
    fn misfit(&self) -> Option<(String, String)> {
        if self.kind != ExperimentKind::Wppnets {
            return Some(("kind".into(), "not wppnets".into()));
        }
        for (which, profile) in self.profile.all() {
            if let Some(i) = profile.networks.iter().position(|name| !self.network.contains_key(name)) {
                let known: Vec<&str> = self.network.keys().map(String::as_str).collect();
                let problem =
                    format!("no section network.{}; there is {}", profile.networks[i], known.join(", "));
                return Some((format!("{which}.networks[{i}]"), problem));
            }
            if profile.training.warmup_steps > 0 && profile.training.schedule == Schedule::Constant {
                let path = format!("{which}.training.warmup_steps");
                return Some((path, "only the cosine schedule has a warm-up".into()));
            }
        }
        for (name, network) in &self.network {
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
                return Some((format!("network.{name}"), "a name has letters, digits, _ and - only".into()));
            }
            if let Some(file) = network.outside() {
                return Some((
                    format!("network.{name}"),
                    format!("{file:?} is not a name inside of the data folder"),
                ));
            }
        }
        None
    }
}

impl Network {
    /// A file that does not lie inside of the data folder.
    pub(super) fn outside(&self) -> Option<String> {
        self.files()
            .into_iter()
            .find(|file| file.starts_with('/') || file.split('/').any(|part| part.is_empty() || part == ".."))
    }

    /// The operator that observations were made with.
    pub(crate) fn observed_with(&self) -> &Forward {
        self.observed_with.as_ref().unwrap_or(&self.operator)
    }

    /// All files that it needs, relative to the data folder.
    pub fn files(&self) -> Vec<String> {
        let mut files = vec![self.validation.clone(), self.reference.clone()];
        match &self.crops {
            Crops::File(file) | Crops::Cut { image: file, .. } => files.push(file.clone()),
        }
        for forward in [Some(&self.operator), self.observed_with.as_ref()] {
            if let Some(Forward::Estimated(file)) = forward {
                files.push(file.clone());
            }
        }
        for test in &self.tests {
            files.push(test.truth.clone());
            if let Observed::File(file) = &test.observed {
                files.push(file.clone());
            }
        }
        files
    }
}
