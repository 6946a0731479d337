//! Reconstruction with the Wasserstein patch prior.

use super::{Task, counted::Counted};
use crate::data::DataSource;
use crate::experiment::Experiment;
use crate::experiment::settings::{Operator as OperatorSettings, Wpp, WppMap};
use crate::outcome::Transport;
use crate::run::RunOptions;
use crate::state::{Reconstruction, State};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::Gaussian;
use smalti_priors::wpp::{DualMethod, Pyramid, ReferencePatches};
use smalti_priors::{Regularizer, WassersteinPatchPrior, WppSettings, weight};
use smalti_solvers::{AdamSettings, Bordered, Budget, Iteration, Map, Observer, Problem, run};
use std::time::Instant;
use tch::Tensor;

/// The prior, as the settings of a profile say, with the reference image that its patches are from.
pub(super) struct Learned<'a> {
    settings: &'a Wpp,
    reference: Tensor,
    /// Hash of the reference image.
    pub(super) identity: String,
    seed: Seed,
}

/// Checks that images of `space` have patches on all scales.
///
/// # Errors
/// [`Error::Value`] where they have not.
pub(crate) fn check_size(settings: &Wpp, space: Space) -> Result<()> {
    let WppSettings { blur, downscaling, .. } = WppSettings::hertrich_2022();
    let pyramid = Pyramid::new(space, settings.scales, &blur, downscaling)?;
    let fits = |space: &Space| space.axes().iter().all(|&n| n >= settings.patch_size);
    if pyramid.spaces().iter().all(fits) {
        return Ok(());
    }
    let expected =
        format!("at least one patch of {0} x {0} on all {1} scales", settings.patch_size, settings.scales);
    let got = format!("{} x {} pixels", space.height, space.width);
    Err(Error::value("image for the Wasserstein patch prior", expected, got))
}

impl<'a> Learned<'a> {
    /// Loads the reference image.
    ///
    /// # Errors
    /// Those of loading, and of a reference image that has fewer patches than asked for.
    pub(super) fn load(
        settings: &'a Wpp,
        experiment: &Experiment,
        data: &DataSource,
        options: &RunOptions,
    ) -> Result<Self> {
        let reference = data.load(&experiment.data.reference)?;
        let identity = data_hash(&[&reference])?;
        let learned = Self { settings, reference, identity, seed: options.seed.derive("WPP", 0) };
        let size = Space::of("reference image", &learned.reference)?;
        learned.prior(size, settings.scales, 1, settings.measure.into())?;
        Ok(learned)
    }

    /// The prior on images of `space`. All have the same reference patches.
    fn prior(
        &self,
        space: Space,
        scales: usize,
        stride: i64,
        dual: DualMethod,
    ) -> Result<WassersteinPatchPrior> {
        let &Wpp { patch_size, references, .. } = self.settings;
        let references = ReferencePatches::Random(references);
        let settings =
            WppSettings { patch_size, stride, references, scales, dual, ..WppSettings::hertrich_2022() };
        WassersteinPatchPrior::new(&space.batch(1), &[&self.reference], &settings, self.seed)
    }

    /// Reconstructs one image from `initial` and measures the result; the seconds are those of the first.
    ///
    /// # Errors
    /// Those of the solver; [`Error::Cancelled`] on request.
    pub(super) fn reconstruct(
        &self,
        map: &WppMap,
        task: &Task<'_>,
        operator: &OperatorSettings,
        initial: &Tensor,
        state: &State,
        observer: &Observer,
    ) -> Result<Reconstruction> {
        let start = Instant::now();
        let scales = self.settings.scales;
        let bordered = Bordered::new(task.operator, map.border)?;
        let prior = self.prior(bordered.domain(), scales, map.stride, map.dual.into())?;
        let mut prior = Counted::new(prior);
        // The noise level only sets the scale of the objective: published weights refer to |F(x) - y|^2.
        let sigma = operator.noise.max(1e-3);
        let n = (map.lambda_size / operator.stride).max(1).pow(2);
        let problem = Problem {
            operator: bordered.operator(),
            likelihood: &Gaussian::new(sigma)?,
            observation: task.observation,
            prior: &mut prior,
            weight: weight::from_wpp_mean_of_scales(map.lambda, scales, n, sigma)?,
        };
        let adam = AdamSettings {
            steps: map.iterations,
            rate: map.learning_rate,
            schedule: super::schedule(map.schedule, 0),
        };
        let initial = bordered.start(initial, self.seed.derive(task.name, 0))?;
        let mut solver = Map::new(problem, &initial, adam)?;
        state.go_on(&run(&mut solver, Budget::steps(map.iterations), observer)?)?;
        let image = bordered.cut(&solver.finish()?)?;
        let seconds = start.elapsed().as_secs_f64();
        let potentials = prior.prior().potentials();
        let measured = self.measure(&image, potentials.get(..1).unwrap_or_default())?;
        let transport = Some(Transport { evaluations: prior.evaluations(), ..measured });
        Ok(Reconstruction { image, seconds, transport })
    }

    /// The distance of patches of `image` on scale 0, from a potential that is good already or, where there is none, from
    /// zero. The evaluations are its own.
    ///
    /// # Errors
    /// An image that the prior refuses.
    pub(super) fn measure(&self, image: &Tensor, potential: &[Vec<f64>]) -> Result<Transport> {
        let space = Space::of("image to measure", image)?;
        let measure = self.settings.measure;
        let mut prior = self.prior(space, 1, measure.stride, measure.into())?;
        if !potential.is_empty() {
            prior.set_potentials(potential)?;
        }
        prior.value(image)?;
        let report = prior.reports().into_iter().next();
        let report = report.ok_or_else(|| Error::value("scales of the prior", "at least one", "none"))?;
        let (distance, gap) = (report.value, report.gap());
        let along = |n: i64| (n - self.settings.patch_size) / measure.stride + 1;
        let patches = (along(space.height) * along(space.width)) as usize;
        let (references, evaluations) = (report.references, report.evaluations);
        Ok(Transport { distance, gap, patches, references, evaluations })
    }
}
