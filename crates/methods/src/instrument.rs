//! What makes observations, and what is learned from.

use crate::estimate::Figures;
use crate::problem::{InverseProblem, Range};
use crate::registry::ProblemKey;
use smalti_base::metrics::{blur_effect, psnr, ssim};
use smalti_base::{Error, Result, Seed, Space};
use smalti_solvers::Pairs;
use std::path::Path;
use tch::Tensor;

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
    fn look(&self, name: &str, image: &Tensor, seed: Seed) -> Result<Seen> {
        let truth = self.truth(name, image)?;
        let observation = self.observe(&truth, seed)?;
        let surroundings = vec![observation.shallow_clone()];
        Ok(Seen { truth, observation, surroundings })
    }

    /// The inverse problem of an observation called `name`, of an image in `domain` where that is known.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where the observation is not one of this instrument.
    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem>;

    /// An image such as it looks at, drawn anew for every seed and index.
    ///
    /// # Errors
    /// Those of drawing.
    fn phantom(&self, role: Role, seed: Seed, index: u64) -> Result<Tensor>;

    /// Pairs of [`crate::Start`] and truth of a published data set in `folder`; or why there are none.
    ///
    /// # Errors
    /// Those of reading.
    fn published_pairs<'a>(
        &'a self,
        folder: Option<&Path>,
    ) -> Result<std::result::Result<Box<dyn Pairs + 'a>, String>> {
        let _ = folder;
        Ok(Err("there are no published pairs of this problem".into()))
    }

    /// Whether it looks at images as published protocols do: whole ones, in their own pixels.
    fn is_published_protocol(&self) -> bool;

    /// Whether an observation is an image, which can be shown beside the truth.
    fn observation_is_an_image(&self) -> bool {
        true
    }

    /// What values mean.
    fn range(&self) -> Range;

    /// The range of values that scores refer to.
    fn score_range(&self, truth: &Tensor) -> f64 {
        let _ = truth;
        1.0
    }

    /// The part of an image that is scored, as first index and length of each spatial axis.
    fn scored(&self, domain: Space) -> Vec<(i64, i64)>;

    /// The scored part of images `[B, C, H, W]` or volumes.
    ///
    /// # Errors
    /// [`Error::Shape`] where nothing is left.
    fn scored_part(&self, images: &Tensor) -> Result<Tensor> {
        let mut part = images.shallow_clone();
        for (axis, (first, length)) in
            self.scored(Space::of("image to score", images)?).into_iter().enumerate()
        {
            if length < LEAST_SCORED {
                let expected = format!("at least {LEAST_SCORED} pixels along every axis of the scored part");
                return Err(Error::shape("image to score", expected, images.size()));
            }
            part = part.f_narrow(axis as i64 + 2, first, length)?;
        }
        Ok(part.f_contiguous()?)
    }

    /// How an estimate scores against the truth: `psnr` in dB, `ssim` (7 x 7 uniform window; of volumes the mean over slices), and of images the `blur_effect`
    /// of both.
    ///
    /// # Errors
    /// Those of the metrics.
    fn score(&self, image: &Tensor, truth: &Tensor) -> Result<Figures> {
        let slices = |t: Tensor| if t.dim() == 5 { t.f_flatten(1, 2) } else { Ok(t) };
        let (x, t) = (slices(self.scored_part(image)?)?, slices(self.scored_part(truth)?)?);
        let range = self.score_range(truth);
        let mut figures = Figures::new();
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

/// Pixels that must be scored along every axis: a window of SSIM.
pub const LEAST_SCORED: i64 = 7;

/// An image as an instrument sees it.
pub struct Seen {
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
pub struct Material<'a> {
    /// Images of the material.
    pub references: Vec<Tensor>,
    /// An image that measures the learning.
    pub validation: Option<Tensor>,
    /// Step of the grey values of the files.
    pub grey_step: f64,
    /// The instrument, which makes pairs of images.
    pub instrument: &'a dyn Instrument,
    /// The folder of a data set, for published pairs.
    pub folder: Option<&'a Path>,
}

impl Material<'_> {
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
