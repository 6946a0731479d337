//! How the queries of one call are searched: by bounds or over all pairs, whichever is cheaper here.

use std::sync::OnceLock;

use super::{
    dense,
    queries::{Queries, UNKNOWN},
    references::{Potential, References},
    search::{Best, Query, Search, Sink, Work},
};
use crate::lanes::{Group, Isa, Kernel, LANES, Lanes, dispatch};

/// Runs of queries, and queries in each, that show whether pruning pays.
const PROBES: (usize, usize) = (6, 8);

/// How pairs are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Whichever looks cheaper on a few queries.
    Adaptive,
    /// By bounds.
    Pruned,
    /// All pairs.
    Dense,
}

/// A query to search, by its position in the order of the searches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) position: u32,
    /// A place that may be good, or [`UNKNOWN`].
    pub(crate) start: u32,
}

/// The search for one potential.
pub(crate) struct Plan<'a> {
    queries: &'a Queries,
    potential: &'a Potential,
    strategy: Strategy,
    isa: Isa,
    probes: Vec<Vec<Open>>,
    /// Where all pairs are looked at: what [`dense`] needs of the potential. Decided when the first query is searched.
    dense: OnceLock<Option<Vec<Group>>>,
}

impl<'a> Plan<'a> {
    /// `starts` are places to start from, in the order of the searches.
    pub(crate) fn new(
        queries: &'a Queries,
        potential: &'a Potential,
        starts: &[u32],
        (strategy, isa): (Strategy, Isa),
    ) -> Self {
        let runs = PROBES.0.min(starts.len());
        let probe = |first: usize| {
            let run = starts.iter().enumerate().skip(first).take(PROBES.1);
            run.map(|(position, &start)| Open { position: position as u32, start }).collect()
        };
        let probes = (0..runs).map(|r| probe(r * starts.len() / runs)).collect();
        Self { queries, potential, strategy, isa, probes, dense: OnceLock::new() }
    }

    /// Searches some queries (best neighbours, one after the other): each starts with a known place, from which `sink`
    /// makes what the search then fills.
    pub(crate) fn run<S: Sink>(&self, open: &[Open], sink: impl Fn(&Open, Best<'a>) -> S) -> Vec<S> {
        if open.is_empty() {
            return Vec::new();
        }
        let offsets = self.dense.get_or_init(|| {
            self.looks_at_all()
                .then(|| self.queries.references.panels().offsets(&self.queries.references, self.potential))
        });
        self.dispatch(open, offsets.as_deref(), sink).0
    }

    /// How queries were searched, once some were.
    pub(crate) fn decided(&self) -> Strategy {
        match self.dense.get() {
            None => self.strategy,
            Some(None) => Strategy::Pruned,
            Some(Some(_)) => Strategy::Dense,
        }
    }

    fn dispatch<S: Sink>(
        &self,
        open: &[Open],
        offsets: Option<&[Group]>,
        sink: impl Fn(&Open, Best<'a>) -> S,
    ) -> (Vec<S>, Work) {
        let (queries, potential) = (self.queries, self.potential);
        dispatch(self.isa, Task { queries, potential, open, offsets, sink })
    }

    /// Whether looking at all pairs is cheaper. Searches a few queries by bounds to find out.
    fn looks_at_all(&self) -> bool {
        match self.strategy {
            Strategy::Pruned => return false,
            Strategy::Dense => return true,
            Strategy::Adaptive => {}
        }
        let references = &self.queries.references;
        // Cycles, about: what matters is a factor of two, and data are mostly on one side by ten.
        let row = 20.0 + references.stride() as f64 / 4.0;
        let all = (references.boxes.len() * LANES * references.dim()) as f64 * 0.6;
        let (mut pruned, mut dense) = (0.0, 0.0);
        for probe in &self.probes {
            let work = self.dispatch(probe, None, |_, best| best).1;
            pruned += 10.0 * work.groups as f64 + row * work.rows as f64;
            dense += all * probe.len() as f64;
        }
        pruned > dense
    }
}

/// The search of some queries, compiled for each kind of processor.
struct Task<'a, 't, F> {
    queries: &'a Queries,
    potential: &'a Potential,
    open: &'t [Open],
    offsets: Option<&'t [Group]>,
    sink: F,
}

impl<'a, S: Sink, F: Fn(&Open, Best<'a>) -> S> Kernel for Task<'a, '_, F> {
    type Output = (Vec<S>, Work);

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        lanes.run(
            #[inline(always)]
            || self.search(lanes),
        )
    }
}

impl<'a, S: Sink, F: Fn(&Open, Best<'a>) -> S> Task<'a, '_, F> {
    // Loops, not closures handed to iterators: those would be compiled for any processor.
    #[inline(always)]
    fn search<L: Lanes>(self, lanes: L) -> (Vec<S>, Work) {
        let references: &References = &self.queries.references;
        let search = Search { lanes, references, potential: self.potential };
        let stride = references.stride();
        let mut rows = vec![0.0; self.open.len() * stride];
        for (row, open) in rows.chunks_exact_mut(stride).zip(self.open) {
            self.queries.rows.read(self.queries.order[open.position as usize] as usize, row);
        }
        let mut queries = Vec::with_capacity(self.open.len());
        let mut sinks = Vec::with_capacity(self.open.len());
        let mut last = UNKNOWN;
        for (row, open) in rows.chunks_exact(stride).zip(self.open) {
            let point = &self.queries.points[open.position as usize];
            let square = point.z.iter().map(|&z| f64::from(z) * f64::from(z)).sum();
            let margin = references.margins.of(point.length, square, self.potential.top);
            let query = Query { point, row, margin };
            let best = start(&search, query, open.start, last);
            last = best.place;
            let mut sink = (self.sink)(open, best);
            look_ahead(&search, query, best.place as usize / LANES, &mut sink);
            queries.push(query);
            sinks.push(sink);
        }
        let work = match self.offsets {
            None => search.run_all(&queries, &mut sinks),
            Some(offsets) => {
                dense::nearest(&search, offsets, &queries, &mut sinks);
                Work::default()
            }
        };
        (sinks, work)
    }
}

/// The best of what is known before the search: the query's last winner, its neighbour's start, and without a last winner
/// its own leaf.
#[inline(always)]
fn start<'a, L: Lanes>(search: &Search<'a, L>, query: Query<'_>, place: u32, neighbour: u32) -> Best<'a> {
    let home = search.references.tree().leaf(&query.point.z);
    let known = if place == UNKNOWN { (home * LANES) as u32 } else { place };
    let mut best = Best::new(search.exact(query.row, known), search.potential);
    if neighbour != UNKNOWN && neighbour != known {
        best.offer(search.exact(query.row, neighbour));
    }
    if place == UNKNOWN {
        let mut limits = query.margin.limits(best.value);
        search.leaf(query, home, search.references.filled(home), &mut best, &mut limits);
    }
    best
}

/// Gives a sink a first cutoff from the leaves around one that is likely to be good.
#[inline(always)]
fn look_ahead<L: Lanes, S: Sink>(search: &Search<'_, L>, query: Query<'_>, leaf: usize, sink: &mut S) {
    let count = sink.ahead().min(search.references.leaves.len());
    let first = leaf.saturating_sub(count / 2).min(search.references.leaves.len() - count);
    let mut limits = query.margin.limits(sink.cutoff());
    for leaf in first..first + count {
        search.leaf(query, leaf, search.references.filled(leaf), sink, &mut limits);
    }
    if count > 0 {
        sink.restart();
    }
}
