//! The methods of the volume table.

use super::settings::Volume;
use crate::experiment::{Experiment, settings};
use crate::methods::counted::Counted;
use crate::outcome::Transport;
use crate::run::RunOptions;
use crate::state::{Reconstruction, State};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Result, Space};
use smalti_operators::{Border, Gaussian, Operator, VolumeConvolution, interpolate};
use smalti_priors::wpp::{
    Blur, DualMethod, ReferencePatches, ScaleReport, WassersteinPatchPrior, WppSettings,
};
use smalti_priors::{Patches, Regularizer, TotalVariation};
use smalti_solvers::{AdamSettings, Bordered, Budget, Iteration, Map, Observer, Problem, Schedule, run};
use std::time::Instant;
use tch::Tensor;

const TRICUBIC: &str = "tricubic";
const TV: &str = "tv";
const WPP: &str = "wpp";

/// The methods, in the order of the rows.
pub(super) const METHODS: [&str; 3] = [TRICUBIC, TV, WPP];

/// One volume to reconstruct.
pub(super) struct Task<'a> {
    pub(super) name: &'a str,
    pub(super) operator: &'a VolumeConvolution,
    /// `[1, 1, D', H', W']`.
    pub(super) observation: &'a Tensor,
}

/// The methods with what they share.
pub(super) struct Methods<'a> {
    settings: &'a Volume,
    experiment: &'a Experiment,
    options: &'a RunOptions,
    state: State,
    /// `[1, 1, D, H, W]`.
    reference: Tensor,
}

impl<'a> Methods<'a> {
    /// For volumes of `side` voxels a side.
    ///
    /// # Errors
    /// Those of a reference or of volumes that have fewer patches than the settings ask for: before anything is computed.
    pub(super) fn new(
        settings: &'a Volume,
        side: i64,
        experiment: &'a Experiment,
        options: &'a RunOptions,
        reference: Tensor,
    ) -> Result<Self> {
        let state = State::of(options);
        let methods = Self { settings, experiment, options, state, reference: reference.f_unsqueeze(0)? };
        let whole = side + 2 * settings.wpp.border;
        methods.prior(Space::volume(1, whole, whole, whole))?;
        Ok(methods)
    }

    /// Reconstructs one volume, `[1, 1, D, H, W]`.
    pub(super) fn reconstruct(&self, method: &str, task: &Task<'_>) -> Result<Reconstruction> {
        self.state.check()?;
        let start = Instant::now();
        let (grid, domain) = (task.operator.grid(), task.operator.domain());
        let initial = interpolate(task.observation, grid, domain, Border::Clamp)?;
        if method == TRICUBIC {
            return Ok(Reconstruction {
                image: initial,
                seconds: start.elapsed().as_secs_f64(),
                transport: None,
            });
        }
        let name = format!("{method} {}", task.name);
        let hash = data_hash(&[task.observation, &self.reference])?;
        let (operator, seed) = (&self.experiment.operator, self.options.seed.value());
        let identity = format!("{hash} {:?} {operator:?} seed {seed}", self.settings);
        let size = domain.batch(1);
        if let Some(mut done) = self.state.reconstruction(&name, &identity, &size)? {
            done.image = done.image.to_device(self.options.device);
            return Ok(done);
        }
        let observer = self.state.observer(&name, &identity);
        tracing::info!("{method} of {}", task.name);
        let (image, transport) = if method == TV {
            (self.tv(task, &initial, &observer)?, None)
        } else {
            self.wpp(task, &initial, &observer)?
        };
        let done = Reconstruction { image, seconds: start.elapsed().as_secs_f64(), transport };
        self.state.keep_reconstruction(&name, &identity, &done)?;
        Ok(done)
    }

    fn tv(&self, task: &Task<'_>, initial: &Tensor, observer: &Observer) -> Result<Tensor> {
        let tv = &self.settings.tv;
        let mut prior = TotalVariation::new(task.operator.domain(), tv.smoothing)?;
        let adam = adam(tv.iterations, tv.learning_rate, tv.schedule);
        self.map((task.operator, task.observation), initial, (&mut prior, tv.weight), adam, observer)
    }

    fn wpp(
        &self,
        task: &Task<'_>,
        initial: &Tensor,
        observer: &Observer,
    ) -> Result<(Tensor, Option<Transport>)> {
        let wpp = self.settings.wpp;
        let bordered = Bordered::new(task.operator, wpp.border)?;
        let mut prior = Counted::new(self.prior(bordered.domain())?);
        let adam = adam(wpp.iterations, wpp.learning_rate, wpp.schedule);
        let initial = bordered.start(initial, self.options.seed.derive(task.name, 0))?;
        let seen: (&dyn Operator, _) = (bordered.operator(), task.observation);
        let image = bordered.cut(&self.map(seen, &initial, (&mut prior, wpp.weight), adam, observer)?)?;
        let patches = Patches::positions(bordered.domain(), wpp.patch_size) as usize;
        let transport = |report: ScaleReport| Transport {
            distance: report.value,
            gap: report.gap(),
            patches,
            references: report.references,
            evaluations: prior.evaluations(),
        };
        Ok((image, prior.prior().reports().into_iter().next().map(transport)))
    }

    /// The prior on volumes of `space`. All have the same reference patches.
    fn prior(&self, space: Space) -> Result<WassersteinPatchPrior> {
        let wpp = self.settings.wpp;
        let settings = WppSettings {
            patch_size: wpp.patch_size,
            references: ReferencePatches::Random(wpp.references),
            scales: wpp.scales,
            blur: Blur::Gaussian { size: 4, sigma: 1.0 },
            dual: DualMethod::Converge { gap: wpp.gap, evaluations: wpp.evaluations },
            ..WppSettings::default()
        };
        let seed = self.options.seed.derive("references", 0);
        WassersteinPatchPrior::new(&space.batch(1), &[&self.reference], &settings, seed)
    }

    fn map(
        &self,
        (operator, observation): (&dyn Operator, &Tensor),
        initial: &Tensor,
        (prior, weight): (&mut dyn Regularizer, f64),
        adam: AdamSettings,
        observer: &Observer,
    ) -> Result<Tensor> {
        // The noise level only sets the scale of the objective where there is none.
        let likelihood = Gaussian::new(self.experiment.operator.noise.max(1e-3))?;
        let problem = Problem { operator, likelihood: &likelihood, observation, prior, weight };
        let mut map = Map::new(problem, initial, adam)?;
        self.state.go_on(&run(&mut map, Budget::steps(adam.steps), observer)?)?;
        map.finish()
    }
}

fn adam(steps: u64, rate: f64, schedule: settings::Schedule) -> AdamSettings {
    let schedule = match schedule {
        settings::Schedule::Constant => Schedule::Constant,
        settings::Schedule::Cosine => Schedule::Cosine { warmup: 0 },
    };
    AdamSettings { steps, rate, schedule }
}
