//! The search that looks at every pair, tile by tile, for data that no bound on boxes can prune (noise): a register-blocked
//! product of queries and references whose results are compared in registers and never stored.

use super::{
    bounds::{Limits, Margin},
    search::{Query, Search, Sink},
};
use crate::simd::{Group, Lanes};

/// `X` queries side by side.
pub(super) struct Tile<V, const X: usize> {
    pub(super) values: V,
    pub(super) margins: [Margin; X],
}

/// Bounds on the costs of `X` queries and the rows of `Y` panels.
pub(super) trait Bound<const X: usize, const Y: usize> {
    /// The values of `X` queries.
    type Values;

    /// Of at least one and at most `X` queries; the last one fills up the tile.
    fn tile<L: Lanes>(&self, search: &Search<'_, L>, queries: &[Query<'_>]) -> Tile<Self::Values, X>;

    /// Which of the rows come within the limits, and whether any does.
    fn close<L: Lanes>(
        &self,
        lanes: L,
        values: &Self::Values,
        panels: [usize; Y],
        offsets: [&Group; Y],
        limits: &[Limits; X],
        close: &mut [[u16; Y]; X],
    ) -> bool;
}

/// Offers the sink of each query every place whose cost is at most its cutoff, and counts the pairs that bounds did not
/// exclude. Once these are more than `enough` it stops, and what it found may not be the cheapest.
#[inline(always)]
pub(super) fn search_tiles<L: Lanes, S: Sink, B: Bound<X, Y>, const X: usize, const Y: usize>(
    search: &Search<'_, L>,
    bound: &B,
    offsets: &[Group],
    queries: &[Query<'_>],
    sinks: &mut [S],
    enough: f64,
) -> usize {
    let mut count = 0;
    for (queries, sinks) in queries.chunks(X).zip(sinks.chunks_mut(X)) {
        let tile = bound.tile(search, queries);
        let mut limits = [Limits::default(); X];
        for (x, (limits, margin)) in limits.iter_mut().zip(&tile.margins).enumerate() {
            *limits = margin.limits(sinks[x.min(sinks.len() - 1)].cutoff());
        }
        let mut close = [[0; Y]; X];
        for first in (0..offsets.len()).step_by(Y) {
            // Where there is one less, the last one counts twice.
            let there = (offsets.len() - first).min(Y);
            let panels = std::array::from_fn(|y| first + y.min(there - 1));
            let offsets = panels.map(|panel| &offsets[panel]);
            if !bound.close(search.lanes, &tile.values, panels, offsets, &limits, &mut close) {
                continue;
            }
            for (x, query) in queries.iter().enumerate() {
                for (&panel, &close) in panels.iter().zip(&close[x]).take(there) {
                    if close != 0 {
                        let query = Query { margin: tile.margins[x], ..*query };
                        search.leaf(query, panel, close, &mut sinks[x], &mut limits[x]);
                        count += close.count_ones() as usize;
                    }
                }
            }
            if count as f64 > enough {
                return count;
            }
        }
    }
    count
}
