//! Training a Gaussian mixture of patches by expectation maximisation.

mod kmeans;
mod patches;
mod state;

use crate::run::{Iteration, Step, finite};
use crate::training_history::{CurvePoint, record};
use kmeans::{Lloyd, Points};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::{Error, Result, Seed};
use smalti_priors::gaussian_mixture::Moments;
use smalti_priors::{GaussianMixture, PatchDensity};
use state::Stage;
use tch::{Kind, Tensor};

/// Settings of [`GaussianMixtureTraining`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct GaussianMixtureSettings {
    /// Side `p` of the square patches; images with `C` channels have patches of `d = C p p` values.
    pub patch_size: i64,
    /// Number `K` of components.
    pub components: i64,
    /// Patches, drawn once and without repetition from all images together; all where there are fewer.
    pub patches: i64,
    /// Added to the diagonals of the covariances in every step, in squared grey values: scikit-learn's `reg_covar`.
    pub floor: f64,
    /// Done where the mean log-likelihood of a patch changes by less than this from one step to the next: `tol`.
    pub tolerance: f64,
    /// At most so many steps of k-means for the start; one is done in any case.
    pub start_steps: u64,
    /// At most so many steps of EM, however many k-means took.
    pub iterations: u64,
    /// Patches of the validation image, a fixed random set.
    pub validation_patches: i64,
}

impl Default for GaussianMixtureSettings {
    /// [`GaussianMixtureSettings::piening_2024`].
    fn default() -> Self {
        Self::piening_2024()
    }
}

impl GaussianMixtureSettings {
    /// Those of EPLL in MoePien/PatchbasedRegularizer for superresolution: 200 components on all 6 x 6 patches, tolerance
    /// 1e-4, at most 1000 steps of EM; the rest is scikit-learn's default.
    pub fn piening_2024() -> Self {
        Self {
            patch_size: 6,
            components: 200,
            patches: i64::MAX,
            floor: 1e-6,
            tolerance: 1e-4,
            start_steps: 300,
            iterations: 1_000,
            validation_patches: 10_000,
        }
    }

    /// The same for patches of this side.
    #[must_use]
    pub fn with_patch_size(mut self, patch_size: i64) -> Self {
        self.patch_size = patch_size;
        self
    }

    /// The same with so many components.
    #[must_use]
    pub fn with_components(mut self, components: i64) -> Self {
        self.components = components;
        self
    }

    /// The same with so many patches at most.
    #[must_use]
    pub fn with_patches(mut self, patches: i64) -> Self {
        self.patches = patches;
        self
    }

    /// The same with another number added to the diagonals.
    #[must_use]
    pub fn with_floor(mut self, floor: f64) -> Self {
        self.floor = floor;
        self
    }

    /// The same with another tolerance.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The same with so many steps of k-means at most.
    #[must_use]
    pub fn with_start_steps(mut self, start_steps: u64) -> Self {
        self.start_steps = start_steps;
        self
    }

    /// The same with so many steps of EM at most.
    #[must_use]
    pub fn with_iterations(mut self, iterations: u64) -> Self {
        self.iterations = iterations;
        self
    }

    /// Steps that a run takes at most: the seeds, k-means, EM.
    pub fn steps(&self) -> u64 {
        1 + self.start_steps + self.iterations
    }

    /// The same with so many validation patches.
    #[must_use]
    pub fn with_validation_patches(mut self, validation_patches: i64) -> Self {
        self.validation_patches = validation_patches;
        self
    }

    fn check(&self, found: i64) -> Result<()> {
        if self.components < 1 || self.components > found {
            let expected = format!("1 to the number of patches, {found}");
            return Err(Error::value("components of a Gaussian mixture", expected, self.components));
        }
        if self.iterations < 1 {
            return Err(Error::value("steps of EM", "at least 1", self.iterations));
        }
        for (what, value) in [("floor of the covariances", self.floor), ("tolerance", self.tolerance)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a number >= 0", value));
            }
        }
        Ok(())
    }
}

/// A trained mixture.
#[derive(Debug)]
pub struct TrainedGaussianMixture {
    /// The mixture after the last step.
    pub mixture: GaussianMixture,
    /// A point for every step of EM: the mean `nll` of the training patches under the mixture before the step, that of the
    /// validation patches under the mixture after it.
    pub curve: Vec<CurvePoint>,
}

/// Maximises the mean log-likelihood `1/N sum_n log p(x_n)` of a Gaussian mixture over its weights, means and covariances,
/// `x_n` patches of the training images, by expectation maximisation.
///
/// ```text
/// E: r_nk = w_k N(x_n; mu_k, Sigma_k) / p(x_n)
/// M: N_k = sum_n r_nk,  w_k = N_k / N,  mu_k = sum_n r_nk x_n / N_k,
///    Sigma_k = sum_n r_nk (x_n - mu_k)(x_n - mu_k)^T / N_k + floor I
/// ```
///
/// The steps of the run are: one for the seeds of k-means; then k-means until its centres move by at most 1e-4 of the
/// patches' variance, at most `start_steps`; then EM, started from the means, covariances and sizes of the clusters, until
/// the tolerance is met, at most `iterations`. That is what scikit-learn's `GaussianMixture` does with `n_init=1`, with other random numbers.
/// Without a floor the log-likelihood never falls; with one it may fall by an amount of the order of the floor squared.
///
/// # Shapes
/// Images `[1, C, H, W]`, all with the same `C`. Patches are kept as `[N, d]` in the dtype of the images; everything else
/// is in float64, a piece of the patches at a time ([`Moments`]).
///
/// # Components without patches
/// In k-means an empty cluster moves to the patch that is farthest from its centre. In EM nothing is seeded anew, since
/// that would lower the likelihood: a component whose `N_k` goes to zero stays where it is with the covariance `floor I`
/// and next to no weight. Without a floor its covariance is singular, which is an error.
///
/// Sources: Dempster, Laird & Rubin, *Maximum likelihood from incomplete data via the EM algorithm*, 1977; Arthur &
/// Vassilvitskii, *k-means++*, 2007; Zoran & Weiss 2011 for mixtures of patches.
///
/// ```
/// use smalti_base::Seed;
/// use smalti_solvers::{GaussianMixtureSettings, GaussianMixtureTraining, Iteration, RunControl, run};
/// let image = Seed::new(1).at("image", 0).uniform(&[1, 1, 40, 30]);
/// let settings = GaussianMixtureSettings::piening_2024().with_patch_size(3).with_components(4).with_iterations(20);
/// let mut training = GaussianMixtureTraining::new(&[image], None, settings, Seed::new(2))?;
/// run(&mut training, settings.steps(), &RunControl::default())?;
/// let mixture = training.finish()?.mixture;
/// assert_eq!(mixture.components(), 4);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct GaussianMixtureTraining {
    settings: GaussianMixtureSettings,
    seed: Seed,
    patches: Tensor,
    validation: Option<Tensor>,
    data_hash: String,
    stage: Stage,
    curve: Vec<CurvePoint>,
}

impl std::fmt::Debug for GaussianMixtureTraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GaussianMixtureTraining").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl GaussianMixtureTraining {
    /// Training on the patches of `images`, each `[1, C, H, W]`, watched on those of `validation`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where an image or setting does not fit, or there are fewer patches than
    /// components.
    pub fn new(
        images: &[Tensor],
        validation: Option<&Tensor>,
        settings: GaussianMixtureSettings,
        seed: Seed,
    ) -> Result<Self> {
        for (what, value) in [
            ("patches", settings.patches),
            ("validation patches", validation.map_or(1, |_| settings.validation_patches)),
        ] {
            if value < 1 {
                return Err(Error::value(what, "at least 1", value));
            }
        }
        let p = settings.patch_size;
        let mut stream = seed.at("training patches", 0);
        let patches = patches::drawn("training image", images, p, settings.patches as usize, &mut stream)?;
        settings.check(patches.size()[0])?;
        let mut stream = seed.at("validation patches", 0);
        let validation = validation
            .map(|image| {
                let image = std::slice::from_ref(image);
                patches::drawn(
                    "validation image",
                    image,
                    p,
                    settings.validation_patches as usize,
                    &mut stream,
                )
            })
            .transpose()?;
        if let Some(other) = validation.as_ref().filter(|other| other.size()[1] != patches.size()[1]) {
            return Err(Error::shape(
                "validation image",
                "the channels of the training images",
                other.size(),
            ));
        }
        let data_hash = data_hash(&images.iter().collect::<Vec<_>>())?;
        Ok(Self { settings, seed, patches, validation, data_hash, stage: Stage::Seeds, curve: Vec::new() })
    }

    /// The same with EM started from `mixture` instead of from k-means.
    ///
    /// # Errors
    /// [`Error::Shape`] where it does not have the components of the settings and the dimension of the patches.
    pub fn starting_from(self, mixture: GaussianMixture) -> Result<Self> {
        let expected = [self.settings.components, self.patches.size()[1]];
        if mixture.means().size() != expected {
            return Err(Error::shape("means of the mixture to start from", expected, mixture.means().size()));
        }
        let mixture = mixture.to_device(self.patches.device())?;
        Ok(Self { stage: Stage::Em { mixture, last: None }, ..self })
    }

    /// The patches that are learned from: `[N, d]`.
    pub fn patches(&self) -> &Tensor {
        &self.patches
    }

    fn seeds(&self, points: &Points<'_>) -> Result<Tensor> {
        points.seeded(self.settings.components, &mut self.seed.at("seeds of k-means", 0))
    }

    /// The mixture of the clusters around centres.
    fn of_clusters(&self, points: &Points<'_>, centres: &Tensor) -> Result<GaussianMixture> {
        let labels = points.labels(centres)?;
        Moments::labelled(centres, &self.patches, &labels)?.mixture(self.settings.floor)
    }

    /// What the next step leads to.
    fn advanced(&self, k: u64) -> Result<(Stage, Step, Option<CurvePoint>)> {
        match &self.stage {
            Stage::Seeds => {
                let points = Points::new(&self.patches)?;
                let centres = self.seeds(&points)?;
                let terms = vec![("variance of the patches", points.variance)];
                Ok((Stage::Clusters { centres, done: 0 }, Step { terms, done: None }, None))
            }
            Stage::Clusters { centres, done } => {
                let (stage, report) = self.clustered(centres, done + 1)?;
                Ok((stage, report, None))
            }
            Stage::Em { mixture, last } => {
                let (mixture, point) = self.improved(mixture, k)?;
                let mut terms = vec![("training NLL", point.train)];
                terms.extend(point.validation.map(|v| ("validation NLL", v)));
                let GaussianMixtureSettings { tolerance, iterations, .. } = self.settings;
                let done = if last.is_some_and(|last| (point.train - last).abs() < tolerance) {
                    Some(format!("the mean log-likelihood changed by less than {tolerance}"))
                } else {
                    let steps = self.curve.len() as u64 + 1;
                    (steps >= iterations).then(|| format!("{steps} steps of EM"))
                };
                Ok((Stage::Em { mixture, last: Some(point.train) }, Step { terms, done }, Some(point)))
            }
        }
    }

    /// One step of k-means, the number `done`; the first mixture where it was the last one.
    fn clustered(&self, centres: &Tensor, done: u64) -> Result<(Stage, Step)> {
        let points = Points::new(&self.patches)?;
        let Lloyd { centres, shift, distance } = points.lloyd(centres)?;
        let stage = if shift <= 1e-4 * points.variance || done >= self.settings.start_steps {
            Stage::Em { mixture: self.of_clusters(&points, &centres)?, last: None }
        } else {
            Stage::Clusters { centres, done }
        };
        Ok((stage, Step { terms: vec![("squared distance to the centres", distance)], done: None }))
    }

    /// One step of EM, step `k` of the run.
    fn improved(&self, mixture: &GaussianMixture, k: u64) -> Result<(GaussianMixture, CurvePoint)> {
        let moments = Moments::expected(mixture, &self.patches)?;
        let train = -moments.mean_log_likelihood();
        finite("training NLL", k, train)?;
        let mixture = moments.mixture(self.settings.floor)?;
        let validation = match &self.validation {
            Some(patches) => Some(mixture.nll(patches)?.f_mean(Kind::Double)?.f_double_value(&[])?),
            None => None,
        };
        Ok((mixture, CurvePoint { step: k + 1, train, validation }))
    }
}

impl Iteration for GaussianMixtureTraining {
    type Output = TrainedGaussianMixture;

    fn name(&self) -> String {
        "training a Gaussian mixture".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let (stage, report, point) = self.advanced(k)?;
        self.stage = stage;
        self.curve.extend(point);
        Ok(report)
    }

    /// The mixture; that of the clusters where no step of EM was done.
    fn finish(mut self) -> Result<TrainedGaussianMixture> {
        let _no_grad = tch::no_grad_guard();
        let points = Points::new(&self.patches)?;
        let mut mixture = match std::mem::replace(&mut self.stage, Stage::Seeds) {
            Stage::Seeds => self.of_clusters(&points, &self.seeds(&points)?)?,
            Stage::Clusters { centres, .. } => self.of_clusters(&points, &centres)?,
            Stage::Em { mixture, .. } => mixture,
        };
        record(&mut mixture.provenance, self.data_hash, format!("{:?}", self.settings), self.seed);
        if let Some(value) = self.curve.last().and_then(|point| point.validation) {
            mixture.provenance.insert("validation_nll".into(), value.to_string());
        }
        Ok(TrainedGaussianMixture { mixture, curve: self.curve })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        self.stage.save(&mut file);
        CurvePoint::save(&self.curve, &mut file);
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let size = [self.settings.components, self.patches.size()[1]];
        self.stage = Stage::restore(&mut state, size, self.patches.device())?;
        self.curve = CurvePoint::restore(&mut state)?;
        Ok(())
    }
}
