//! Sixteen neighbouring queries, one in each lane, and what they look for.

use super::{
    bounds::Limits,
    pca::{BOX_AXES, COORDINATES},
    search::{Query, Sink},
};
use crate::simd::{Aligned, LANES};

/// Sixteen queries, or fewer: the last one then fills the lanes that are left, which look for nothing.
pub(crate) struct Packet<'a, 'q> {
    pub(super) queries: &'q [Query<'a>],
    pub(super) z: [Aligned; BOX_AXES],
    /// `-2 z`, coordinate by coordinate.
    pub(super) twice: [Aligned; COORDINATES],
    /// The box around the points.
    pub(super) low: [f32; COORDINATES],
    pub(super) high: [f32; COORDINATES],
}

/// The limits of sixteen queries.
pub(super) struct PacketLimits {
    pub(super) boxes: Aligned,
    pub(super) points: Aligned,
    /// The largest of `boxes`.
    pub(super) most: f32,
}

impl<'a, 'q> Packet<'a, 'q> {
    /// At least one query and at most sixteen.
    #[inline(always)]
    pub(crate) fn new(queries: &'q [Query<'a>]) -> Self {
        let mut this = Self {
            queries,
            z: [Aligned([0.0; LANES]); BOX_AXES],
            twice: [Aligned([0.0; LANES]); COORDINATES],
            low: [f32::INFINITY; COORDINATES],
            high: [f32::NEG_INFINITY; COORDINATES],
        };
        for l in 0..LANES {
            let point = queries[l.min(queries.len() - 1)].point;
            for (k, &z) in point.z.iter().enumerate() {
                this.twice[k].0[l] = -2.0 * z;
                this.low[k] = this.low[k].min(z);
                this.high[k] = this.high[k].max(z);
            }
            for (to, &z) in this.z.iter_mut().zip(&point.z) {
                to.0[l] = z;
            }
        }
        this
    }
}

impl PacketLimits {
    /// Lanes without a query have limits that no bound is below: bounds are finite, as [`Rows`](crate::rows::Rows) are.
    #[inline(always)]
    pub(super) fn new<S: Sink>(queries: &[Query<'_>], sinks: &[S]) -> Self {
        let nothing = Aligned([f32::NEG_INFINITY; LANES]);
        let mut this = Self { boxes: nothing, points: nothing, most: f32::NEG_INFINITY };
        for (l, (query, sink)) in queries.iter().zip(sinks).enumerate() {
            this.set(l, query.margin.limits(sink.cutoff()));
        }
        this.largest();
        this
    }

    #[inline(always)]
    pub(super) fn of(&self, l: usize) -> Limits {
        Limits { boxes: self.boxes.0[l], points: self.points.0[l] }
    }

    /// New limits of one query; `most` stays.
    #[inline(always)]
    pub(super) fn set(&mut self, l: usize, limits: Limits) {
        self.boxes.0[l] = limits.boxes;
        self.points.0[l] = limits.points;
    }

    #[inline(always)]
    pub(super) fn largest(&mut self) {
        self.most = self.boxes.0.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    }
}
