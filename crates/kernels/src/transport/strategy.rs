//! How the queries of one call are searched: by bounds or over all pairs, whichever is cheaper here.

use std::sync::OnceLock;

use super::{
    brute_force::{BruteForce, Products},
    initial_guess, int8_bounds,
    packet::Packet,
    packet_search::Work,
    potential::Potential,
    queries::{Queries, UNKNOWN},
    search::{Best, Query, Search, Sink},
    worklist::Worklist,
};
use crate::simd::{Aligned, Isa, Kernel, LANES, Lanes, dispatch};

/// Runs of queries, and queries in each, that show whether pruning pays.
const PROBES: (usize, usize) = (3, LANES);

/// How many queries before it is read a row is asked for.
const AHEAD: usize = 16;

/// How pairs are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Whichever looks cheaper on a few queries.
    Adaptive,
    /// By bounds.
    Pruned,
    /// All pairs.
    Dense(Products),
}

/// A query to search, by its position in the order of the searches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenQuery {
    pub(crate) position: u32,
    /// A place that may be good, or [`UNKNOWN`].
    pub(crate) start: u32,
}

/// The search for one potential.
pub(crate) struct SearchPlan<'a> {
    queries: &'a Queries,
    potential: &'a Potential,
    strategy: Strategy,
    isa: Isa,
    probes: Vec<Vec<OpenQuery>>,
    /// What a search of all pairs needs, where that is done. Decided when the first query is searched.
    all: OnceLock<Option<BruteForce<'a>>>,
}

impl<'a> SearchPlan<'a> {
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
            run.map(|(position, &start)| OpenQuery { position: position as u32, start }).collect()
        };
        let probes = (0..runs).map(|r| probe(r * starts.len() / runs)).collect();
        Self { queries, potential, strategy, isa, probes, all: OnceLock::new() }
    }

    /// Searches some queries (best neighbours, one after the other): each starts with a known place, from which `sink`
    /// makes what the search then fills.
    pub(crate) fn run<S: Sink>(
        &self,
        open: &[OpenQuery],
        sink: impl Fn(&OpenQuery, Best<'a>) -> S,
    ) -> Vec<S> {
        if open.is_empty() {
            return Vec::new();
        }
        let all = self.all.get_or_init(|| match self.strategy {
            Strategy::Adaptive => self.cheapest(),
            Strategy::Pruned => None,
            Strategy::Dense(products) => Some(self.all_pairs(products)),
        });
        self.dispatch(open, all.as_ref(), f64::INFINITY, &sink).0
    }

    /// How queries were searched, once some were.
    pub(crate) fn decided(&self) -> Strategy {
        match self.all.get() {
            None => self.strategy,
            Some(None) => Strategy::Pruned,
            Some(Some(all)) => Strategy::Dense(all.products),
        }
    }

    fn all_pairs(&self, products: Products) -> BruteForce<'a> {
        BruteForce::new(&self.queries.references, self.potential, products)
    }

    fn dispatch<S: Sink>(
        &self,
        open: &[OpenQuery],
        all: Option<&BruteForce<'a>>,
        enough: f64,
        sink: &dyn Fn(&OpenQuery, Best<'a>) -> S,
    ) -> (Vec<S>, Work) {
        let (queries, potential) = (self.queries, self.potential);
        dispatch(self.isa, Task { queries, potential, open, all, enough, sink })
    }

    /// What looks cheapest on a few queries: by bounds, or over all pairs.
    fn cheapest(&self) -> Option<BruteForce<'a>> {
        let index = self.queries.index();
        let count = self.probes.iter().map(Vec::len).sum::<usize>() as f64;
        // Cycles, about: what matters is a factor of two, and data are mostly on one side by ten.
        let all = count * index.distinct().div_ceil(LANES) as f64;
        let floats = all * 0.6 * index.dim() as f64;
        let bytes = all * (2.5 + 0.15 * index.dim() as f64);
        let probed = |all: Option<&BruteForce<'a>>| {
            let mut cycles = 0.0;
            for probe in &self.probes {
                let work = self.dispatch(probe, all, 2.0 * floats, &|_, best| best).1;
                cycles += work.cycles(index.stride());
                if cycles > 2.0 * floats {
                    break;
                }
            }
            cycles
        };
        let pruned = probed(None);
        let least = pruned.min(floats);
        let bytes = if int8_bounds::quick(index.dim()) { bytes } else { f64::INFINITY };
        if pruned <= floats.min(bytes) {
            return None;
        }
        let all = self.all_pairs(Products::Bytes);
        if bytes < least && bytes + probed(Some(&all)) < least {
            return Some(all);
        }
        (pruned > floats).then(|| all.by(Products::Floats))
    }
}

/// The search of some queries, compiled for each kind of processor and of sink.
struct Task<'a, 't, S> {
    queries: &'a Queries,
    potential: &'a Potential,
    open: &'t [OpenQuery],
    all: Option<&'t BruteForce<'a>>,
    /// Cycles, about, after which a search stops.
    enough: f64,
    sink: &'t dyn Fn(&OpenQuery, Best<'a>) -> S,
}

impl<S: Sink> Kernel for Task<'_, '_, S> {
    type Output = (Vec<S>, Work);

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        lanes.run(
            #[inline(always)]
            || self.search(lanes),
        )
    }
}

impl<'a, S: Sink> Task<'a, '_, S> {
    // Loops, not closures handed to iterators: those would be compiled for any processor.
    #[inline(always)]
    fn search<L: Lanes>(self, lanes: L) -> (Vec<S>, Work) {
        let index = self.queries.index();
        let search = Search::new(lanes, index, self.potential);
        let (stride, dim, count) = (index.stride(), index.dim(), self.open.len());
        let mut rows = vec![0.0; count * stride];
        let mut queries = Vec::with_capacity(count);
        for (k, (row, open)) in rows.chunks_exact_mut(stride).zip(self.open).enumerate() {
            let position = open.position as usize;
            let ahead = self.open.get(k + AHEAD).map(|open| self.queries.order[open.position as usize]);
            self.queries.rows.prefetch(ahead);
            self.queries.rows.read(self.queries.order[position] as usize, row);
            let point = &self.queries.points[position];
            let square = point.z.iter().map(|&z| f64::from(z) * f64::from(z)).sum();
            let margin = index.margins.of(point.length, square, self.potential.top);
            queries.push(Query { point, row: &*row, margin });
        }
        let mut transposed = vec![Aligned([0.0; LANES]); dim];
        let (mut sinks, mut work) = (Vec::with_capacity(count), Work::default());
        let (mut places, mut worklist) = (Vec::new(), Worklist::new());
        let mut before = 0;
        for (queries, open) in queries.chunks(LANES).zip(self.open.chunks(LANES)) {
            let mut starts = [0; LANES];
            starts.iter_mut().zip(open).for_each(|(start, open)| *start = open.start);
            let first = sinks.len();
            if starts.contains(&UNKNOWN) {
                initial_guess::likely_places(index, queries, &sinks[before..], &mut places);
                initial_guess::transpose(queries, &mut transposed);
                starts = search.best_of(&transposed, &places);
            }
            before = first;
            for ((open, query), &start) in open.iter().zip(queries).zip(&starts) {
                let best = Best::new(search.exact(query.row, start), self.potential);
                let mut sink = (self.sink)(open, best);
                look_ahead(&search, *query, start as usize / LANES, &mut sink);
                sinks.push(sink);
            }
            if self.all.is_none() {
                work += search.search_packet(
                    &Packet::new(queries),
                    &mut sinks[first..],
                    &mut worklist,
                    self.enough,
                );
            }
        }
        if let Some(all) = self.all {
            let enough = self.enough / Work::row(stride);
            work.rows += all.nearest(&search, &queries, &mut sinks, enough);
        }
        (sinks, work)
    }
}

/// Gives a sink a first cutoff from the leaves around one that is likely to be good.
#[inline(always)]
fn look_ahead<L: Lanes, S: Sink>(search: &Search<'_, L>, query: Query<'_>, leaf: usize, sink: &mut S) {
    let count = sink.ahead().min(search.index.leaves.all.len());
    let first = leaf.saturating_sub(count / 2).min(search.index.leaves.all.len() - count);
    let mut limits = query.margin.limits(sink.cutoff());
    for leaf in first..first + count {
        search.leaf(query, leaf, search.index.filled(leaf), sink, &mut limits);
    }
    if count > 0 {
        sink.restart();
    }
}
