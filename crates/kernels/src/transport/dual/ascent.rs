//! The way up: the best potential so far, and what the way has cost.

use super::solution::semi_dual_value;
use crate::{
    error::KernelError,
    transport::{CTransform, Queries},
};

/// A search for the maximum of the semi-dual. Potentials are by place of the index over the references.
pub(super) struct Ascent<'a> {
    pub(super) queries: &'a mut Queries,
    /// Of the queries, normalised; none: the same.
    weights: Option<&'a [f64]>,
    /// The same by position.
    pub(super) by_position: Vec<f64>,
    /// Of the places; of sum 1.
    pub(super) masses: Vec<f64>,
    pub(super) best: Incumbent,
    /// c-transforms, and what else took as long.
    pub(super) spent: f64,
    /// What may be spent.
    pub(super) limit: f64,
}

/// A potential and its exact c-transform.
pub(super) struct Incumbent {
    pub(super) psi: Vec<f64>,
    /// At most the semi-dual: `margin` below what the sums gave.
    pub(super) value: f64,
    /// What rounding of the sums can change.
    pub(super) margin: f64,
    pub(super) transform: CTransform,
}

impl<'a> Ascent<'a> {
    /// Starts at a potential of the reference rows, with one evaluation. Of equal rows the highest counts.
    pub(super) fn new(
        queries: &'a mut Queries,
        psi: &[f64],
        weights: Option<&'a [f64]>,
        limit: f64,
    ) -> Result<Self, KernelError> {
        let references = queries.index();
        let members = |place| references.members(place).iter();
        let highest = |place| members(place).map(|&j| psi[j as usize]).fold(f64::NEG_INFINITY, f64::max);
        let mut psi: Vec<f64> = (0..references.distinct()).map(highest).collect();
        let mass = |place| members(place).len() as f64 / references.len() as f64;
        let masses: Vec<f64> = (0..references.distinct()).map(mass).collect();
        centre(&mut psi, &masses);
        let same = 1.0 / queries.len() as f64;
        let by_position = queries.order.iter().map(|&i| weights.map_or(same, |w| w[i as usize])).collect();
        let rows = rows(queries, &psi);
        let transform = queries.c_transform(&rows)?;
        let (value, margin) = rounded_down(queries, &transform, weights, &rows);
        let best = Incumbent { psi, value, margin, transform };
        Ok(Self { queries, weights, by_position, masses, best, spent: 1.0, limit })
    }

    /// The exact value at a potential, which is kept if it is the best.
    pub(super) fn evaluate(&mut self, psi: &[f64]) -> Result<f64, KernelError> {
        let rows = rows(self.queries, psi);
        let transform = self.queries.c_transform(&rows)?;
        self.spent += 1.0;
        let (value, margin) = rounded_down(self.queries, &transform, self.weights, &rows);
        if value > self.best.value {
            self.best = Incumbent { psi: psi.to_vec(), value, margin, transform };
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

/// The semi-dual and what rounding can change of it: the first less the second is a lower bound.
fn rounded_down(
    queries: &Queries,
    transform: &CTransform,
    weights: Option<&[f64]>,
    psi: &[f64],
) -> (f64, f64) {
    let sizes =
        transform.values.iter().zip(&transform.winners).map(|(v, &j)| v.abs() + psi[j as usize].abs());
    let first = match weights {
        None => sizes.sum::<f64>() / transform.values.len() as f64,
        Some(weights) => sizes.zip(weights).map(|(size, w)| size * w).sum(),
    };
    let second = psi.iter().map(|psi| psi.abs()).sum::<f64>() / psi.len() as f64;
    // Each term of both sums, the sums, and the terms of a distance.
    let terms = transform.values.len() + psi.len() + queries.index().stride();
    let margin = terms as f64 * f64::EPSILON * (first + second);
    (semi_dual_value(transform, weights, psi) - margin, margin)
}

/// Takes the mean off a potential, which changes no value, where it hides the rest: rounding goes with the largest.
fn centre(psi: &mut [f64], masses: &[f64]) {
    let mean: f64 = psi.iter().zip(masses).map(|(psi, mass)| psi * mass).sum();
    let spread = psi.iter().map(|psi| (psi - mean).abs()).fold(0.0, f64::max);
    if mean.abs() > HIDING * spread {
        psi.iter_mut().for_each(|psi| *psi -= mean);
    }
}

/// How much larger than all differences from it a mean has to be.
const HIDING: f64 = 4.0;

/// A potential of the places for each reference row.
fn rows(queries: &Queries, psi: &[f64]) -> Vec<f64> {
    let references = queries.index();
    (0..references.len()).map(|j| psi[references.place(j) as usize]).collect()
}
