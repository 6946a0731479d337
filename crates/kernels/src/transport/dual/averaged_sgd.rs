//! The averaged supergradient method of the Wasserstein patch prior, for parity.

use super::solution::{Solution, semi_dual_value};
use crate::{
    error::KernelError,
    transport::{CTransform, Queries},
};

/// Iterates at the start that the average leaves out.
const LEFT_OUT: usize = 2;

/// Candidates of a query that are remembered from the first step, at most, and how much dearer than the best they can be, in
/// shares of the most that the steps raise a value by: the potential of a winner falls by more than that.
const CANDIDATES: usize = 4;
const SLACK: f64 = 3.0;

/// `steps` steps from `psi`, which becomes the average of the late iterates. What the queries remember stays as it is.
pub(super) fn solve(
    psi: &mut Vec<f64>,
    queries: &mut Queries,
    weights: Option<&[f64]>,
    steps: usize,
    step: f64,
) -> Result<Solution, KernelError> {
    let kept = queries.candidates.take();
    let solution = ascend(psi, queries, weights, steps, step);
    queries.candidates = kept;
    solution
}

fn ascend(
    psi: &mut Vec<f64>,
    queries: &mut Queries,
    weights: Option<&[f64]>,
    steps: usize,
    step: f64,
) -> Result<Solution, KernelError> {
    let count = psi.len();
    let mut iterate = psi.clone();
    let mut average = psi.clone();
    // No step raises a value by more than this.
    let rise = step / count as f64;
    for t in 0..steps {
        let transform = match t {
            0 => queries.cache_candidates(&iterate, SLACK * rise * steps as f64, CANDIDATES)?,
            _ => queries.c_transform(&iterate)?,
        };
        let shares = shares(&transform, weights, count);
        for (psi, share) in iterate.iter_mut().zip(shares) {
            *psi += step * (1.0 / count as f64 - share);
        }
        let part = 1.0 / (t + 1).saturating_sub(LEFT_OUT).max(1) as f64;
        average.iter_mut().zip(&iterate).for_each(|(a, psi)| *a += part * (psi - *a));
    }
    let transform = queries.c_transform(&average)?;
    let value = semi_dual_value(&transform, weights, &average);
    *psi = average;
    Ok(Solution { value, upper: None, transform, evaluations: steps + 1, converged: false })
}

/// The weight of the queries that each reference won.
fn shares(transform: &CTransform, weights: Option<&[f64]>, count: usize) -> Vec<f64> {
    let Some(weights) = weights else { return transform.shares(count) };
    let mut shares = vec![0.0; count];
    transform.winners.iter().zip(weights).for_each(|(&j, w)| shares[j as usize] += w);
    shares
}
