//! What a run hands to the table and to the report.

use smalti_base::metrics::Summary;
use smalti_methods::Run;
pub use smalti_methods::estimate::{Line, LineStyle, Plot, TrainingCurve, UncertaintyMap};
use smalti_operators::Grid;
use tch::Tensor;

/// A figure over images: its mean and, over two images or more, its population standard deviation (as
/// [`Summary`] defines it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, where there is one.
    pub std: Option<f64>,
}

impl Figure {
    /// The figure over `values`; `None` where there is none.
    pub fn over(values: &[f64]) -> Option<Self> {
        let Summary { mean, std, count } = Summary::of(values);
        (count > 0).then_some(Self { mean, std: (count > 1).then_some(std) })
    }
}

/// The figures that tables of images print.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Peak signal-to-noise ratio in dB, range 1.
    pub psnr: Option<Figure>,
    /// Structural similarity (7x7 uniform window).
    pub ssim: Option<Figure>,
    /// Learned perceptual distance.
    pub lpips: Option<Figure>,
}

/// How far the samples of a method are from the distribution that they should have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The distance.
    pub measure: DistanceKind,
    /// Its mean and standard deviation; `None` where the method could not run.
    pub figure: Option<Figure>,
    /// Inverse problems, each with flows of its own.
    pub problems: u64,
    /// Observations of a problem.
    pub observations: u64,
    /// Samples for an observation.
    pub samples: i64,
}

/// A distance of two distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistanceKind {
    /// The exact Wasserstein distance `W_1` of samples and exact samples, in units of `x`.
    Wasserstein1,
    /// The Kullback-Leibler divergence `KL(reference, samples)` of histograms, in nats.
    KullbackLeibler,
}

impl DistanceKind {
    /// The beginning of its columns in `distances.csv`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Wasserstein1 => "w1",
            Self::KullbackLeibler => "kl",
        }
    }

    /// Its name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Wasserstein1 => "W1",
            Self::KullbackLeibler => "KL",
        }
    }
}

/// One row of the table: one method on one set of images, or on one set of observations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableRow {
    /// The row, by its name in the experiment file (`patchnr`).
    pub method: String,
    /// The row, for readers.
    pub title: String,
    /// How many images the figures are over.
    pub images: usize,
    /// Our figures; all empty where the method could not run, and then `note` says why.
    pub ours: Figures,
    /// Mean seconds for one image, without training.
    pub seconds_mean: Option<f64>,
    /// The published figures beside ours.
    pub published: Figures,
    /// How far its samples are from the right ones, in an experiment without images.
    pub distance: Option<Distance>,
    /// Which images, from which data.
    pub data: String,
    /// What a reader must know about this row; empty where nothing.
    pub note: String,
}

/// An image that the report shows, with what each method made of it.
#[derive(Debug)]
pub struct ReportImage {
    /// The name of the image, such as `sic/test.png`.
    pub name: String,
    /// The ground truth, `[1, 1, H, W]`.
    pub truth: Tensor,
    /// The observation, where it is an image: `[1, 1, h, w]`, and where its pixels lie in the ground truth.
    pub observation: Option<(Tensor, Grid)>,
    /// The values that pictures of it show as black and as white.
    pub window: [f64; 2],
    /// The part that is scored, as first index and length of rows and columns.
    pub scored: [(i64, i64); 2],
    /// The reconstructions, in the order of the table.
    pub results: Vec<ScoredImage>,
    /// What else is shown, without a score.
    pub maps: Vec<UncertaintyMap>,
}

impl ExperimentOutcome {
    /// Adds an image to the report; what several sets made of one image stands together.
    pub fn show(&mut self, image: ReportImage) {
        match self.shown.iter_mut().find(|known| known.name == image.name) {
            None => self.shown.push(image),
            Some(known) => {
                for result in image.results {
                    if known.results.iter().all(|other| other.key != result.key) {
                        known.results.push(result);
                    }
                }
                for map in image.maps {
                    if known.maps.iter().all(|other| other.key != map.key) {
                        known.maps.push(map);
                    }
                }
            }
        }
    }
}

/// What one method made of an image.
#[derive(Debug)]
pub struct ScoredImage {
    /// The row, by its name in the experiment file, for file names.
    pub key: String,
    /// The row, for readers.
    pub title: String,
    /// The reconstruction, `[1, 1, H, W]`.
    pub image: Tensor,
    /// PSNR in dB by the protocol of the table.
    pub psnr: f64,
    /// SSIM by the protocol of the table.
    pub ssim: f64,
}

/// All that a run found out.
#[derive(Debug, Default)]
pub struct ExperimentOutcome {
    /// The rows of the table, in its order.
    pub rows: Vec<TableRow>,
    /// The images that the report shows.
    pub shown: Vec<ReportImage>,
    /// The training of a patch prior, where there was one.
    pub curve: Option<TrainingCurve>,
    /// What else is drawn.
    pub plots: Vec<Plot>,
    /// The run that found it out, whose state is dropped once it is published.
    pub run: Option<Run>,
}
