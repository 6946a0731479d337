//! Ascent on the semi-dual smoothed by entropy, over short lists.
//!
//! With a temperature `eps` the minimum over the references becomes
//!
//! `-eps log sum_j exp((psi_j - |x_i - y_j|^2) / eps)`,
//!
//! and the semi-dual a smooth concave function, whose maximiser approaches one of the exact semi-dual as `eps` falls
//! (Genevay, Cuturi, Peyré and Bach, "Stochastic optimization for large-scale optimal transport", 2016). Sums run over
//! the list of each query only: this seeks a good potential, and what it is worth an exact c-transform tells.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::shortlists::Shortlists;
use crate::{
    elementary,
    simd::{Isa, Kernel, Lanes, dispatch},
};

/// Parts that are summed up separately: a fixed number, so that threads change no bit.
const PARTS: usize = 16;

/// Shares below this are none.
const NEGLIGIBLE: f32 = 1e-7;

/// Steps that curvature is taken from.
const MEMORY: usize = 8;

/// The longest step in any potential, in temperatures.
const LONGEST: f64 = 10.0;

/// Halvings of a step before the ascent gives up.
const HALVINGS: usize = 6;

/// The smoothed problem.
pub(super) struct EntropicSemiDual<'a> {
    pub(super) lists: &'a Shortlists,
    /// The weight of each query, by position; they add up to 1.
    pub(super) weights: &'a [f64],
    /// The mass of each place; they add up to 1.
    pub(super) masses: &'a [f64],
    pub(super) eps: f64,
}

/// Value and gradient in the potential.
struct Evaluation {
    value: f64,
    /// `mass - what arrives`, for each place.
    gradient: Vec<f64>,
}

impl Evaluation {
    /// The share of the mass that arrives at a wrong place, twice.
    fn error(&self) -> f64 {
        self.gradient.iter().map(|g| g.abs()).sum()
    }
}

impl EntropicSemiDual<'_> {
    /// Improves `psi` by steps of limited-memory BFGS (Nocedal and Wright, "Numerical optimization", algorithm 7.5), until the
    /// marginal error `sum |mass - what arrives|` is at most `error` or `most` evaluations are spent. How many were.
    pub(super) fn ascend(&self, psi: &mut [f64], error: f64, most: usize) -> usize {
        let mut here = self.at(psi);
        let mut spent = 1;
        let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::with_capacity(MEMORY);
        while spent < most && here.error() > error {
            let mut step = self.direction(&here.gradient, &memory);
            if dot(&step, &here.gradient) <= 0.0 {
                memory.clear();
                step = self.direction(&here.gradient, &memory);
            }
            let longest = step.iter().fold(0.0_f64, |most, s| most.max(s.abs()));
            let mut length = (LONGEST * self.eps / longest).min(1.0);
            let rise = dot(&step, &here.gradient);
            let mut halvings = 0;
            let (next, there) = loop {
                let next: Vec<f64> = psi.iter().zip(&step).map(|(psi, s)| psi + length * s).collect();
                let there = self.at(&next);
                spent += 1;
                if there.value >= here.value + 1e-4 * length * rise {
                    break (next, there);
                }
                halvings += 1;
                if halvings > HALVINGS || spent >= most {
                    return spent;
                }
                length /= 2.0;
            };
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            let moved: Vec<f64> = step.iter().map(|s| length * s).collect();
            let change: Vec<f64> = here.gradient.iter().zip(&there.gradient).map(|(a, b)| a - b).collect();
            if dot(&moved, &change) > 0.0 {
                memory.push_back((moved, change));
            }
            psi.copy_from_slice(&next);
            here = there;
        }
        spent
    }

    /// The inverse of the curvature seen times the gradient.
    fn direction(&self, gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
        // To first order the step of Sinkhorn's algorithm, eps log(mass / what arrives).
        let scaled = |v: &mut [f64], factor: f64| {
            v.iter_mut().zip(self.masses).for_each(|(v, mass)| *v *= factor * self.eps / mass);
        };
        let mut q = gradient.to_vec();
        let mut alphas = Vec::with_capacity(memory.len());
        for (moved, change) in memory.iter().rev() {
            let alpha = dot(moved, &q) / dot(moved, change);
            q.iter_mut().zip(change).for_each(|(q, c)| *q -= alpha * c);
            alphas.push(alpha);
        }
        let factor = memory.back().map_or(1.0, |(moved, change)| {
            let mut curved = change.clone();
            scaled(&mut curved, 1.0);
            dot(moved, change) / dot(change, &curved)
        });
        scaled(&mut q, factor);
        for ((moved, change), alpha) in memory.iter().zip(alphas.iter().rev()) {
            let beta = dot(change, &q) / dot(moved, change);
            q.iter_mut().zip(moved).for_each(|(q, m)| *q += (alpha - beta) * m);
        }
        q
    }

    fn at(&self, psi: &[f64]) -> Evaluation {
        let rough: Vec<f32> = psi.iter().map(|&psi| psi as f32).collect();
        let size = self.weights.len().div_ceil(PARTS).max(1);
        let parts: Vec<(f64, Vec<f64>)> = self
            .weights
            .par_chunks(size)
            .enumerate()
            .map(|(part, weights)| {
                let first = part * size;
                dispatch(Isa::V4, Part { smooth: self, psi: &rough, first, weights })
            })
            .collect();
        let mut value = dot(self.masses, psi);
        let mut gradient = self.masses.to_vec();
        for (sum, arrived) in parts {
            value += sum;
            gradient.iter_mut().zip(arrived).for_each(|(g, a)| *g -= a);
        }
        Evaluation { value, gradient }
    }
}

/// The sum over some queries, and what they send to each place.
struct Part<'a> {
    smooth: &'a EntropicSemiDual<'a>,
    psi: &'a [f32],
    first: usize,
    weights: &'a [f64],
}

impl Kernel for Part<'_> {
    type Output = (f64, Vec<f64>);

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        lanes.run(
            #[inline(always)]
            || {
                let mut arrived = vec![0.0; self.psi.len()];
                let eps = self.smooth.eps as f32;
                let mut sum = 0.0;
                let (mut costs, mut shares) = (Vec::new(), Vec::new());
                for (k, &weight) in self.weights.iter().enumerate() {
                    let offers = self.smooth.lists.of(self.first + k);
                    costs.clear();
                    for offer in offers {
                        costs.push(offer.cost - self.psi[offer.place as usize]);
                    }
                    shares.resize(costs.len(), 0.0);
                    sum += weight * soft_minimum(&costs, eps, &mut shares);
                    for (offer, &share) in offers.iter().zip(&shares) {
                        if share > NEGLIGIBLE {
                            arrived[offer.place as usize] += weight * f64::from(share);
                        }
                    }
                }
                (sum, arrived)
            },
        )
    }
}

/// The smoothed minimum of some costs, and the share of each.
#[inline(always)]
fn soft_minimum(costs: &[f32], eps: f32, shares: &mut [f32]) -> f64 {
    let mut least = f32::INFINITY;
    for &cost in costs {
        least = least.min(cost);
    }
    let mut total = 0.0;
    for (share, &cost) in shares.iter_mut().zip(costs) {
        *share = elementary::exp((least - cost) / eps);
    }
    for &share in &*shares {
        total += share;
    }
    for share in &mut *shares {
        *share /= total;
    }
    f64::from(least) - f64::from(eps) * f64::from(total).ln()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
