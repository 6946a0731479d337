//! How the queries of one call are searched: by bounds or over all pairs, whichever is cheaper here.

use std::sync::OnceLock;

use super::{
    dense, first,
    pairs::Lists,
    queries::{Queries, UNKNOWN},
    references::{Aligned, Potential, References},
    search::{Best, Query, Search, Sink},
    sixteen::{Sixteen, Work},
};
use crate::lanes::{Group, Isa, Kernel, LANES, Lanes, dispatch};

/// Runs of queries, and queries in each, that show whether pruning pays.
const PROBES: (usize, usize) = (3, LANES);

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
        let row = 40.0 + references.stride() as f64 / 4.0;
        let all = (references.leaves.boxes.len() * LANES * references.dim()) as f64 * 0.6;
        let (mut pruned, mut dense) = (0.0, 0.0);
        for probe in &self.probes {
            let work = self.dispatch(probe, None, |_, best| best).1;
            pruned += 10.0 * work.boxes as f64 + 6.0 * work.points as f64 + row * work.rows as f64;
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
        let references: &'a References = &self.queries.references;
        let search = Search::new(lanes, references, self.potential);
        let (stride, dim, count) = (references.stride(), references.dim(), self.open.len());
        let mut rows = vec![0.0; count * stride];
        let mut queries = Vec::with_capacity(count);
        for (row, open) in rows.chunks_exact_mut(stride).zip(self.open) {
            let position = open.position as usize;
            self.queries.rows.read(self.queries.order[position] as usize, row);
            let point = &self.queries.points[position];
            let square = point.z.iter().map(|&z| f64::from(z) * f64::from(z)).sum();
            let margin = references.margins.of(point.length, square, self.potential.top);
            queries.push(Query { point, row: &*row, margin });
        }
        let mut turned = vec![Aligned([0.0; LANES]); dim];
        let (mut sinks, mut work) = (Vec::with_capacity(count), Work::default());
        let (mut places, mut lists) = (Vec::new(), Lists::new());
        let mut before = 0;
        for (queries, open) in queries.chunks(LANES).zip(self.open.chunks(LANES)) {
            let mut starts = [0; LANES];
            starts.iter_mut().zip(open).for_each(|(start, open)| *start = open.start);
            let first = sinks.len();
            if starts.contains(&UNKNOWN) {
                first::around(references, queries, &sinks[before..], &mut places);
                first::turned(queries, &mut turned);
                starts = search.best_of(&turned, &places);
            }
            before = first;
            for ((open, query), &start) in open.iter().zip(queries).zip(&starts) {
                let best = Best::new(search.exact(query.row, start), self.potential);
                let mut sink = (self.sink)(open, best);
                look_ahead(&search, *query, start as usize / LANES, &mut sink);
                sinks.push(sink);
            }
            if self.offsets.is_none() {
                work += search.sixteen(&Sixteen::new(queries), &mut sinks[first..], &mut lists);
            }
        }
        if let Some(offsets) = self.offsets {
            dense::nearest(&search, offsets, &queries, &mut sinks);
        }
        (sinks, work)
    }
}

/// Gives a sink a first cutoff from the leaves around one that is likely to be good.
#[inline(always)]
fn look_ahead<L: Lanes, S: Sink>(search: &Search<'_, L>, query: Query<'_>, leaf: usize, sink: &mut S) {
    let count = sink.ahead().min(search.references.leaves.all.len());
    let first = leaf.saturating_sub(count / 2).min(search.references.leaves.all.len() - count);
    let mut limits = query.margin.limits(sink.cutoff());
    for leaf in first..first + count {
        search.leaf(query, leaf, search.references.filled(leaf), sink, &mut limits);
    }
    if count > 0 {
        sink.restart();
    }
}
