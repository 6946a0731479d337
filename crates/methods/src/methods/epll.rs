//! EPLL: expected patch log-likelihood under a Gaussian mixture, by MAP estimation or half-quadratic splitting.

use crate::estimate::Estimate;
use crate::instrument::{Instrument, TrainingData};
use crate::map::{map, patch_prior, patches_fit};
use crate::method::{Learned, Learns, Method, Prepared, Reconstructor};
use crate::problem::{InverseProblem, Noise};
use crate::run::Run;
use crate::settings::{Descent, PatchChoice, SettingFault, Weight, to_toml};
use crate::trained::Trained;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::{Checkpoint, data_hash};
use smalti_base::{Error, Result, Space};
use smalti_operators::LinearOperator;
use smalti_priors::{GaussianMixture, Patches};
use smalti_solvers::{GaussianMixtureSettings, GaussianMixtureTraining, Iteration, Step};
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// EPLL.
#[derive(Debug)]
pub struct Epll;

/// Minimise `sum nll(A x, y) + lambda mean_i -log p(P_i x)`, `p` a mixture of normal distributions with full covariances that
/// was fitted to the patches of reference images by EM. Patches keep their means.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct EpllSettings {
    /// The mixture and how it is fitted.
    #[garde(dive)]
    pub mixture: MixtureSettings,
    /// Weight of the mean over patches.
    #[garde(dive)]
    pub weight: Weight,
    /// How the minimum is found.
    #[garde(dive)]
    pub solver: EpllSolver,
}

/// A Gaussian mixture on patches, see [`GaussianMixtureTraining`].
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct MixtureSettings {
    /// Side of a patch in pixels, 2 to 16.
    #[garde(range(min = 2, max = 16))]
    pub patch_size: i64,
    /// Number of components, 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub components: i64,
    /// Patches of the reference images that it is fitted to, drawn once, 1 to 100 million; all where there are fewer.
    #[garde(range(min = 1, max = 100_000_000))]
    pub patches: i64,
    /// Iterations of EM at most, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub iterations: u64,
    /// Ends where the mean log-likelihood of a patch grows by less, 0 to 1; 1e-4 where not given.
    #[serde(default = "tolerance")]
    #[garde(range(min = 0.0, max = 1.0))]
    pub tolerance: f64,
    /// Added to the diagonals of the covariances, in squared grey values, 0 to 1; 1e-6 where not given.
    #[serde(default = "floor")]
    #[garde(range(min = 0.0, max = 1.0))]
    pub floor: f64,
    /// A fitted mixture to use instead of fitting one: a `.safetensors` file of this program, or an `.npz` with the attributes of
    /// scikit-learn's `GaussianMixture`. Relative to the current folder.
    #[serde(default)]
    #[garde(inner(length(min = 1)))]
    pub weights: Option<String>,
}

fn tolerance() -> f64 {
    1e-4
}

fn floor() -> f64 {
    1e-6
}

/// How the minimum is found.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EpllSolver {
    /// By Adam on the image, over `x >= 0` where negative values make no sense.
    Map {
        /// Pixels that the image is continued by on all sides, by reflection, before its patches are taken; 0 to 64.
        #[serde(default)]
        #[garde(range(min = 0, max = 64))]
        padding: i64,
        /// Which patches an iteration looks at.
        #[garde(dive)]
        patches: PatchChoice,
        /// Iterations and learning rate.
        #[garde(dive)]
        descent: Descent,
    },
    /// By half-quadratic splitting, for Gaussian noise: for growing `beta`, patches `z_i` of the image are denoised by the Wiener
    /// filter of their most likely component at the variance `1 / beta`; then the image minimises
    /// `sum nll(A x, y) + lambda beta / 2 mean_i |P_i x - z_i|^2` by conjugate gradients.
    HalfQuadratic {
        /// `beta` of each iteration, in inverse squared grey values, above 0, at most 1e12.
        #[garde(length(min = 1, max = 1000), inner(range(min = 1e-6, max = 1e12)))]
        betas: Vec<f64>,
        /// Steps of conjugate gradients in each iteration, 1 to 10,000.
        #[garde(range(min = 1, max = 10_000))]
        conjugate_gradients: u64,
    },
}

impl Method for Epll {
    const KEY: &'static str = "epll";
    const TITLE: &'static str = "EPLL";
    const PAPERS: &'static [&'static str] = &[
        "D. Zoran, Y. Weiss. From learning models of natural image patches to whole image restoration. ICCV 2011.",
    ];
    const LEARNS: Learns = Learns::PatchDensity;
    const STARTS: bool = true;
    type Settings = EpllSettings;

    fn check(
        settings: &EpllSettings,
        instrument: &dyn Instrument,
        domain: Option<Space>,
    ) -> std::result::Result<(), SettingFault> {
        let noise = instrument.noise();
        settings.weight.suits(&noise)?;
        if let (EpllSolver::HalfQuadratic { .. }, Noise::Poisson(_)) = (&settings.solver, noise) {
            let problem = "half-quadratic splitting needs Gaussian noise; take map";
            return Err(("solver.half_quadratic".into(), problem.into()));
        }
        let padding = match settings.solver {
            EpllSolver::Map { padding, .. } => padding,
            EpllSolver::HalfQuadratic { .. } => 0,
        };
        let patch_size = settings.mixture.patch_size;
        patches_fit(domain, (patch_size, "mixture.patch_size"), (padding, "solver.map.padding"))
    }

    fn files(settings: &EpllSettings) -> Vec<(&'static str, String)> {
        settings.mixture.weights.iter().map(|file| ("mixture.weights", file.clone())).collect()
    }

    fn prepare(settings: &EpllSettings, from: &TrainingData<'_>, run: &Run) -> Result<Prepared> {
        let Trained { model: mixture, curve, seconds } = settings.mixture.fit(from, run)?;
        let (weights, means, covariances) = (mixture.weights(), mixture.means(), mixture.covariances());
        let identity = data_hash(&[weights, means, covariances])?;
        let note = match curve.training.last() {
            None => format!("mixture of {} components fitted before this run", mixture.components()),
            Some(&(step, _)) => {
                let nll = curve.validation.last().map(|&(_, value)| format!(", validation NLL {value:.1}"));
                let (k, nll) = (mixture.components(), nll.unwrap_or_default());
                format!("mixture of {k} components fitted once: {} steps in {seconds:.0} s{nll}", step + 1)
            }
        };
        let learned = Learned { identity, curve: None, note };
        let mixture = mixture.to_device(run.device)?;
        Prepared::ready(Fit { settings: settings.clone(), mixture, learned })
    }
}

impl MixtureSettings {
    fn fit(&self, from: &TrainingData<'_>, run: &Run) -> Result<Trained<GaussianMixture>> {
        if let Some(file) = &self.weights {
            return self.given(Path::new(file), from);
        }
        let references = from.dequantised(run.seed)?;
        let hash = data_hash(&references.iter().chain(&from.validation).collect::<Vec<&Tensor>>())?;
        run.once("epll", &format!("{hash} {}", to_toml(self)), |run| {
            let paper = GaussianMixtureSettings::piening_2024();
            let settings = paper
                .with_patch_size(self.patch_size)
                .with_components(self.components)
                .with_patches(self.patches)
                .with_floor(self.floor)
                .with_tolerance(self.tolerance)
                .with_iterations(self.iterations);
            let seed = run.seed.derive("EPLL", 0);
            let training =
                GaussianMixtureTraining::new(&references, from.validation.as_ref(), settings, seed)?;
            let (trained, summary) = run.iterate("training", settings.steps(), training)?;
            run.publish(&format!("{}.safetensors", run.row()), |path| trained.mixture.save(path))?;
            let (curve, seconds) = (trained.curve.as_slice().into(), summary.elapsed.as_secs_f64());
            Ok(Trained { model: trained.mixture, curve, seconds })
        })
    }

    /// A mixture that was fitted before, on patches of the size of the settings.
    fn given(&self, path: &Path, from: &TrainingData<'_>) -> Result<Trained<GaussianMixture>> {
        let scikit = path.extension().is_some_and(|extension| extension == "npz");
        let mixture =
            if scikit { GaussianMixture::import_scikit_learn(path)? } else { GaussianMixture::load(path)? };
        let axes = from.references.first().map_or(2, |image| image.dim() - 2);
        let (found, expected) = (mixture.means().size()[1], self.patch_size.pow(axes as u32));
        if found != expected {
            let problem =
                format!("has patches of {found} values, not of {expected} = {}^{axes}", self.patch_size);
            return Err(Error::content(path, problem, "give its patch_size, or another file"));
        }
        Ok(Trained::given(mixture))
    }
}

struct Fit {
    settings: EpllSettings,
    mixture: GaussianMixture,
    learned: Learned,
}

impl Reconstructor for Fit {
    fn reconstruct(&self, problem: &InverseProblem, run: &Run) -> Result<Estimate> {
        let clock = Instant::now();
        let weight = self.settings.weight.against(&problem.noise)?;
        let image = match &self.settings.solver {
            &EpllSolver::Map { padding, patches, descent } => {
                let seed = run.seed.derive(&problem.name, 0);
                let mut prior = patch_prior(&self.mixture, problem.domain(), padding, patches, seed)?;
                map(problem, prior.as_mut(), weight, descent, run)?
            }
            EpllSolver::HalfQuadratic { betas, conjugate_gradients } => {
                let patches = Patches::all(problem.domain(), self.settings.mixture.patch_size)?;
                let splitting = Splitting {
                    fit: self,
                    problem,
                    // What stands before 1/2 |P_i x - z_i|^2, but for beta, where the data term is 1/2 |A x - y|^2.
                    coupling: coupling(problem, weight)? / patches.count() as f64,
                    patches,
                    betas,
                    conjugate_gradients: *conjugate_gradients,
                    x: problem.start.image.copy(),
                };
                run.iterate("splitting", betas.len() as u64, splitting)?.0
            }
        };
        Ok(Estimate::of(image, problem.start.seconds + clock.elapsed().as_secs_f64()))
    }

    fn learned(&self) -> Option<&Learned> {
        Some(&self.learned)
    }
}

/// `lambda sigma^2` of `sum nll(A x, y) + lambda R(x)` with `nll = 1 / (2 sigma^2) (A x - y)^2`.
fn coupling(problem: &InverseProblem, weight: f64) -> Result<f64> {
    match problem.noise {
        Noise::Gaussian { .. } => {
            let n = problem.observation.numel() as f64;
            Ok(weight * n * problem.noise.scale().powi(2))
        }
        Noise::Poisson(_) => {
            let expected = "map, for half-quadratic splitting needs Gaussian noise";
            Err(Error::value("solver of EPLL", expected, "half_quadratic"))
        }
    }
}

/// Half-quadratic splitting, one `beta` a step.
struct Splitting<'a> {
    fit: &'a Fit,
    problem: &'a InverseProblem,
    patches: Patches,
    coupling: f64,
    betas: &'a [f64],
    conjugate_gradients: u64,
    x: Tensor,
}

impl Splitting<'_> {
    /// `(A^T A + c sum_i P_i^T P_i) x`.
    fn normal(&self, x: &Tensor, c: f64) -> Result<Tensor> {
        Ok(self.problem.operator.normal(x)?.f_add(&(self.patches.normal(x)? * c))?)
    }
}

impl Iteration for Splitting<'_> {
    type Output = Tensor;

    fn name(&self) -> String {
        "half-quadratic splitting".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let Some(&beta) = self.betas.get(k as usize) else { return Ok(Step::default()) };
        let z = self.fit.mixture.denoise(&self.patches.rows(&self.x)?, 1.0 / beta)?;
        let c = self.coupling * beta;
        let InverseProblem { operator, observation, .. } = self.problem;
        let right = operator.adjoint(observation)? + self.patches.rows_adjoint(&z)? * c;
        // Conjugate gradients from the last image on.
        let dot = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
        let mut residual = right.f_sub(&self.normal(&self.x, c)?)?;
        let mut direction = residual.copy();
        let mut squared = dot(&residual, &residual);
        let least = squared.max(dot(&right, &right)) * 1e-14;
        for _ in 0..self.conjugate_gradients {
            if squared <= least {
                break;
            }
            let image = self.normal(&direction, c)?;
            let step = squared / dot(&direction, &image);
            self.x = &self.x + &direction * step;
            residual -= image * step;
            let next = dot(&residual, &residual);
            direction = &residual + direction * (next / squared);
            squared = next;
        }
        let misfit = operator.apply(&self.x)?.f_sub(observation)?.f_square()?;
        let misfit = misfit.f_mean(Kind::Double)?.f_double_value(&[])?.sqrt();
        Ok(Step { terms: vec![("beta", beta), ("residual", misfit)], done: None })
    }

    fn finish(self) -> Result<Tensor> {
        Ok(if self.problem.range.nonnegative { self.x.clamp_min(0.0) } else { self.x })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("x".into(), self.x.copy());
        Some(file)
    }

    fn restore(&mut self, mut file: Checkpoint) -> Result<()> {
        self.x = file.take("x", &self.x.size(), self.x.kind())?.f_to_device(self.x.device())?;
        Ok(())
    }
}
