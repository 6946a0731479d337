//! What a run of Langevin chains gives.

use super::diagnostics::{
    R_HAT_LIMIT, autocorrelation, bulk_sample_size, effective_sample_size, rank_r_hat, split_r_hat,
    tail_sample_size,
};
use smalti_base::Result;
use std::fmt;
use tch::Tensor;

/// A scalar that is watched over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The energy `E(x)`.
    Energy,
    /// The value of the pixel `[channel, row, column]`.
    Pixel([i64; 3]),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Energy => f.write_str("energy"),
            Self::Pixel([c, i, j]) => write!(f, "pixel ({i}, {j}) of channel {c}"),
        }
    }
}

/// A quantity in all draws, and what its chains say.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Which.
    pub quantity: Quantity,
    /// Its values: one list for each chain, draw by draw.
    pub chains: Vec<Vec<f64>>,
    /// [`split_r_hat`] of the chains.
    pub r_hat: f64,
    /// [`effective_sample_size`] of all chains together, for the mean of the quantity.
    pub effective: f64,
    /// [`rank_r_hat`] of the chains.
    pub rank_r_hat: f64,
    /// [`bulk_sample_size`] of all chains together.
    pub bulk: f64,
    /// [`tail_sample_size`] of all chains together.
    pub tail: f64,
}

impl Trace {
    pub(super) fn new(quantity: Quantity, chains: Vec<Vec<f64>>) -> Result<Self> {
        let (r_hat, effective) = (split_r_hat(&chains)?, effective_sample_size(&chains)?);
        let (rank_r_hat, bulk) = (rank_r_hat(&chains)?, bulk_sample_size(&chains)?);
        let tail = tail_sample_size(&chains)?;
        Ok(Self { quantity, chains, r_hat, effective, rank_r_hat, bulk, tail })
    }

    /// [`autocorrelation`] up to `lags` draws, for plots.
    ///
    /// # Errors
    /// None for a trace of a finished run.
    pub fn autocorrelation(&self, lags: usize) -> Result<Vec<f64>> {
        autocorrelation(&self.chains, lags)
    }
}

/// Samples of a posterior, and their statistics over all draws of all chains.
#[derive(Debug)]
pub struct PosteriorSamples {
    /// Mean of all draws, `[1, C, H, W]`, float64: the estimate of least mean squared error.
    pub mean: Tensor,
    /// Their variance, of the same shape, float64.
    pub variance: Tensor,
    /// Split R-hat of every pixel, of the same shape, float64.
    pub r_hat: Tensor,
    /// The draws that were kept, `[chains, keep, C, H, W]`.
    pub samples: Tensor,
    /// The energy first, then the pixels of the settings.
    pub traces: Vec<Trace>,
    /// The share of proposals that each chain took after burn-in.
    pub acceptance: Vec<f64>,
    /// The step size after burn-in.
    pub step_size: f64,
}

impl PosteriorSamples {
    /// The largest split R-hat of a pixel or a traced quantity; infinite where one is undefined.
    pub fn worst_r_hat(&self) -> f64 {
        let image = if self.r_hat.isfinite().all().int64_value(&[]) == 1 {
            self.r_hat.max().double_value(&[])
        } else {
            f64::INFINITY
        };
        self.largest(image, |t| t.r_hat)
    }

    /// The largest rank-normalised R-hat of a traced quantity; infinite where one is undefined.
    pub fn worst_rank_r_hat(&self) -> f64 {
        self.largest(0.0, |t| t.rank_r_hat)
    }

    /// Whether all split R-hats and all rank-normalised ones are at most 1.1.
    pub fn converged(&self) -> bool {
        self.worst_r_hat().max(self.worst_rank_r_hat()) <= R_HAT_LIMIT
    }

    /// The least effective sample size of a traced quantity; 0 where one is undefined.
    pub fn min_effective_sample_size(&self) -> f64 {
        self.least(|t| t.effective)
    }

    /// The least effective sample size of a traced quantity in the bulk and in the tails of its distribution; 0 where one is
    /// undefined.
    pub fn min_bulk_and_tail(&self) -> (f64, f64) {
        (self.least(|t| t.bulk), self.least(|t| t.tail))
    }

    fn largest(&self, start: f64, of: impl Fn(&Trace) -> f64) -> f64 {
        self.traces.iter().map(of).fold(start, |a, b| if b.is_finite() { a.max(b) } else { f64::INFINITY })
    }

    fn least(&self, of: impl Fn(&Trace) -> f64) -> f64 {
        let defined = |t| Some(of(t)).filter(|size| size.is_finite()).unwrap_or(0.0);
        self.traces.iter().map(defined).fold(f64::INFINITY, f64::min)
    }

    /// All kept draws as one batch, `[chains keep, C, H, W]`.
    pub fn pooled(&self) -> Tensor {
        self.samples.flatten(0, 1)
    }

    /// Says in the log how the chains did; a warning where they disagree or stand still.
    pub(super) fn report(&self) {
        let (worst, effective) = (self.worst_r_hat(), self.min_effective_sample_size());
        let (ranked, (bulk, tail)) = (self.worst_rank_r_hat(), self.min_bulk_and_tail());
        let figures = format!(
            "split R-hat {worst:.3}, by ranks {ranked:.3}; effective draws {effective:.0}, in the bulk {bulk:.0}, in the \
             tails {tail:.0}"
        );
        if !self.converged() {
            tracing::warn!(
                "the chains disagree (an R-hat above {R_HAT_LIMIT}: {figures}): take a longer burn-in and more steps, or \
                 a preconditioner"
            );
        } else {
            tracing::info!("the chains agree: {figures}");
        }
        if let Some((c, share)) = self.acceptance.iter().enumerate().find(|(_, share)| **share < 0.01) {
            tracing::warn!(
                "chain {c} took {:.1} % of its proposals: take a smaller step size",
                100.0 * share
            );
        }
    }
}
