//! The pruned search of sixteen neighbouring queries at a time, one in each lane: boxes of boxes, boxes, points, rows, and
//! the exact cost of what is left.
//!
//! Neighbours look into nearly the same boxes. So one box around the sixteen decides first, for sixteen boxes at once; then
//! each query for itself, sixteen queries at once. Of a leaf that many have to look into, the points near the box around the
//! queries are compared with all queries at once; where few have to, each of them is compared with its sixteen points at once.

use super::{
    bvh::Boxes,
    packet::{Packet, PacketLimits},
    pca::BOX_AXES,
    search::{Search, Sink, bits},
    worklist::{BATCH, FULL, Worklist},
};
use crate::simd::{Group, LANES, Lanes};

/// With so many queries that have to look into a leaf, its points are compared with all queries, and not all its points with
/// each of these.
const MANY: u32 = 8;

/// What finding the points of a leaf that are near takes, in looks at one point.
const LOOK: usize = 4;

/// How much a search had to look at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Boxes, by sixteen queries.
    pub(crate) boxes: usize,
    /// Points by sixteen queries, or what takes as long.
    pub(crate) points: usize,
    /// Rows, by one query.
    pub(crate) rows: usize,
}

impl Work {
    /// Cycles that it took, about, where rows have `stride` values in memory.
    #[inline(always)]
    pub(crate) fn cycles(&self, stride: usize) -> f64 {
        10.0 * self.boxes as f64 + 6.0 * self.points as f64 + Self::row(stride) * self.rows as f64
    }

    /// Cycles for a row.
    #[inline(always)]
    pub(crate) fn row(stride: usize) -> f64 {
        40.0 + stride as f64 / 4.0
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.boxes += other.boxes;
        self.points += other.points;
        self.rows += other.rows;
    }
}

impl<L: Lanes> Search<'_, L> {
    /// Offers the sink of each query every place whose cost is at most its cutoff, which may sink meanwhile.
    ///
    /// Each step is done for many before the next one, and what it finds is listed without a branch. Once it took more than
    /// `enough` cycles, about, it stops, and what it found may not be the cheapest.
    #[inline(always)]
    pub(crate) fn search_packet<S: Sink>(
        &self,
        packet: &Packet<'_, '_>,
        sinks: &mut [S],
        worklist: &mut Worklist,
        enough: f64,
    ) -> Work {
        let (index, potential) = (self.index, self.potential);
        let mut limits = PacketLimits::new(packet.queries, sinks);
        let mut work = Work::default();
        let mut blocks = std::mem::take(&mut worklist.blocks);
        blocks.clear();
        for (u, (boxes, least)) in index.upper.iter().zip(&potential.upper_least).enumerate() {
            let (bounds, close) = self.around(packet, boxes, &least.0, limits.most);
            blocks.extend(bits(close).map(|l| (bounds[l], (LANES * u + l) as u32)));
        }
        // The nearest first: what they hold lowers the cutoffs for the others.
        blocks.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for &(bound, b) in &blocks {
            if bound > limits.most || work.cycles(index.stride()) > enough {
                break;
            }
            self.block(packet, b as usize, sinks, &mut limits, worklist, &mut work);
        }
        worklist.blocks = blocks;
        work
    }

    /// Looks at sixteen leaves.
    #[inline(always)]
    fn block<S: Sink>(
        &self,
        packet: &Packet<'_, '_>,
        b: usize,
        sinks: &mut [S],
        limits: &mut PacketLimits,
        worklist: &mut Worklist,
        work: &mut Work,
    ) {
        let (boxes, least) = (&self.leaves.boxes[b], &self.potential.box_least[b].0);
        let (_, around) = self.around(packet, boxes, least, limits.most);
        work.boxes += around.count_ones() as usize;
        let mut leaves = [(0, 0); LANES];
        let mut entered = 0;
        for l in bits(around) {
            let who = self.inside(packet, boxes, least, l, limits);
            leaves[entered % LANES] = (LANES * b + l, who);
            entered += usize::from(who != 0);
        }
        let mut near = 0;
        for &(leaf, who) in &leaves[..entered] {
            if who.count_ones() >= MANY {
                let mask = self.points(packet, leaf, limits.most);
                self.lanes.positions(mask, (LANES * leaf) as u32, &mut worklist.near[near..near + LANES]);
                near += mask.count_ones() as usize;
                work.points += LOOK;
            } else {
                self.looks(packet, (leaf, who), limits, worklist);
                work.points += who.count_ones() as usize;
                if worklist.count > FULL {
                    self.rows(packet, sinks, limits, worklist, work);
                }
            }
        }
        for first in (0..near).step_by(BATCH) {
            let batch = first..near.min(first + BATCH);
            work.points += batch.len();
            self.close(packet, batch, limits, worklist);
            if worklist.count > FULL {
                self.rows(packet, sinks, limits, worklist, work);
            }
        }
        self.rows(packet, sinks, limits, worklist, work);
    }

    /// Looks at the rows of all pairs that are close.
    #[inline(always)]
    fn rows<S: Sink>(
        &self,
        packet: &Packet<'_, '_>,
        sinks: &mut [S],
        limits: &mut PacketLimits,
        worklist: &mut Worklist,
        work: &mut Work,
    ) {
        let Worklist { places, lanes, count, distances, open, .. } = worklist;
        work.rows += *count;
        if let Some(of) = self.places {
            places[..*count].iter_mut().for_each(|place| *place = of[*place as usize]);
        }
        let mut left = 0;
        self.distances(packet, &places[..*count], lanes, distances);
        let pairs = places[..*count].iter().zip(&*lanes).zip(&*distances);
        for (i, ((&place, &l), &distance)) in pairs.enumerate() {
            open[left] = i as u32;
            left += usize::from(self.lower(distance, place) <= sinks[l as usize].cutoff());
        }
        *count = 0;
        for &i in &open[..left] {
            let (place, l) = (places[i as usize], lanes[i as usize] as usize);
            // One before it may have lowered the cutoff.
            if self.lower(distances[i as usize], place) > sinks[l].cutoff() {
                continue;
            }
            let mut new = limits.of(l);
            self.weigh(packet.queries[l], place, &mut sinks[l], &mut new);
            limits.set(l, new);
        }
        if left > 0 {
            limits.largest();
        }
    }

    /// What sixteen boxes cost the box around all queries at least, and which of them cost at most `most`.
    #[inline(always)]
    fn around(&self, packet: &Packet<'_, '_>, boxes: &Boxes, least: &Group, most: f32) -> (Group, u16) {
        let lanes = self.lanes;
        let mut sum = lanes.load(least);
        for k in 0..BOX_AXES {
            let above = lanes.sub(lanes.load(&boxes.low[k]), lanes.splat(packet.high[k]));
            let below = lanes.sub(lanes.splat(packet.low[k]), lanes.load(&boxes.high[k]));
            let gap = lanes.max(lanes.max(above, below), lanes.splat(0.0));
            sum = lanes.mul_add(gap, gap, sum);
        }
        (lanes.store(sum), lanes.at_most(sum, lanes.splat(most)))
    }

    /// The queries that have to look into box `l` of sixteen.
    #[inline(always)]
    fn inside(
        &self,
        packet: &Packet<'_, '_>,
        boxes: &Boxes,
        least: &Group,
        l: usize,
        limits: &PacketLimits,
    ) -> u16 {
        let lanes = self.lanes;
        let mut sum = lanes.splat(least[l]);
        for k in 0..BOX_AXES {
            let z = lanes.load(&packet.z[k].0);
            let nearest =
                lanes.max(lanes.min(z, lanes.splat(boxes.high[k][l])), lanes.splat(boxes.low[k][l]));
            let gap = lanes.sub(z, nearest);
            sum = lanes.mul_add(gap, gap, sum);
        }
        lanes.at_most(sum, lanes.load(&limits.boxes.0))
    }

    /// The points of a leaf that cost the box around the queries at most `most`.
    #[inline(always)]
    fn points(&self, packet: &Packet<'_, '_>, leaf: usize, most: f32) -> u16 {
        let lanes = self.lanes;
        let mut sum = lanes.load(&self.potential.drops[leaf].0);
        for (k, z) in self.leaves.all[leaf].z.iter().enumerate() {
            let z = lanes.load(z);
            let nearest = lanes.max(lanes.min(z, lanes.splat(packet.high[k])), lanes.splat(packet.low[k]));
            let gap = lanes.sub(z, nearest);
            sum = lanes.mul_add(gap, gap, sum);
        }
        lanes.at_most(sum, lanes.splat(most))
    }
}
