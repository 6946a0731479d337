//! The pruned search of sixteen neighbouring queries at a time, one in each lane: boxes of boxes, boxes, points, rows, and
//! the exact cost of what is left.
//!
//! Neighbours look into nearly the same boxes. So one box around the sixteen decides first, for sixteen boxes at once; then
//! each query for itself, sixteen queries at once. The points of a leaf are read once and compared, sixteen at once, with
//! each query that has to look at them.

use super::{
    axes::{BOXED, KEPT},
    bounds::Limits,
    references::{Aligned, Boxes},
    search::{Best, Query, Search, Sink, bits},
};
use crate::lanes::{Group, LANES, Lanes};

/// With so many queries that have to look into a leaf, one look for all of them comes first.
const MANY: u32 = 12;

/// What that look costs, in looks of one query at a leaf.
const LOOK: usize = 4;

/// How much a search had to look at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Boxes, by sixteen queries.
    pub(crate) boxes: usize,
    /// Leaves by one query, or what takes as long.
    pub(crate) leaves: usize,
    /// Rows, by one query.
    pub(crate) rows: usize,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.boxes += other.boxes;
        self.leaves += other.leaves;
        self.rows += other.rows;
    }
}

/// Sixteen queries, or fewer: the last one then fills the lanes that are left, which look for nothing.
pub(crate) struct Sixteen<'a, 'q> {
    queries: &'q [Query<'a>],
    /// The rows, value by value.
    rows: &'q [Aligned],
    z: [Aligned; BOXED],
    /// `-2 z` of each query, and the same coordinate by coordinate.
    twice: [Aligned; LANES],
    turned: [Aligned; KEPT],
    /// The box around the points.
    low: [f32; KEPT],
    high: [f32; KEPT],
}

/// The limits of sixteen queries.
struct Together {
    boxes: Aligned,
    points: Aligned,
    /// The largest of `boxes`.
    most: f32,
}

/// Writes the rows of the queries value by value, that of the last one for those that are missing.
#[inline(always)]
pub(crate) fn turned(queries: &[Query<'_>], to: &mut [Aligned]) {
    for l in 0..LANES {
        for (to, &value) in to.iter_mut().zip(queries[l.min(queries.len() - 1)].row) {
            to.0[l] = value;
        }
    }
}

impl<'a, 'q> Sixteen<'a, 'q> {
    /// At least one query and at most sixteen, and their rows as [`turned`] writes them.
    #[inline(always)]
    pub(crate) fn new(queries: &'q [Query<'a>], rows: &'q [Aligned]) -> Self {
        let mut this = Self {
            queries,
            rows,
            z: [Aligned([0.0; LANES]); BOXED],
            twice: [Aligned([0.0; LANES]); LANES],
            turned: [Aligned([0.0; LANES]); KEPT],
            low: [f32::INFINITY; KEPT],
            high: [f32::NEG_INFINITY; KEPT],
        };
        for l in 0..LANES {
            let point = queries[l.min(queries.len() - 1)].point;
            for (k, &z) in point.z.iter().enumerate() {
                (this.twice[l].0[k], this.turned[k].0[l]) = (-2.0 * z, -2.0 * z);
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

impl Together {
    #[inline(always)]
    fn new<S: Sink>(queries: &[Query<'_>], sinks: &[S]) -> Self {
        let nothing = Aligned([f32::NEG_INFINITY; LANES]);
        let mut this = Self { boxes: nothing, points: nothing, most: f32::NEG_INFINITY };
        for (l, (query, sink)) in queries.iter().zip(sinks).enumerate() {
            this.set(l, query.margin.limits(sink.cutoff()));
        }
        this.largest();
        this
    }

    #[inline(always)]
    fn of(&self, l: usize) -> Limits {
        Limits { boxes: self.boxes.0[l], points: self.points.0[l] }
    }

    /// New limits of one query; `most` stays.
    #[inline(always)]
    fn set(&mut self, l: usize, limits: Limits) {
        self.boxes.0[l] = limits.boxes;
        self.points.0[l] = limits.points;
    }

    #[inline(always)]
    fn largest(&mut self) {
        self.most = self.boxes.0.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    }
}

impl<'s, L: Lanes> Search<'s, L> {
    /// Offers the sink of each query every place whose cost is at most its cutoff, which may sink meanwhile. `blocks` is room for
    /// a list.
    #[inline(always)]
    pub(crate) fn sixteen<S: Sink>(
        &self,
        group: &Sixteen<'_, '_>,
        sinks: &mut [S],
        blocks: &mut Vec<(f32, u32)>,
    ) -> Work {
        let (references, potential) = (self.references, self.potential);
        let mut limits = Together::new(group.queries, sinks);
        let mut work = Work::default();
        blocks.clear();
        for (u, (boxes, least)) in references.upper.iter().zip(&potential.upper_least).enumerate() {
            let (bounds, close) = self.around(group, boxes, &least.0, limits.most);
            blocks.extend(bits(close).map(|l| (bounds[l], (LANES * u + l) as u32)));
        }
        // The nearest first: what they hold lowers the cutoffs for the others.
        blocks.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for &(bound, b) in &*blocks {
            if bound > limits.most {
                break;
            }
            let (boxes, least) = (&references.boxes[b as usize], &potential.box_least[b as usize].0);
            let (_, close) = self.around(group, boxes, least, limits.most);
            let first = LANES * b as usize;
            work.boxes += close.count_ones() as usize;
            for l in bits(close) {
                let who = self.inside(group, boxes, least, l, &limits);
                if who.count_ones() >= MANY {
                    self.shared(group, (first + l, who), sinks, &mut limits, &mut work);
                } else if who != 0 {
                    self.points(group, (first + l, who), sinks, &mut limits, &mut work);
                }
            }
        }
        work
    }

    /// What sixteen boxes cost the box around all queries at least, and which of them cost at most `most`.
    #[inline(always)]
    fn around(&self, group: &Sixteen<'_, '_>, boxes: &Boxes, least: &Group, most: f32) -> (Group, u16) {
        let lanes = self.lanes;
        let mut sum = lanes.load(least);
        for k in 0..BOXED {
            let above = lanes.sub(lanes.load(&boxes.low[k]), lanes.splat(group.high[k]));
            let below = lanes.sub(lanes.splat(group.low[k]), lanes.load(&boxes.high[k]));
            let gap = lanes.max(lanes.max(above, below), lanes.splat(0.0));
            sum = lanes.mul_add(gap, gap, sum);
        }
        (lanes.store(sum), lanes.at_most(sum, lanes.splat(most)))
    }

    /// The queries that have to look into box `l` of sixteen.
    #[inline(always)]
    fn inside(
        &self,
        group: &Sixteen<'_, '_>,
        boxes: &Boxes,
        least: &Group,
        l: usize,
        limits: &Together,
    ) -> u16 {
        let lanes = self.lanes;
        let mut sum = lanes.splat(least[l]);
        for k in 0..BOXED {
            let z = lanes.load(&group.z[k].0);
            let nearest =
                lanes.max(lanes.min(z, lanes.splat(boxes.high[k][l])), lanes.splat(boxes.low[k][l]));
            let gap = lanes.sub(z, nearest);
            sum = lanes.mul_add(gap, gap, sum);
        }
        lanes.at_most(sum, lanes.load(&limits.boxes.0))
    }

    /// Looks at the sixteen points of a leaf for the queries that `who` tells.
    #[inline(always)]
    fn points<S: Sink>(
        &self,
        group: &Sixteen<'_, '_>,
        (leaf, who): (usize, u16),
        sinks: &mut [S],
        limits: &mut Together,
        work: &mut Work,
    ) {
        let lanes = self.lanes;
        let offset = lanes.load(&self.potential.offsets[leaf].0);
        let mut z = [offset; KEPT];
        for (z, group) in z.iter_mut().zip(&self.references.leaves[leaf].z) {
            *z = lanes.load(group);
        }
        for l in bits(who) {
            let mut sum = offset;
            for (&z, &twice) in z.iter().zip(&group.twice[l].0) {
                sum = lanes.mul_add(lanes.splat(twice), z, sum);
            }
            let close = lanes.at_most(sum, lanes.splat(limits.points.0[l]));
            if close != 0 {
                self.hit(group, (leaf, l, close), sinks, limits, work);
            }
        }
        work.leaves += who.count_ones() as usize;
    }

    /// The same where nearly all queries have to look: first which points come near the box around the queries, then which
    /// queries come near each of these.
    #[inline(always)]
    fn shared<S: Sink>(
        &self,
        group: &Sixteen<'_, '_>,
        (leaf, who): (usize, u16),
        sinks: &mut [S],
        limits: &mut Together,
        work: &mut Work,
    ) {
        let lanes = self.lanes;
        let mut sum = lanes.load(&self.potential.drops[leaf].0);
        let z = &self.references.leaves[leaf].z;
        for (k, z) in z.iter().enumerate() {
            let z = lanes.load(z);
            let above = lanes.sub(z, lanes.splat(group.high[k]));
            let below = lanes.sub(lanes.splat(group.low[k]), z);
            let gap = lanes.max(lanes.max(above, below), lanes.splat(0.0));
            sum = lanes.mul_add(gap, gap, sum);
        }
        work.leaves += LOOK;
        for p in bits(lanes.at_most(sum, lanes.splat(limits.most))) {
            let mut sum = lanes.splat(self.potential.offsets[leaf].0[p]);
            for (twice, z) in group.turned.iter().zip(z) {
                sum = lanes.mul_add(lanes.load(&twice.0), lanes.splat(z[p]), sum);
            }
            work.leaves += 1;
            for l in bits(who & lanes.at_most(sum, lanes.load(&limits.points.0))) {
                self.hit(group, (leaf, l, 1 << p), sinks, limits, work);
            }
        }
    }

    /// Looks at the rows of a leaf that are close to query `l`.
    #[inline(always)]
    fn hit<S: Sink>(
        &self,
        group: &Sixteen<'_, '_>,
        (leaf, l, close): (usize, usize, u16),
        sinks: &mut [S],
        limits: &mut Together,
        work: &mut Work,
    ) {
        work.rows += close.count_ones() as usize;
        let before = limits.of(l);
        let mut new = before;
        self.leaf(group.queries[l], leaf, close, &mut sinks[l], &mut new);
        limits.set(l, new);
        if new.boxes < before.boxes && before.boxes == limits.most {
            limits.largest();
        }
    }

    /// `|x - y|^2` in float32 between each query and one row.
    #[inline(always)]
    fn across(&self, group: &Sixteen<'_, '_>, place: u32) -> L::F {
        let lanes = self.lanes;
        let mut sums = [lanes.splat(0.0); 4];
        for (k, (x, &y)) in group.rows.iter().zip(self.references.padded(place)).enumerate() {
            let gap = lanes.sub(lanes.load(&x.0), lanes.splat(y));
            sums[k % 4] = lanes.mul_add(gap, gap, sums[k % 4]);
        }
        lanes.add(lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3]))
    }

    /// For each query the best of some places, about.
    #[inline(always)]
    pub(crate) fn best_of(&self, group: &Sixteen<'_, '_>, places: &[u32], best: &mut Vec<Best<'s>>) {
        let lanes = self.lanes;
        let mut least = lanes.splat(f32::INFINITY);
        let mut which = [places[0]; LANES];
        for &place in places {
            let psi = lanes.splat(self.potential.psi[place as usize] as f32);
            let cost = lanes.sub(self.across(group, place), psi);
            let better = !lanes.at_most(least, cost);
            least = lanes.min(least, cost);
            for l in bits(better) {
                which[l] = place;
            }
        }
        for (query, &place) in group.queries.iter().zip(&which) {
            best.push(Best::new(self.exact(query.row, place), self.potential));
        }
    }
}
