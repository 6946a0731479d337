//! MAP estimation with the Sinkhorn patch prior, balanced or semi-unbalanced.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::map::map;
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Descent, SettingFault, Weight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Space};
use smalti_priors::sinkhorn::settings::from_half_cost;
use smalti_priors::wpp::ReferencePatches;
use smalti_priors::{SinkhornPatchPrior, SinkhornSettings, WppSettings};
use std::time::Instant;
use tch::Tensor;

/// The Sinkhorn patch prior.
#[derive(Debug)]
pub struct SinkhornMap;

/// Minimise `sum nll(A x, y) + lambda OT_eps(patches of x, reference patches)` with the cost `|p - q|^2 / 2`, over `x >= 0` where
/// negative values make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct SinkhornMapSettings {
    /// Weight of the entropic distance with the cost `|p - q|^2 / 2`.
    #[garde(dive)]
    pub weight: Weight,
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Patches of the reference images, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub references: i64,
    /// Patches of the image in an iteration, at random, 1 to 100 million.
    #[garde(range(min = 1, max = 100_000_000))]
    pub image_patches: i64,
    /// Length below which patches are the same: the entropic smoothing is its square. Above 0, at most 1.
    #[garde(range(min = 1e-6, max = 1.0))]
    pub blur: f64,
    /// Length beyond which reference patches need not be reached: their marginal is relaxed with its square. Above 0, at
    /// most 100; balanced where not given.
    #[serde(default)]
    #[garde(inner(range(min = 1e-6, max = 100.0)))]
    pub reach: Option<f64>,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub descent: Descent,
}

impl Method for SinkhornMap {
    const KEY: &'static str = "sinkhorn";
    const TITLE: &'static str = "Sinkhorn";
    const PAPERS: &'static [&'static str] = &[
        "S. Mignon, B. Galerne, M. Hidane, C. Louchet, J. Mille. Semi-unbalanced regularized optimal transport for image \
         restoration. EUSIPCO 2023.",
        "M. Piening, F. Altekrüger, J. Hertrich, P. Hagemann, A. Walther, G. Steidl. Learning from small data sets: patch-based \
         regularizers in inverse problems for image reconstruction. GAMM-Mitteilungen, 2024.",
    ];
    const LEARNS: Learns = Learns::Patches;
    const STARTS: bool = true;
    type Settings = SinkhornMapSettings;

    fn check(
        settings: &SinkhornMapSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        match domain.and_then(|domain| domain.axes().into_iter().min()) {
            Some(side) if settings.patch_size > side => {
                Err(("patch_size".into(), format!("larger than the images of {side} pixels")))
            }
            _ => Ok(()),
        }
    }

    fn prepare(settings: &SinkhornMapSettings, from: &TrainingData<'_>, _run: &Run) -> Result<Prepared> {
        let references: Vec<Tensor> = from.references.iter().map(Tensor::shallow_clone).collect();
        let identity = data_hash(&references.iter().collect::<Vec<_>>())?;
        let learned = Learned { identity, ..Learned::default() };
        Prepared::ready(Estimator { settings: *settings, references, learned })
    }
}

struct Estimator {
    settings: SinkhornMapSettings,
    references: Vec<Tensor>,
    learned: Learned,
}

impl Reconstructor for Estimator {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let SinkhornMapSettings { weight, patch_size, references, image_patches, blur, reach, descent } =
            self.settings;
        let references = ReferencePatches::Random(references as usize);
        let wanted = SinkhornSettings::new(
            WppSettings::default().with_patch_size(patch_size).with_references(references).with_scales(1),
            from_half_cost(blur, reach),
        )
        .with_image_patches(Some(image_patches as usize));
        let images: Vec<&Tensor> = self.references.iter().collect();
        let size = problem.domain().batch(1);
        let seed = run.seed.derive(&problem.name, 0);
        let mut prior = SinkhornPatchPrior::new(&size, &images, &wanted, seed)?;
        // The prior has the cost |p - q|^2.
        let image = map(problem, &mut prior, weight.against(&problem.noise)? / 2.0, descent, run)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
