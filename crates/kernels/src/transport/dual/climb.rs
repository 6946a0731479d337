//! The way up: the best potential so far, and what the way has cost.

use super::dual_value;
use crate::{
    error::KernelError,
    transport::{CTransform, Queries},
};

/// A search for the maximum of the semi-dual. Potentials are by place of the index over the references.
pub(super) struct Climb<'a> {
    pub(super) queries: &'a mut Queries,
    /// Of the queries, normalised; none: the same.
    weights: Option<&'a [f64]>,
    /// The same by position.
    pub(super) by_position: Vec<f64>,
    /// Of the places; of sum 1.
    pub(super) masses: Vec<f64>,
    pub(super) best: Best,
    /// c-transforms, and what else took as long.
    pub(super) spent: f64,
    /// What may be spent.
    pub(super) limit: f64,
}

/// A potential and its exact c-transform.
pub(super) struct Best {
    pub(super) psi: Vec<f64>,
    pub(super) value: f64,
    pub(super) transform: CTransform,
}

impl<'a> Climb<'a> {
    /// Starts at a potential of the reference rows, with one evaluation. Of equal rows the highest counts.
    pub(super) fn new(
        queries: &'a mut Queries,
        psi: &[f64],
        weights: Option<&'a [f64]>,
        limit: f64,
    ) -> Result<Self, KernelError> {
        let references = &queries.references;
        let members = |place| references.members(place).iter();
        let highest = |place| members(place).map(|&j| psi[j as usize]).fold(f64::NEG_INFINITY, f64::max);
        let psi: Vec<f64> = (0..references.distinct()).map(highest).collect();
        let mass = |place| members(place).len() as f64 / references.len() as f64;
        let masses = (0..references.distinct()).map(mass).collect();
        let same = 1.0 / queries.len() as f64;
        let by_position = queries.order.iter().map(|&i| weights.map_or(same, |w| w[i as usize])).collect();
        let rows = rows(queries, &psi);
        let transform = queries.c_transform(&rows)?;
        let best = Best { value: dual_value(&transform, weights, &rows), psi, transform };
        Ok(Self { queries, weights, by_position, masses, best, spent: 1.0, limit })
    }

    /// The exact value at a potential, which is kept if it is the best.
    pub(super) fn evaluate(&mut self, psi: &[f64]) -> Result<f64, KernelError> {
        let rows = rows(self.queries, psi);
        let transform = self.queries.c_transform(&rows)?;
        self.spent += 1.0;
        let value = dual_value(&transform, self.weights, &rows);
        if value > self.best.value {
            self.best = Best { psi: psi.to_vec(), value, transform };
        }
        Ok(value)
    }

    /// What is left to spend.
    pub(super) fn left(&self) -> f64 {
        (self.limit - self.spent).max(0.0)
    }

    /// The best potential for each reference row.
    pub(super) fn potential(&self) -> Vec<f64> {
        rows(self.queries, &self.best.psi)
    }
}

/// A potential of the places for each reference row.
fn rows(queries: &Queries, psi: &[f64]) -> Vec<f64> {
    let references = &queries.references;
    (0..references.len()).map(|j| psi[references.place(j) as usize]).collect()
}
