//! MAP estimation.

use crate::adam::{Adam, AdamSettings};
use crate::check;
use crate::run::{Iteration, Step, finite};
use smalti_base::{Error, Result, checkpoint::Checkpoint};
use smalti_operators::{Likelihood, Operator};
use smalti_priors::Regularizer;
use tch::{Kind, Tensor};

/// What is minimised: `J(x) = 1/n nll(F(x), y) + w R(x)`, `n` the number of observation values.
///
/// Data term and regularizer are both means, so that the weight `w` does not depend on the size of the image;
/// [`smalti_priors::weight`] converts published weights.
pub struct Objective<'a> {
    /// The forward operator `F`.
    pub operator: &'a dyn Operator,
    /// The likelihood of `y` given `F(x)`.
    pub likelihood: &'a dyn Likelihood,
    /// The observation `y: [1, C', H', W']`, of volumes `[1, C', D', H', W']`.
    pub observation: &'a Tensor,
    /// The regularizer `R`.
    pub prior: &'a mut dyn Regularizer,
    /// The weight `w >= 0`.
    pub weight: f64,
}

impl std::fmt::Debug for Objective<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objective")
            .field("observation", &self.observation)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

/// Minimises [`Objective`] over all pixels by Adam, over `x >= 0` where [`Map::nonnegative`] says so; the regularizer is
/// refreshed before every step.
pub struct Map<'a> {
    problem: Objective<'a>,
    settings: AdamSettings,
    x: Tensor,
    adam: Adam,
    nonnegative: bool,
}

impl std::fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map")
            .field("objective", &self.problem)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<'a> Map<'a> {
    /// MAP estimation started from `initial: [1, C, H, W]` or `[1, C, D, H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where image or observation do not fit the operator; [`Error::Value`] where they are not
    /// finite, differ in dtype or device, or a setting is out of range.
    pub fn new(problem: Objective<'a>, initial: &Tensor, settings: AdamSettings) -> Result<Self> {
        check::images(problem.operator, initial, problem.observation)?;
        settings.check()?;
        if !(problem.weight >= 0.0 && problem.weight.is_finite()) {
            return Err(Error::value("weight of the regularizer", "a number >= 0", problem.weight));
        }
        // Contiguous, as Adam needs it, whatever the strides of the initial image.
        let x = initial.detach().contiguous().copy();
        let adam = Adam::new(&[x.shallow_clone()]);
        Ok(Self { problem, settings, x, adam, nonnegative: false })
    }

    /// The same over images without negative values, as attenuations have none: values below zero become zero in the
    /// initial image and after every step.
    #[must_use]
    pub fn nonnegative(mut self) -> Self {
        self.nonnegative = true;
        self.project();
        self
    }

    fn project(&mut self) {
        if self.nonnegative {
            let _ = self.x.clamp_min_(0.0);
        }
    }
}

impl Iteration for Map<'_> {
    type Output = Tensor;

    fn name(&self) -> String {
        "MAP estimation".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let p = &mut self.problem;
        p.prior.refresh(k)?;
        let u = p.operator.apply(&self.x)?;
        let n = p.observation.numel() as f64;
        let (nll, slope) = p.likelihood.value_and_grad(&u, p.observation)?;
        let data = nll.sum(Kind::Double).double_value(&[]) / n;
        finite("data term", k, data)?;
        let (prior, prior_grad) = p.prior.value_and_grad(&self.x)?;
        let data_grad = p.operator.vjp(&self.x, &slope)? / n;
        let rate = self.settings.rate_at(k);
        let grad = data_grad + prior_grad * p.weight;
        self.adam.step(&[self.x.shallow_clone()], &[vec![grad]], rate)?;
        let terms = vec![("objective", data + p.weight * prior), ("data term", data), ("prior", prior)];
        self.project();
        Ok(Step { terms, done: None })
    }

    fn finish(self) -> Result<Tensor> {
        Ok(self.x)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("x".into(), self.x.copy());
        self.adam.save(&mut file);
        if let Some(prior) = self.problem.prior.save() {
            file.insert_part("prior", prior);
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        let x = state.take("x", &self.x.size(), self.x.kind())?;
        self.x.copy_(&x);
        self.adam.restore(&mut state)?;
        self.problem.prior.restore(state.take_part("prior"))
    }
}
