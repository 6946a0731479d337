//! `experiments/langevin_*.toml`: an inverse problem, the patch density it is regularized with, and the Langevin chains that
//! draw from its posterior.

use super::check::plain_name;
use super::ct::{Fbp, Noise, Scan};
use super::diagnose::{Failure, FileError};
use super::parse::{self, Misfit};
use super::profiles::Profiles;
use super::settings::{PatchNr, Schedule};
use super::{ExperimentKind, ProfileName};
use garde::Validate;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A checked experiment file of this kind.
#[derive(Debug, Clone, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LangevinTable {
    /// The name: that of the file without `.toml`.
    #[serde(skip)]
    #[garde(skip)]
    pub name: String,
    /// The title of the report.
    #[garde(length(min = 1))]
    pub title: String,
    /// What it is about: [`ExperimentKind::Langevin`].
    #[garde(skip)]
    pub kind: ExperimentKind,
    /// The values that pictures show as black and as white.
    #[garde(inner(range(min = -10.0, max = 10.0)))]
    pub window: [f64; 2],
    /// The images.
    #[garde(dive)]
    pub data: Data,
    #[garde(dive)]
    profile: Profiles<Profile>,
}

/// Images, relative to the data folder.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The image that is observed and reconstructed.
    #[garde(length(min = 1))]
    pub test: String,
    /// The images whose patches are learned.
    #[garde(length(min = 1), inner(length(min = 1)))]
    pub train: Vec<String>,
    /// The image that settings are chosen on; see [`LangevinTable::on_validation`].
    #[garde(length(min = 1))]
    pub validation: String,
    /// The flow learns from images with uniform noise of this width, 0 to 0.1: patches of one rounded value would have an
    /// infinite density, and those of nearly one value a density that chains hardly move in.
    #[serde(default)]
    #[garde(range(min = 0.0, max = 0.1))]
    pub grey_step: f64,
}

/// What runs.
#[derive(Debug, Clone, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// The inverse problem.
    #[garde(dive)]
    pub problem: Inverse,
    /// The patch density.
    #[garde(dive)]
    pub patchnr: PatchNr<Posterior>,
    /// The chains.
    #[garde(dive)]
    pub chains: Chains,
}

/// The inverse problem.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Inverse {
    /// A slice of computed tomography from its scan.
    Ct(#[garde(dive)] Tomography),
    /// What lies behind a hole of an image.
    Inpainting(#[garde(dive)] Inpainting),
}

/// A scan of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Tomography {
    /// The scanner.
    #[garde(dive)]
    pub scan: Scan,
    /// Filtered back-projection, the start.
    #[garde(dive)]
    pub fbp: Fbp,
    /// The noise.
    #[garde(dive)]
    pub noise: Noise,
}

/// A part of an image, in which a rectangle was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Inpainting {
    /// The part of the image, in its pixels: all that is reconstructed.
    #[garde(dive)]
    pub part: Rectangle,
    /// The hole, in pixels of the part.
    #[garde(dive)]
    pub hole: Rectangle,
    /// Standard deviation of the white Gaussian noise on what is seen, above 0, at most 1.
    #[garde(range(min = 1e-6, max = 1.0))]
    pub noise: f64,
    /// The flow learns from what is seen of the test image up to so many pixels around the hole, in place of the training
    /// images; 8 to 10,000.
    #[serde(default)]
    #[garde(inner(range(min = 8, max = 10_000)))]
    pub neighbourhood: Option<i64>,
}

/// Rows `top` to `top + height - 1` and columns `left` to `left + width - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Rectangle {
    /// First row, 0 to 100,000.
    #[garde(range(min = 0, max = 100_000))]
    pub top: i64,
    /// First column, 0 to 100,000.
    #[garde(range(min = 0, max = 100_000))]
    pub left: i64,
    /// Rows, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub height: i64,
    /// Columns, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub width: i64,
}

impl Rectangle {
    /// Whether it lies within `height` x `width` pixels.
    pub fn within(&self, height: i64, width: i64) -> bool {
        self.top + self.height <= height && self.left + self.width <= width
    }
}

/// The posterior, with the density `exp(-E)`, `E(x) = nll(F(x), y) + lambda mean_i nll(P_i x)`, and its mode, found by Adam.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Posterior {
    /// Weight of the mean over all patches against the negative log-likelihood, a sum over the observation of this profile;
    /// above 0, at most 1e12.
    #[garde(range(min = 1e-12, max = 1e12))]
    pub lambda: f64,
    /// Pixels that the image is continued by on all sides, by reflection, before its patches are taken; 0 to 64.
    #[garde(range(min = 0, max = 64))]
    pub padding: i64,
    /// Iterations of Adam, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// Learning rate of Adam, above 0, at most 1.
    #[garde(range(min = 1e-12, max = 1.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on.
    #[garde(skip)]
    pub schedule: Schedule,
}

/// The Langevin chains; see `smalti_solvers::langevin`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Chains {
    /// How they move.
    #[garde(skip)]
    pub method: Transition,
    /// How many, 2 to 1000.
    #[garde(range(min = 2, max = 1000))]
    pub count: i64,
    /// Standard deviation of the noise that is added to the MAP estimate where a chain starts, 0 to 10.
    #[garde(range(min = 0.0, max = 10.0))]
    pub spread: f64,
    /// Step size of the first run, without a preconditioner; above 0, at most 1.
    #[garde(range(min = 1e-15, max = 1.0))]
    pub step_size: f64,
    /// Steps of each run before the one that counts, 20 to 1 million: the second half of its draws gives the next one's
    /// preconditioner. None: no preconditioner.
    #[serde(default)]
    #[garde(length(max = 10), inner(range(min = 20, max = 1_000_000)))]
    pub pilots: Vec<u64>,
    /// Step size of the runs with a preconditioner, in which 1 is a standard deviation; above 0, at most 10.
    #[serde(default = "preconditioned")]
    #[garde(range(min = 1e-9, max = 10.0))]
    pub preconditioned_step_size: f64,
    /// Steps before the first draw, 0 to 100 million.
    #[garde(range(max = 100_000_000))]
    pub burn_in: u64,
    /// Draws of each chain, even, 4 to 10 million.
    #[garde(range(min = 4, max = 10_000_000))]
    pub draws: u64,
    /// Steps between two draws, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub thin: u64,
    /// Draws of each chain that are kept as images, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub keep: u64,
}

fn preconditioned() -> f64 {
    0.05
}

/// How a chain moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// With acceptance; its step size adapts during burn-in.
    Mala,
    /// Without acceptance, at a fixed step size.
    Ula,
}

impl LangevinTable {
    /// Reads the experiment file at `path`, where it is of this kind.
    ///
    /// # Errors
    /// [`Failure::Other`] where the file cannot be read, [`Failure::Experiment`] where it is wrong.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        parse::of_kind(path, "langevin", Self::parse)
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

    /// All files that it needs, relative to the data folder.
    pub fn files(&self) -> Vec<String> {
        std::iter::once(&self.data.test).chain(&self.data.train).cloned().collect()
    }

    /// The same experiment on the validation image, which is then not learned from: what settings are chosen with.
    pub fn on_validation(mut self) -> Self {
        self.data.train.retain(|name| *name != self.data.validation);
        self.data.test.clone_from(&self.data.validation);
        self
    }

    fn check(&self) -> Result<(), Misfit> {
        if self.kind != ExperimentKind::Langevin {
            return Err(("kind".into(), "not langevin".into()));
        }
        if self.window[0] >= self.window[1] {
            return Err(("window".into(), "black is not below white".into()));
        }
        let Data { test, train, validation, .. } = &self.data;
        let one = |(key, name): (String, &String)| {
            plain_name(name, false).map_err(|problem| (format!("data.{key}"), problem))
        };
        one(("test".into(), test))?;
        one(("validation".into(), validation))?;
        train.iter().enumerate().try_for_each(|(i, name)| one((format!("train[{i}]"), name)))?;
        if train.contains(test) {
            return Err(("data.test".into(), "one of the training images".into()));
        }
        if train.iter().all(|name| name == validation) {
            return Err(("data.validation".into(), "the only training image".into()));
        }
        for (which, profile) in self.profile.all() {
            profile.check().map_err(|(path, problem)| (format!("{which}.{path}"), problem))?;
        }
        Ok(())
    }
}

impl Profile {
    fn check(&self) -> Result<(), Misfit> {
        let misfit = |path: &str, problem: String| Err((path.to_owned(), problem));
        match self.problem {
            Inverse::Ct(Tomography { scan, .. }) if 2 * scan.missing >= scan.angles => {
                let problem = format!("nothing is left of {} angles", scan.angles);
                return misfit("problem.ct.scan.missing", problem);
            }
            Inverse::Inpainting(Inpainting { part, hole, .. }) => {
                let of = format!("the part of {} x {} pixels", part.height, part.width);
                if hole.height > part.height || hole.width > part.width {
                    let problem = format!("{} x {} pixels, larger than {of}", hole.height, hole.width);
                    return misfit("problem.inpainting.hole", problem);
                }
                if !hole.within(part.height, part.width) {
                    return misfit("problem.inpainting.hole", format!("reaches beyond {of}"));
                }
                if (hole.height, hole.width) == (part.height, part.width) {
                    return misfit("problem.inpainting.hole", format!("nothing is seen of {of}"));
                }
                if hole.height.min(hole.width) < LEAST_HOLE {
                    let problem = format!("less than {LEAST_HOLE} pixels wide: too little to score");
                    return misfit("problem.inpainting.hole", problem);
                }
            }
            Inverse::Ct(_) => {}
        }
        if self.patchnr.authors.is_some() {
            return misfit("patchnr.authors", "no method of this kind has it".into());
        }
        if let Some(problem) = self.patchnr.training.misfit() {
            return misfit("patchnr.training.warmup_steps", problem);
        }
        let side = match self.problem {
            Inverse::Ct(Tomography { scan, .. }) => scan.size,
            Inverse::Inpainting(Inpainting { part, .. }) => part.height.min(part.width),
        };
        let (padding, patch) = (self.patchnr.map.padding, self.patchnr.patch_size);
        if padding >= side {
            return misfit("patchnr.map.padding", format!("not less than the {side} pixels of the image"));
        }
        if patch > side + 2 * padding {
            let problem =
                format!("larger than the {} pixels of the image with its padding", side + 2 * padding);
            return misfit("patchnr.patch_size", problem);
        }
        let Chains { draws, keep, method, ref pilots, .. } = self.chains;
        if !draws.is_multiple_of(2) {
            return misfit("chains.draws", format!("{draws} is odd"));
        }
        if keep > draws {
            return misfit("chains.keep", format!("more than the {draws} draws"));
        }
        if method == Transition::Ula && !pilots.is_empty() {
            return misfit("chains.pilots", "only mala has pilots: their step sizes adapt".into());
        }
        Ok(())
    }
}

/// Pixels that a hole must have along both axes: a window of SSIM.
const LEAST_HOLE: i64 = 7;
