//! The gradient of the semi-dual in the query rows, folded back to the array that they were read from.

use rayon::prelude::*;

use super::{CTransform, Queries};
use crate::error::KernelError;

/// Parts that are summed up separately: a fixed number, so that threads change no bit.
pub(super) const PARTS: usize = 16;

/// A sum over some places of an array.
pub(super) struct Part {
    pub(super) first: usize,
    pub(super) sum: Vec<f64>,
}

/// The sum of all parts, in their order, over an array of `len` values.
pub(super) fn total(parts: &[Part], len: usize) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    let size = len.div_ceil(PARTS).max(1);
    sum.par_chunks_mut(size).enumerate().for_each(|(c, sum)| {
        let here = c * size..c * size + sum.len();
        for part in parts {
            let (first, last) = (part.first.max(here.start), (part.first + part.sum.len()).min(here.end));
            if first < last {
                let values = &part.sum[first - part.first..last - part.first];
                sum[first - here.start..last - here.start].iter_mut().zip(values).for_each(|(s, v)| *s += v);
            }
        }
    });
    sum
}

impl Queries {
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
        let size = count.div_ceil(PARTS);
        let parts: Vec<Part> = (0..count.div_ceil(size))
            .into_par_iter()
            .map(|part| self.part(part * size..count.min((part + 1) * size), result, weights))
            .collect();
        Ok(total(&parts, self.rows.data().len()))
    }

    /// The sum over some queries.
    fn part(&self, queries: std::ops::Range<usize>, result: &CTransform, weights: Option<&[f64]>) -> Part {
        let places = self.rows.places(queries.clone());
        let mut part = Part { first: places.start, sum: vec![0.0; places.len()] };
        let (mut row, mut gradient) = (vec![0.0; self.rows.dim()], vec![0.0; self.rows.dim()]);
        for i in queries {
            let factor = 2.0 * weights.map_or(1.0 / self.len() as f64, |weights| weights[i]);
            self.rows.read(i, &mut row);
            let winner = self.references.row(result.winners[i] as usize);
            for ((g, &x), &y) in gradient.iter_mut().zip(&row).zip(winner) {
                *g = factor * (f64::from(x) - f64::from(y));
            }
            self.rows.add_adjoint(i, &gradient, places.start, &mut part.sum);
        }
        part
    }
}
