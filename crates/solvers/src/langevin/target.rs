//! The energy of a posterior, for several chains at once.

use crate::map::Objective;
use smalti_base::{Error, Result, checkpoint::Checkpoint};
use tch::{Kind, Tensor};

/// `E(x) = nll(F(x), y) + n w R(x)`, see [`super`].
pub(super) struct Target<'a> {
    problem: Objective<'a>,
    /// The observation once for each chain.
    observations: Tensor,
    /// `lambda = n w`.
    lambda: f64,
    /// What the fixed regularizer was when its first values were asked for.
    fixed: Option<Checkpoint>,
}

/// Energies and their gradients, `[chains, C, H, W]`.
pub(super) struct Energies {
    pub(super) values: Vec<f64>,
    pub(super) grad: Tensor,
}

impl<'a> Target<'a> {
    pub(super) fn new(problem: Objective<'a>, chains: i64) -> Result<Self> {
        if !(problem.weight >= 0.0 && problem.weight.is_finite()) {
            return Err(Error::value("weight of the regularizer", "a number >= 0", problem.weight));
        }
        let mut times = vec![1; problem.observation.dim()];
        times[0] = chains;
        let observations = problem.observation.f_detach_copy()?.f_repeat(times)?;
        let lambda = problem.weight * problem.observation.numel() as f64;
        Ok(Self { problem, observations, lambda, fixed: None })
    }

    /// Fixes the regularizer for good, warmed up at `x: [1, C, H, W]` where it searches.
    pub(super) fn fix(&mut self, x: &Tensor) -> Result<()> {
        let prior = &mut self.problem.prior;
        prior.refresh(0)?;
        prior.value(x)?;
        prior.refresh(0)?;
        self.fixed = prior.save();
        Ok(())
    }

    /// The energies at `x: [chains, C, H, W]`.
    pub(super) fn evaluate(&self, x: &Tensor) -> Result<Energies> {
        let p = &self.problem;
        let u = p.operator.apply(x)?;
        let (nll, slope) = p.likelihood.value_and_grad(&u, &self.observations)?;
        let mut values = Vec::<f64>::try_from(nll.f_to_kind(Kind::Double)?)?;
        let mut grad = p.operator.vjp(x, &slope)?;
        if self.lambda > 0.0 {
            let mut of_prior = Vec::with_capacity(values.len());
            for (c, value) in values.iter_mut().enumerate() {
                let (of_chain, slope) = p.prior.value_and_grad(&x.narrow(0, c as i64, 1))?;
                *value += self.lambda * of_chain;
                of_prior.push(slope);
            }
            grad = grad.f_add(&(Tensor::f_cat(&of_prior, 0)? * self.lambda))?;
        }
        Ok(Energies { values, grad })
    }

    /// The regularizer's state: that of now, or, once it is fixed, that of then.
    pub(super) fn save(&self) -> Option<Checkpoint> {
        let Some(fixed) = &self.fixed else { return self.problem.prior.save() };
        let mut copy = Checkpoint::default();
        copy.tensors = fixed.tensors.iter().map(|(name, t)| (name.clone(), t.copy())).collect();
        copy.metadata = fixed.metadata.clone();
        Some(copy)
    }

    pub(super) fn restore(&mut self, state: Checkpoint) -> Result<()> {
        let prior = &mut self.problem.prior;
        prior.restore(state)?;
        prior.refresh(0)?;
        self.fixed = prior.save();
        Ok(())
    }
}
