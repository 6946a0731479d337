//! The gradient of the semi-dual in the query rows, folded back to the array that they were read from.

use super::{CTransform, Queries};
use crate::error::KernelError;

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
}
