//! The c-transform of all queries, and its gradient in their rows.

use rayon::prelude::*;

use super::{
    potential::Potential,
    queries::{CHUNK, Queries},
    strategy::{OpenQuery, SearchPlan, Strategy},
};
use crate::{error::KernelError, simd::Isa};

/// The minimum over the references for each query, in the original order of the queries.
#[derive(Debug, Clone, PartialEq)]
pub struct CTransform {
    /// `min_j |x_i - y_j|^2 - psi_j`.
    pub values: Vec<f64>,
    /// The `j` that attains it (see the [module](super) for ties).
    pub winners: Vec<u32>,
}

impl CTransform {
    /// The mean of the values: the first term of the semi-dual.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The share of the queries that each of `count` references won; the shares add up to 1.
    ///
    /// # Panics
    /// If `count` is not above all winners.
    pub fn shares(&self, count: usize) -> Vec<f64> {
        let mut won = vec![0_u32; count];
        self.winners.iter().for_each(|&j| won[j as usize] += 1);
        won.iter().map(|&w| f64::from(w) / self.winners.len() as f64).collect()
    }
}

impl Queries {
    /// `min_j |x_i - y_j|^2 - psi_j` for all queries, on the threads of the current rayon pool.
    ///
    /// # Errors
    /// A potential of another length than the references, or with values that are not finite or beyond 1e35.
    pub fn c_transform(&mut self, psi: &[f64]) -> Result<CTransform, KernelError> {
        self.transform(psi, (Strategy::Adaptive, Isa::V4))
    }

    /// The gradient of `sum_i w_i value_i` (Danskin: the winners held fixed) with respect to the flat array behind the
    /// rows, in its layout: `sum_i w_i 2 (x_i - y_winner)` added up over all rows that a value occurs in, the mean
    /// removal of centred rows included. Without `weights`, `w_i = 1 / N`.
    ///
    /// # Errors
    /// A result or weights for another number of queries, a winner that is no reference row.
    pub fn gradient(&self, result: &CTransform, weights: Option<&[f64]>) -> Result<Vec<f64>, KernelError> {
        let count = self.len();
        let lengths = [result.winners.len(), weights.map_or(count, <[f64]>::len)];
        if let Some(other) = lengths.into_iter().find(|&length| length != count) {
            let expected = format!("{count}, one for each query");
            return Err(KernelError::new("number of winners or weights", expected, other));
        }
        if let Some(j) = result.winners.iter().find(|&&j| j as usize >= self.references.len()) {
            let expected = format!("an index below the {} reference rows", self.references.len());
            return Err(KernelError::new("winner", expected, j));
        }
        let (_, sum) = self.rows.fold(|queries, first, sum| {
            let (mut row, mut gradient) = (vec![0.0; self.rows.dim()], vec![0.0; self.rows.dim()]);
            for i in queries {
                let factor = 2.0 * weights.map_or(1.0 / count as f64, |weights| weights[i]);
                self.rows.read(i, &mut row);
                let winner = self.references.row(result.winners[i] as usize);
                for ((g, &x), &y) in gradient.iter_mut().zip(&row).zip(winner) {
                    *g = factor * (f64::from(x) - f64::from(y));
                }
                self.rows.add_adjoint(i, &gradient, first, sum);
            }
        });
        Ok(sum)
    }

    pub(crate) fn transform(&mut self, psi: &[f64], how: (Strategy, Isa)) -> Result<CTransform, KernelError> {
        let potential = Potential::of(self.index(), psi)?;
        let mut places = std::mem::take(&mut self.winners);
        let mut values = vec![0.0; self.len()];
        let plan = SearchPlan::new(self, &potential, &places, how);
        let known = self.candidates.as_ref().map(|candidates| candidates.under(&potential));
        let chunks = values.par_chunks_mut(CHUNK).zip(places.par_chunks_mut(CHUNK)).enumerate();
        chunks.for_each(|(c, (values, places))| {
            let mut open = Vec::with_capacity(values.len());
            for (k, (value, place)) in values.iter_mut().zip(&mut *places).enumerate() {
                let position = c * CHUNK + k;
                let certain = known.as_ref().is_some_and(|known| {
                    let (best, certain) = known.best(position);
                    (*value, *place) = (best.value, best.place);
                    certain
                });
                if !certain {
                    open.push(OpenQuery { position: position as u32, start: *place });
                }
            }
            for (open, best) in open.iter().zip(plan.run(&open, |_, best| best)) {
                let k = open.position as usize % CHUNK;
                (values[k], places[k]) = (best.value, best.place);
            }
        });
        let result = self.original_order(&potential, &values, &places);
        self.winners = places;
        Ok(result)
    }

    /// Values and places in the order of the searches as a result in that of the rows.
    pub(crate) fn original_order(&self, potential: &Potential, values: &[f64], places: &[u32]) -> CTransform {
        let mut result = CTransform { values: vec![0.0; self.len()], winners: vec![0; self.len()] };
        for ((&i, &value), &place) in self.order.iter().zip(values).zip(places) {
            result.values[i as usize] = value;
            result.winners[i as usize] = potential.row[place as usize];
        }
        result
    }
}
