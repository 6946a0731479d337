//! Data that pruning, rounding or ties find hard, and the search over all pairs in float64.

use std::{collections::HashSet, sync::Arc};

use super::super::{CTransform, Queries, References, bounds::squared_distance};
use crate::{error::KernelError, rows::Rows};

/// A small generator of uniform and normal numbers, so that data are the same everywhere.
pub(in crate::transport) struct Random(pub(in crate::transport) u64);

impl Random {
    pub(in crate::transport) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(in crate::transport) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    pub(in crate::transport) fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }
}

/// Kinds of rows that pruning, rounding or ties find hard in different ways.
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) enum Kind {
    /// Nothing to prune.
    Noise,
    /// Correlated as patches of images are, with an offset.
    Smooth,
    /// Far-apart clusters that float32 expansions cannot resolve inside.
    Clusters,
    /// Few distinct rows.
    Repeats,
    /// Small integers: many exact ties between different rows.
    Grid,
    /// All the same.
    Constant,
}

pub(in crate::transport) const KINDS: [Kind; 6] =
    [Kind::Noise, Kind::Smooth, Kind::Clusters, Kind::Repeats, Kind::Grid, Kind::Constant];

pub(in crate::transport) fn rows(kind: Kind, len: usize, dim: usize, random: &mut Random) -> Vec<f32> {
    // Both sides share what is drawn first.
    let mut shared = Random(7);
    let factors: Vec<f64> = (0..6 * dim).map(|_| shared.normal()).collect();
    let few: Vec<f64> = (0..40 * dim).map(|_| shared.normal()).collect();
    let mut data = Vec::with_capacity(len * dim);
    for _ in 0..len {
        match kind {
            Kind::Noise => data.extend((0..dim).map(|_| random.normal() as f32)),
            Kind::Smooth => {
                let loads: Vec<f64> = (0..6).map(|f| random.normal() * 0.5_f64.powi(f)).collect();
                data.extend((0..dim).map(|k| {
                    let smooth: f64 = loads.iter().enumerate().map(|(f, l)| l * factors[f * dim + k]).sum();
                    (0.5 + 0.1 * smooth + 0.01 * random.normal()) as f32
                }));
            }
            Kind::Clusters => {
                let c = random.below(40);
                data.extend((0..dim).map(|k| (100.0 * few[c * dim + k] + 1e-4 * random.normal()) as f32));
            }
            Kind::Repeats => {
                let c = random.below(5);
                data.extend((0..dim).map(|k| few[c * dim + k] as f32));
            }
            Kind::Grid => data.extend((0..dim).map(|_| random.below(3) as f32)),
            Kind::Constant => data.extend((0..dim).map(|_| 0.3_f32)),
        }
    }
    data
}

/// Kinds of potentials.
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) enum Psi {
    Zero,
    Small,
    Large,
    /// One value far below and one far above all others.
    Outliers,
    /// The transform of zero from the other side: spread out and fitted to the rows, as converged potentials are.
    Fitted,
}

pub(in crate::transport) const PSIS: [Psi; 5] =
    [Psi::Zero, Psi::Small, Psi::Large, Psi::Outliers, Psi::Fitted];

pub(in crate::transport) fn potential(kind: Psi, case: &Case, random: &mut Random) -> Vec<f64> {
    let m = case.y.len() / case.dim;
    match kind {
        Psi::Zero => vec![0.0; m],
        Psi::Small => (0..m).map(|_| 1e-3 * random.normal()).collect(),
        Psi::Large => (0..m).map(|_| 1e3 * random.normal()).collect(),
        Psi::Outliers => {
            let mut psi: Vec<f64> = (0..m).map(|_| 0.1 * random.normal()).collect();
            psi[random.below(m)] = -1e9;
            psi[random.below(m)] += 1e3;
            psi
        }
        Psi::Fitted => {
            let back = Case { x: case.y.clone(), y: case.x.clone(), dim: case.dim };
            let none = vec![0.0; case.x.len() / case.dim];
            back.oracle(&none).values
        }
    }
}

pub(in crate::transport) struct Case {
    pub(in crate::transport) x: Vec<f32>,
    pub(in crate::transport) y: Vec<f32>,
    pub(in crate::transport) dim: usize,
}

impl Case {
    pub(in crate::transport) fn new(kind: Kind, n: usize, m: usize, dim: usize, random: &mut Random) -> Self {
        Self { x: rows(kind, n, dim, random), y: rows(kind, m, dim, random), dim }
    }

    pub(in crate::transport) fn queries(&self) -> Result<Queries, KernelError> {
        let references = Arc::new(References::new(&Rows::dense(self.y.clone(), self.dim)?)?);
        Queries::new(&references, Rows::dense(self.x.clone(), self.dim)?)
    }

    /// All pairs, in the documented arithmetic and with the documented choice among ties.
    pub(in crate::transport) fn oracle(&self, psi: &[f64]) -> CTransform {
        let padded = |data: &[f32]| -> Vec<Vec<f32>> {
            let stride = self.dim.next_multiple_of(16);
            let pad = |row: &[f32]| {
                let mut row = row.to_vec();
                row.resize(stride, 0.0);
                row
            };
            data.chunks(self.dim).map(pad).collect()
        };
        let y = padded(&self.y);
        // Of equal rows, the one of largest psi takes part.
        let mut order: Vec<usize> = (0..y.len()).collect();
        order.sort_by(|&a, &b| psi[b].total_cmp(&psi[a]).then(a.cmp(&b)));
        let mut seen = HashSet::new();
        order.retain(|&j| seen.insert(y[j].iter().map(|v| (v + 0.0).to_bits()).collect::<Vec<_>>()));
        order.sort_unstable();
        let best = |x: &Vec<f32>| {
            let costs = order.iter().map(|&j| (squared_distance(x, &y[j]) - psi[j], j as u32));
            costs.fold((f64::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best })
        };
        let (values, winners) = padded(&self.x).iter().map(best).unzip();
        CTransform { values, winners }
    }
}
