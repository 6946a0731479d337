//! The pruned search: boxes of boxes, boxes, points, rows, and the exact cost of what is left, for a batch of
//! neighbouring queries at a time.
//!
//! Two things set the pace of such a search besides arithmetic: loads of the index from the second cache, and branches
//! that cannot be predicted and wait for long chains of arithmetic. So each sixteen leaves are read once for all queries
//! of a batch, and each stage only lists what the next one has to look at.

use super::{
    axes::{KEPT, Point},
    bounds::{Limits, Margin, squared_distance},
    references::{Boxes, Potential, References},
};
use crate::lanes::{Group, LANES, Lanes};

/// Queries that are searched together.
const BATCH: usize = 64;

/// What a search has to know of a query.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) point: &'a Point,
    /// The row with zeros up to the stride of the references.
    pub(crate) row: &'a [f32],
    pub(crate) margin: Margin,
}

/// A place with its exact cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// `|x - y|^2`.
    pub(crate) square: f64,
    /// `|x - y|^2 - psi`.
    pub(crate) value: f64,
    pub(crate) place: u32,
}

/// Where a search puts what it finds.
pub(crate) trait Sink {
    /// What costs more is of no use.
    fn cutoff(&self) -> f64;
    /// Something of at most the cutoff. The same place may come again.
    fn offer(&mut self, found: Found);
    /// How many leaves to look at before the search, for a first cutoff.
    fn ahead(&self) -> usize {
        0
    }
    /// Drops what was found in these, which the search will find again, but keeps the cutoff.
    fn restart(&mut self) {}
}

/// How much a search had to look at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Groups of sixteen boxes or points, for each query that looked at them.
    pub(crate) groups: usize,
    /// Rows, for each query.
    pub(crate) rows: usize,
}

/// One potential over one index, and the instructions to search it with.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a, L> {
    pub(crate) lanes: L,
    pub(crate) references: &'a References,
    pub(crate) potential: &'a Potential,
}

/// For each of sixteen boxes the queries of a batch that have to look inside.
struct Visitors {
    who: [[u8; BATCH]; LANES],
    count: [u32; LANES],
}

impl Visitors {
    fn new() -> Self {
        Self { who: [[0; BATCH]; LANES], count: [0; LANES] }
    }

    #[inline(always)]
    fn add(&mut self, query: u8, boxes: u16) {
        for l in bits(boxes) {
            self.who[l][self.count[l] as usize % BATCH] = query;
            self.count[l] += 1;
        }
    }

    #[inline(always)]
    fn of(&self, l: usize) -> &[u8] {
        &self.who[l][..(self.count[l] as usize).min(BATCH)]
    }
}

/// Points of a leaf that came within the limit of a query.
#[derive(Debug, Clone, Copy, Default)]
struct Hit {
    leaf: u32,
    close: u16,
    query: u8,
}

/// A row that a query has to look at.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    place: u32,
    query: u8,
}

/// Hits of a batch in sixteen leaves, at most.
const HITS: usize = BATCH * LANES;

/// What a stage of the search leaves for the next one. Both lists are long enough for whatever sixteen leaves can bring,
/// so that entries are written without a branch and counted if they matter.
struct Lists {
    hits: Vec<Hit>,
    pairs: Vec<Pair>,
}

impl Lists {
    fn new() -> Self {
        Self { hits: vec![Hit::default(); HITS], pairs: vec![Pair::default(); HITS * LANES] }
    }
}

/// The search of a batch under way.
struct Batch<'a, S> {
    queries: &'a [Query<'a>],
    sinks: &'a mut [S],
    limits: [Limits; BATCH],
    z: [[f32; KEPT]; BATCH],
    /// `-2 z`.
    twice: [[f32; KEPT]; BATCH],
    work: Work,
}

impl<L: Lanes> Search<'_, L> {
    /// The exact cost at a place.
    #[inline(always)]
    pub(crate) fn exact(&self, row: &[f32], place: u32) -> Found {
        let square = squared_distance(row, self.references.padded(place));
        Found { square, value: square - self.potential.psi[place as usize], place }
    }

    /// [`Search::run`] for any number of queries.
    #[inline(always)]
    pub(crate) fn run_all<S: Sink>(&self, queries: &[Query<'_>], sinks: &mut [S]) -> Work {
        let (mut lists, mut work) = (Lists::new(), Work::default());
        for (queries, sinks) in queries.chunks(BATCH).zip(sinks.chunks_mut(BATCH)) {
            let batch = self.run(queries, sinks, &mut lists);
            work.groups += batch.groups;
            work.rows += batch.rows;
        }
        work
    }

    /// Offers the sink of each query (at most [`BATCH`]) every place whose cost is at most its cutoff, which may sink
    /// meanwhile.
    #[inline(always)]
    fn run<S: Sink>(&self, queries: &[Query<'_>], sinks: &mut [S], lists: &mut Lists) -> Work {
        let mut batch = Batch::new(queries, sinks);
        let (references, potential) = (self.references, self.potential);
        let everyone: [u8; BATCH] = std::array::from_fn(|q| q as u8);
        let mut above = Vec::with_capacity(references.upper.len());
        for (boxes, least) in references.upper.iter().zip(&potential.upper_least) {
            above.push(self.visitors(&mut batch, &everyone[..queries.len()], boxes, &least.0));
        }
        for b in self.nearest_first(queries[queries.len() / 2].point) {
            let visitors = above[b / LANES].of(b % LANES);
            if visitors.is_empty() {
                continue;
            }
            let inside = self.visitors(&mut batch, visitors, &references.boxes[b], &potential.box_least[b].0);
            let mut hits = 0;
            for l in 0..LANES {
                if inside.count[l] > 0 {
                    hits = self.points(&mut batch, inside.of(l), LANES * b + l, &mut lists.hits, hits);
                }
            }
            self.rows(&mut batch, &lists.hits[..hits], &mut lists.pairs);
        }
        batch.work
    }

    /// All boxes of the upper level, those nearest to a point first: what they hold lowers the cutoffs for the others.
    #[inline(always)]
    fn nearest_first(&self, point: &Point) -> Vec<usize> {
        let mut bounds = Vec::with_capacity(self.references.upper.len() * LANES);
        for (boxes, least) in self.references.upper.iter().zip(&self.potential.upper_least) {
            bounds.extend_from_slice(&self.lanes.store(self.bound(&point.z, boxes, &least.0)));
        }
        let mut order: Vec<usize> = (0..self.references.boxes.len()).collect();
        order.sort_unstable_by(|&a, &b| bounds[a].total_cmp(&bounds[b]));
        order
    }

    /// The queries that have to look into each of sixteen boxes.
    #[inline(always)]
    fn visitors<S>(&self, batch: &mut Batch<'_, S>, who: &[u8], boxes: &Boxes, least: &Group) -> Visitors {
        let lanes = self.lanes;
        batch.work.groups += who.len();
        let mut inside = [0; BATCH];
        for (inside, &q) in inside.iter_mut().zip(who) {
            let bound = self.bound(&batch.z[q as usize % BATCH], boxes, least);
            *inside = lanes.at_most(bound, lanes.splat(batch.limits[q as usize % BATCH].boxes));
        }
        let mut visitors = Visitors::new();
        for (&inside, &q) in inside.iter().zip(who) {
            visitors.add(q, inside);
        }
        visitors
    }

    /// Squared distances to sixteen boxes plus the least that the potential adds inside.
    #[inline(always)]
    fn bound(&self, z: &[f32; KEPT], boxes: &Boxes, least: &Group) -> L::F {
        let lanes = self.lanes;
        let mut sum = lanes.load(least);
        for (k, &z) in z.iter().enumerate() {
            let z = lanes.splat(z);
            let nearest = lanes.max(lanes.min(z, lanes.load(&boxes.high[k])), lanes.load(&boxes.low[k]));
            let gap = lanes.sub(z, nearest);
            sum = lanes.mul_add(gap, gap, sum);
        }
        sum
    }

    /// Adds to the `count` hits those of the sixteen points of a leaf, and counts on.
    #[inline(always)]
    fn points<S>(
        &self,
        batch: &mut Batch<'_, S>,
        who: &[u8],
        leaf: usize,
        hits: &mut [Hit],
        count: usize,
    ) -> usize {
        let lanes = self.lanes;
        let mut count = count;
        batch.work.groups += who.len();
        let offset = lanes.load(&self.potential.offsets[leaf].0);
        let mut z = [offset; KEPT];
        for (z, group) in z.iter_mut().zip(&self.references.leaves[leaf].z) {
            *z = lanes.load(group);
        }
        for &query in who {
            let mut sum = offset;
            for (&z, &x) in z.iter().zip(&batch.twice[query as usize % BATCH]) {
                sum = lanes.mul_add(lanes.splat(x), z, sum);
            }
            let close = lanes.at_most(sum, lanes.splat(batch.limits[query as usize % BATCH].points));
            hits[count % HITS] = Hit { leaf: leaf as u32, close, query };
            count += usize::from(close != 0);
        }
        count
    }

    /// Compares the rows of the points that were hit: first in float32 with a margin, then exactly.
    #[inline(always)]
    fn rows<S: Sink>(&self, batch: &mut Batch<'_, S>, hits: &[Hit], pairs: &mut [Pair]) {
        let mut count = 0;
        for hit in hits {
            for l in bits(hit.close) {
                pairs[count] = Pair { place: hit.leaf * LANES as u32 + l as u32, query: hit.query };
                count += 1;
            }
        }
        batch.work.rows += count;
        let mut kept = 0;
        for k in 0..count {
            let Pair { place, query } = pairs[k];
            let bound = self.lower(batch.queries[query as usize].row, place);
            pairs[kept] = pairs[k];
            kept += usize::from(bound <= batch.sinks[query as usize].cutoff());
        }
        for &Pair { place, query } in &pairs[..kept] {
            let q = query as usize;
            self.weigh(batch.queries[q], place, &mut batch.sinks[q], &mut batch.limits[q]);
        }
    }

    /// Looks at one row exactly.
    #[inline(always)]
    fn weigh<S: Sink>(&self, query: Query<'_>, place: u32, sink: &mut S, limits: &mut Limits) {
        let found = self.exact(query.row, place);
        if found.value <= sink.cutoff() {
            sink.offer(found);
            *limits = query.margin.limits(sink.cutoff());
        }
    }

    /// Looks at those of the sixteen rows of a leaf that `close` tells.
    #[inline(always)]
    pub(crate) fn leaf<S: Sink>(
        &self,
        query: Query<'_>,
        leaf: usize,
        close: u16,
        sink: &mut S,
        limits: &mut Limits,
    ) {
        for l in bits(close) {
            let place = (LANES * leaf + l) as u32;
            if self.lower(query.row, place) <= sink.cutoff() {
                self.weigh(query, place, sink, limits);
            }
        }
    }

    /// A lower bound of the exact cost at a place, from a distance in float32.
    #[inline(always)]
    fn lower(&self, row: &[f32], place: u32) -> f64 {
        // Each value is rounded three times, each sum once; what underflows is below 1e-40.
        let share = 1.0 - (row.len() / LANES + 8) as f64 * f64::from(f32::EPSILON);
        self.rough(row, self.references.padded(place)) * share - 1e-40 - self.potential.psi[place as usize]
    }

    /// `|x - y|^2` in float32.
    #[inline(always)]
    fn rough(&self, x: &[f32], y: &[f32]) -> f64 {
        let lanes = self.lanes;
        let mut sum = lanes.splat(0.0);
        for (x, y) in x.as_chunks::<LANES>().0.iter().zip(y.as_chunks::<LANES>().0) {
            let gap = lanes.sub(lanes.load(x), lanes.load(y));
            sum = lanes.mul_add(gap, gap, sum);
        }
        f64::from(lanes.sum(sum))
    }
}

impl<'a, S: Sink> Batch<'a, S> {
    #[inline(always)]
    fn new(queries: &'a [Query<'a>], sinks: &'a mut [S]) -> Self {
        let mut limits = [Limits::default(); BATCH];
        let (mut z, mut twice) = ([[0.0; KEPT]; BATCH], [[0.0; KEPT]; BATCH]);
        for (q, (query, sink)) in queries.iter().zip(&*sinks).enumerate() {
            limits[q] = query.margin.limits(sink.cutoff());
            z[q] = query.point.z;
            twice[q] = z[q].map(|z| -2.0 * z);
        }
        Self { queries, sinks, limits, z, twice, work: Work::default() }
    }
}

/// The positions of the bits that are set, lowest first.
#[inline(always)]
pub(crate) fn bits(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (lowest < LANES).then_some(lowest)
    })
}

/// The least cost; among equal ones that of the lowest original index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Best<'a> {
    pub(crate) value: f64,
    pub(crate) place: u32,
    rows: &'a [u32],
}

impl<'a> Best<'a> {
    pub(crate) fn new(found: Found, potential: &'a Potential) -> Self {
        Self { value: found.value, place: found.place, rows: &potential.row }
    }
}

impl Sink for Best<'_> {
    #[inline(always)]
    fn cutoff(&self) -> f64 {
        self.value
    }

    #[inline(always)]
    fn offer(&mut self, found: Found) {
        let earlier = || self.rows[found.place as usize] < self.rows[self.place as usize];
        if found.value < self.value || (found.value == self.value && earlier()) {
            (self.value, self.place) = (found.value, found.place);
        }
    }
}
