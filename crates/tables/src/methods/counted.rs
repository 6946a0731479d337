//! A Wasserstein patch prior that counts what it costs.

use smalti_base::Result;
use smalti_base::checkpoint::Checkpoint;
use smalti_priors::{Regularizer, WassersteinPatchPrior};
use std::cell::Cell;
use tch::Tensor;

/// A prior that counts what its dual problems cost, over interruptions too.
pub(crate) struct Counted {
    prior: WassersteinPatchPrior,
    /// c-transforms of all patches of a scale.
    evaluations: Cell<usize>,
}

impl Counted {
    pub(crate) fn new(prior: WassersteinPatchPrior) -> Self {
        Self { prior, evaluations: Cell::new(0) }
    }

    pub(crate) fn prior(&self) -> &WassersteinPatchPrior {
        &self.prior
    }

    /// c-transforms so far.
    pub(crate) fn evaluations(&self) -> usize {
        self.evaluations.get()
    }
}

impl Regularizer for Counted {
    fn value(&self, x: &Tensor) -> Result<f64> {
        self.prior.value(x)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let found = self.prior.value_and_grad(x)?;
        let spent: usize = self.prior.reports().iter().map(|report| report.evaluations).sum();
        self.evaluations.set(self.evaluations.get() + spent);
        Ok(found)
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.prior.refresh(step)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut state = self.prior.save()?;
        state.set_meta("evaluations", self.evaluations.get());
        Some(state)
    }

    fn restore(&mut self, state: Checkpoint) -> Result<()> {
        self.evaluations.set(state.meta_parsed("evaluations")?);
        self.prior.restore(state)
    }
}
