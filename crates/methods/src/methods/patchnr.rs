//! patchNR: MAP estimation with the patch normalizing flow regularizer.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::map::{map, patch_prior};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::patch_flow::{LearnedFlow, PatchFlow};
use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Descent, PatchChoice, SettingFault, Weight};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Result, Space};
use std::time::Instant;

/// patchNR.
#[derive(Debug)]
pub struct PatchNrMap;

/// Minimise `sum nll(A x, y) + lambda mean_i -log p(P_i x)`, `p` the density of a flow that was trained on the patches of reference
/// images; over `x >= 0` where negative values make no sense.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct PatchNrMapSettings {
    /// The flow and its training.
    #[garde(dive)]
    pub flow: PatchFlow,
    /// Weight of the mean over patches.
    #[garde(dive)]
    pub weight: Weight,
    /// Pixels that the image is continued by on all sides, by reflection, before its patches are taken; 0 to 64, 0 where not given.
    #[serde(default)]
    #[garde(range(min = 0, max = 64))]
    pub padding: i64,
    /// Which patches an iteration looks at.
    #[garde(dive)]
    pub patches: PatchChoice,
    /// Iterations and learning rate.
    #[garde(dive)]
    pub descent: Descent,
}

impl Method for PatchNrMap {
    const KEY: &'static str = "patchnr";
    const TITLE: &'static str = "patchNR";
    const PAPERS: &'static [&'static str] = &[
        "F. Altekrüger, A. Denker, P. Hagemann, J. Hertrich, P. Maass, G. Steidl. PatchNR: learning from very few images by \
         patch normalizing flow regularization. Inverse Problems 39(6), 2023.",
    ];
    const LEARNS: Learns = Learns::PatchDensity;
    const STARTS: bool = true;
    type Settings = PatchNrMapSettings;

    fn check(
        settings: &PatchNrMapSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        settings.weight.suits(&instrument.noise())?;
        settings.flow.check("flow", domain, settings.padding)
    }

    fn files(settings: &PatchNrMapSettings) -> Vec<(&'static str, String)> {
        settings.flow.weights.iter().map(|file| ("flow.weights", file.clone())).collect()
    }

    fn prepare(settings: &PatchNrMapSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let LearnedFlow { flow, learned } = settings.flow.learn(from, run)?;
        Prepared::ready(Estimator { settings: settings.clone(), flow, learned })
    }
}

struct Estimator {
    settings: PatchNrMapSettings,
    flow: smalti_flows::PatchNr,
    learned: Learned,
}

impl Reconstructor for Estimator {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let PatchNrMapSettings { weight, padding, patches, descent, .. } = self.settings;
        let seed = run.seed.derive(&problem.name, 0);
        let mut prior = patch_prior(&self.flow, problem.domain(), padding, patches, seed)?;
        let image = map(problem, prior.as_mut(), weight.against(&problem.noise)?, descent, run)?;
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}
