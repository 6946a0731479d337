//! WPP: MAP estimation with the Wasserstein patch prior.

use crate::estimate::{Estimate, Metrics};
use crate::instrument::{Instrument, TrainingData};
use crate::map::map_within;
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Converge, Descent, SettingFault, Weight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed, Space};
use smalti_priors::wpp::{DualMethod, Pyramid, ReferencePatches, ScaleReport};
use smalti_priors::{Regularizer, WassersteinPatchPrior, WppSettings};
use smalti_solvers::Margin;
use std::time::Instant;
use tch::Tensor;

/// WPP.
#[derive(Debug)]
pub struct Wpp;

/// Minimise `sum nll(A x, y) + lambda mean over scales of W_2^2(patches of x, reference patches)` with the cost `|p - q|^2`, over
/// `x >= 0` where negative values make no sense. Scales follow each other by a 4 x 4 Gaussian of standard deviation 1 at every
/// second pixel and weigh the same.
///
/// Hertrich, Houdard and Redenbach (2022) have `mean over L scales of W_2^2 + sum (A x - y)^2 / (lambda L)`: their `lambda` times
/// `L` is the `lambda` of `squared_errors` here.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct WppMapSettings {
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Patches of the reference images on every scale, drawn once for a run, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub references: i64,
    /// Number of scales, 1 to 8.
    #[garde(range(min = 1, max = 8))]
    pub scales: i64,
    /// Distance of neighbouring patches of the image in pixels, on every scale; 1 takes all patches; 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub stride: i64,
    /// Whether these patches start at another pixel in each iteration: the `stride^2` (`stride^3`) offsets in random order, so that
    /// every patch takes part equally often; not where not given.
    #[serde(default)]
    #[garde(skip)]
    pub shuffled: bool,
    /// Weight of the distance.
    #[garde(dive)]
    pub weight: Weight,
    /// Pixels around the image that the operator does not see, which start from noise and are cut off at the end,
    /// 0 to 1000; 0 where not given.
    #[serde(default)]
    #[garde(range(min = 0, max = 1000))]
    pub border: i64,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub descent: Descent,
    /// How the potentials are found in each iteration, from those of the last one.
    #[garde(dive)]
    pub dual: Dual,
    /// How the distance of a finished image is found out for the note of its row, on scale 0, where it is wanted. It changes no
    /// image.
    #[serde(default)]
    #[garde(dive)]
    pub measure: Option<DistanceMeasurement>,
}

/// The largest distance of patches that start at another pixel in each iteration.
const MOST_SHUFFLED: i64 = 6;

/// How potentials are found.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub enum Dual {
    /// A number of supergradient steps, averaged: what the authors' code does, far below the distance.
    AveragedSgd(#[garde(dive)] AveragedSgd),
    /// To a certified gap.
    Converge(#[garde(dive)] Converge),
}

/// Averaged supergradient steps.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct AveragedSgd {
    /// Steps, 1 to 1 million.
    #[garde(range(min = 1, max = 1_000_000))]
    pub steps: usize,
    /// Size of a step, above 0, at most 1e9.
    #[garde(range(min = 1e-12, max = 1e9))]
    pub step: f64,
}

/// Which patches of a finished image are compared with the reference patches, and how well.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct DistanceMeasurement {
    /// Distance of neighbouring patches in pixels, 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub stride: i64,
    /// As of [`Converge`].
    #[garde(range(min = 1e-12, max = 1.0))]
    pub gap: f64,
    /// As of [`Converge`].
    #[garde(range(min = 1, max = 1_000_000))]
    pub evaluations: i64,
}

impl From<Dual> for DualMethod {
    fn from(dual: Dual) -> Self {
        match dual {
            Dual::AveragedSgd(AveragedSgd { steps, step }) => Self::AveragedSgd { steps, step },
            Dual::Converge(Converge { gap, evaluations }) => Self::Converge { gap, evaluations },
        }
    }
}

impl From<DistanceMeasurement> for DualMethod {
    fn from(DistanceMeasurement { gap, evaluations, .. }: DistanceMeasurement) -> Self {
        Self::Converge { gap, evaluations: evaluations as usize }
    }
}

impl Method for Wpp {
    const KEY: &'static str = "wpp";
    const TITLE: &'static str = "WPP";
    const PAPERS: &'static [&'static str] = &[
        "J. Hertrich, A. Houdard, C. Redenbach. Wasserstein patch prior for image superresolution. IEEE Transactions on \
         Computational Imaging 8, 2022.",
    ];
    const LEARNS: Learns = Learns::Patches;
    const STARTS: bool = true;
    type Settings = WppMapSettings;

    fn check(
        settings: &WppMapSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        if settings.shuffled && settings.stride > MOST_SHUFFLED {
            let problem =
                format!("more than {MOST_SHUFFLED} where shuffled: each offset keeps an index of its own");
            return Err(("stride".into(), problem));
        }
        let Some(image) = domain else { return Ok(()) };
        let WppSettings { blur, downscaling, .. } = WppSettings::hertrich_2022();
        let WppMapSettings { patch_size: p, scales, border, measure, .. } = *settings;
        let wider = |n: i64| n + 2 * border;
        let bordered = Space {
            depth: image.depth.map(wider),
            height: wider(image.height),
            width: wider(image.width),
            ..image
        };
        let pyramid = Pyramid::new(bordered, scales, &blur, downscaling);
        let fits = |space: &Space| space.axes().iter().all(|&n| n >= p);
        // The distance of a finished image is that of an image without its border.
        if pyramid.is_ok_and(|pyramid| pyramid.spaces().iter().all(fits))
            && (measure.is_none() || fits(&image))
        {
            return Ok(());
        }
        let size = image.axes().iter().map(i64::to_string).collect::<Vec<_>>().join(" x ");
        let patch = vec![p.to_string(); image.axes().len()].join(" x ");
        let border = if border > 0 { format!(" and a border of {border}") } else { String::new() };
        let problem = format!(
            "expected at least one patch of {patch} on all {scales} scales, got {size} pixels{border}"
        );
        Err(("scales".into(), problem))
    }

    fn prepare(settings: &WppMapSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let references: Vec<&Tensor> = from.references.iter().collect();
        let Some(first) = references.first() else {
            return Err(Error::value("reference images", "at least one", "none"));
        };
        let identity = data_hash(&references)?;
        let seed = run.seed.derive("WPP", 0);
        let &WppMapSettings { patch_size, references: count, scales, shuffled, dual, .. } = settings;
        let wanted = WppSettings::hertrich_2022()
            .with_patch_size(patch_size)
            .with_references(ReferencePatches::Random(count as usize))
            .with_scales(scales)
            .with_shuffled(shuffled)
            .with_dual(dual.into());
        // Says what is wrong with the references before anything is computed. Images of other sizes share its reference patches.
        let prior = WassersteinPatchPrior::new(&first.size(), &references, &wanted, seed)?;
        let learned = Learned { identity, ..Learned::default() };
        Prepared::ready(Estimator { settings: settings.clone(), prior, seed, learned })
    }
}

struct Estimator {
    settings: WppMapSettings,
    /// On images of the size of the first reference; those of others are made from it.
    prior: WassersteinPatchPrior,
    seed: Seed,
    learned: Learned,
}

impl Estimator {
    /// The distance of patches of `image` on scale 0, from a potential that is good already or, where there is none, from zero;
    /// as figures whose names end in `suffix`.
    fn measured(
        &self,
        measure: DistanceMeasurement,
        image: &Tensor,
        potential: &[Vec<f64>],
        suffix: &str,
    ) -> Result<Metrics> {
        let space = Space::of("image to measure", image)?;
        let mut prior = self.prior.on(&space.batch(1), 1, measure.stride, measure.into())?;
        if !potential.is_empty() {
            prior.set_potentials(potential)?;
        }
        prior.value(image)?;
        let report = prior.reports().into_iter().next();
        let report = report.ok_or_else(|| Error::value("scales of the prior", "at least one", "none"))?;
        let along = |n: &i64| (n - self.settings.patch_size) / measure.stride + 1;
        let patches: i64 = space.axes().iter().map(along).product();
        let mut figures = of_report(&report, suffix);
        figures.insert(format!("w2_squared{suffix}"), report.value.full());
        figures.insert(format!("patches{suffix}"), patches as f64);
        Ok(figures)
    }
}

fn of_report(report: &ScaleReport, suffix: &str) -> Metrics {
    let mut figures = Metrics::new();
    figures.insert(format!("references{suffix}"), report.references as f64);
    if let Some(gap) = report.gap() {
        figures.insert(format!("gap{suffix}"), gap);
    }
    figures
}

/// The end of the names of figures of the truth.
const OF_TRUTH: &str = "_of_truth";

impl Reconstructor for Estimator {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let settings = &self.settings;
        let margin = Margin::new(problem.operator.as_ref(), settings.border)?;
        let size = margin.domain().batch(1);
        let mut prior = self.prior.on(&size, settings.scales, settings.stride, settings.dual.into())?;
        let weight = settings.weight.against(&problem.noise)?;
        let descent = (settings.descent, self.seed.derive(&problem.name, 0));
        let image = map_within(&margin, problem, &mut prior, weight, descent, run)?;
        let seconds = problem.start.seconds + clock.elapsed().as_secs_f64();
        let figures = match settings.measure {
            Some(measure) => {
                let potentials = prior.potentials();
                self.measured(measure, &image, potentials.get(..1).unwrap_or_default(), "")?
            }
            None => prior.reports().first().map(|report| of_report(report, "")).unwrap_or_default(),
        };
        let mut estimate = Estimate { figures, ..Estimate::of(image, seconds) };
        estimate.figures.insert("evaluations".into(), prior.evaluations() as f64);
        Ok(estimate)
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }

    fn assess(&self, truth: &Tensor) -> Result<Metrics> {
        self.settings
            .measure
            .map_or(Ok(Metrics::new()), |measure| self.measured(measure, truth, &[], OF_TRUTH))
    }

    fn summary(&self, all: &[Metrics]) -> String {
        let mean = |name: &str| {
            let known: Vec<f64> = all.iter().filter_map(|figures| figures.get(name).copied()).collect();
            smalti_base::metrics::Summary::of(&known).mean
        };
        let gaps = ["gap".to_owned(), format!("gap{OF_TRUTH}")];
        let known =
            |name: &String| all.iter().filter_map(|figures| figures.get(name)).copied().collect::<Vec<f64>>();
        let evaluations = mean("evaluations");
        if self.settings.measure.is_none() {
            let gap = known(&gaps[0]).into_iter().reduce(f64::max);
            let gap = gap.map_or("unknown".into(), |gap| format!("at most {:.1e}", gap));
            return format!(
                "last dual problems on the finest scale to a relative gap of {gap}; {evaluations:.0} c-transforms in a reconstruction"
            );
        }
        let certified = gaps.iter().all(|name| known(name).len() == all.len());
        let gap = gaps.iter().flat_map(known).fold(0.0, f64::max);
        let gap = if certified { format!("{:.2} %", 100.0 * gap) } else { "unknown".into() };
        let (patches, references) = (mean("patches"), mean("references"));
        let (distance, of_truth) = (mean("w2_squared"), mean("w2_squared_of_truth"));
        let (blur, truth) = (mean("blur_effect"), mean("blur_effect_of_truth"));
        format!(
            "W2^2 of {patches:.0} of the result's patches to {references:.0} reference patches {distance:.5}, of the truth's \
             {of_truth:.5} (cost |p - q|^2, scale 0, gap at most {gap}); {evaluations:.0} c-transforms in a reconstruction; \
             blur effect {blur:.3}, of the truth {truth:.3}"
        )
    }
}
