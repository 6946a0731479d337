//! Pairs of points and queries that come close, listed without a branch on what is found.

use super::{
    packet::{Packet, PacketLimits},
    pca::COORDINATES,
    search::{Search, bits},
};
use crate::simd::{LANES, Lanes};

/// Points that are compared with all queries before the rows behind what is close are looked at, so that cutoffs follow.
pub(super) const BATCH: usize = 32;

/// With more pairs of points and queries that are close, their rows are looked at.
pub(super) const FULL: usize = 64;

/// Room for pairs.
const PAIRS: usize = FULL + (BATCH + 1) * LANES;

/// Worklist that a search fills again and again.
pub(crate) struct Worklist {
    /// Blocks of leaves that come near, and how near.
    pub(super) blocks: Vec<(f32, u32)>,
    /// Points, as slots in the leaves that are searched, near the box around the queries.
    pub(super) near: [u32; LANES * LANES + LANES],
    /// Slots of points (places, once their rows are looked at) and the lanes of the queries that these are close to; how many.
    pub(super) places: [u32; PAIRS],
    pub(super) lanes: [u32; PAIRS],
    pub(super) count: usize,
    /// Their squared distances in float32.
    pub(super) distances: [f32; PAIRS],
    /// Which of the pairs have to be looked at exactly.
    pub(super) open: [u32; PAIRS],
}

impl Worklist {
    pub(crate) fn new() -> Self {
        let near = [0; LANES * LANES + LANES];
        let (places, lanes, distances, open) = ([0; PAIRS], [0; PAIRS], [0.0; PAIRS], [0; PAIRS]);
        Self { blocks: Vec::new(), near, places, lanes, count: 0, distances, open }
    }
}

impl<L: Lanes> Search<'_, L> {
    /// Pairs of points that are near and the queries that they are close to.
    #[inline(always)]
    pub(super) fn close(
        &self,
        packet: &Packet<'_, '_>,
        batch: std::ops::Range<usize>,
        limits: &PacketLimits,
        worklist: &mut Worklist,
    ) {
        let near = &worklist.near[batch];
        let mut hits = [(0_u16, 0_u32); BATCH];
        // A function of its own, so that its few numbers stay in registers.
        let found = self.lanes.run(
            #[inline(always)]
            || {
                let lanes = self.lanes;
                let limits = lanes.load(&limits.points.0);
                let mut twice = [limits; COORDINATES];
                for (twice, values) in twice.iter_mut().zip(&packet.twice) {
                    *twice = lanes.load(&values.0);
                }
                let leaves = &self.leaves.all[..];
                let offsets = &self.potential.offsets[..leaves.len()];
                let mut found = 0;
                for &place in near {
                    let (leaf, p) = (place as usize / LANES, place as usize % LANES);
                    let mut sum = lanes.splat(offsets[leaf].0[p]);
                    for (&twice, z) in twice.iter().zip(&leaves[leaf].z) {
                        sum = lanes.mul_add(twice, lanes.splat(z[p]), sum);
                    }
                    let mask = lanes.at_most(sum, limits);
                    // Most points that are near the box are close to no query.
                    hits[found % BATCH] = (mask, place);
                    found += usize::from(mask != 0);
                }
                found
            },
        );
        let mut count = worklist.count;
        for &(mask, place) in &hits[..found] {
            worklist.places[count..count + LANES].fill(place);
            self.lanes.positions(mask, 0, &mut worklist.lanes[count..count + LANES]);
            count += mask.count_ones() as usize;
        }
        worklist.count = count;
    }

    /// Pairs of the queries that have to look into a leaf and points that they are close to.
    #[inline(always)]
    pub(super) fn looks(
        &self,
        packet: &Packet<'_, '_>,
        (leaf, who): (usize, u16),
        limits: &PacketLimits,
        worklist: &mut Worklist,
    ) {
        let lanes = self.lanes;
        let offset = lanes.load(&self.potential.offsets[leaf].0);
        let mut z = [offset; COORDINATES];
        for (z, group) in z.iter_mut().zip(&self.leaves.all[leaf].z) {
            *z = lanes.load(group);
        }
        let mut count = worklist.count;
        for l in bits(who) {
            let mut sum = offset;
            for (&z, twice) in z.iter().zip(&packet.twice) {
                sum = lanes.mul_add(lanes.splat(twice.0[l]), z, sum);
            }
            let close = lanes.at_most(sum, lanes.splat(limits.points.0[l]));
            lanes.positions(close, (LANES * leaf) as u32, &mut worklist.places[count..count + LANES]);
            worklist.lanes[count..count + LANES].fill(l as u32);
            count += close.count_ones() as usize;
        }
        worklist.count = count;
    }

    /// `|x - y|^2` in float32 of some pairs.
    #[inline(always)]
    pub(super) fn distances(
        &self,
        packet: &Packet<'_, '_>,
        places: &[u32],
        lanes: &[u32; PAIRS],
        distances: &mut [f32; PAIRS],
    ) {
        self.lanes.run(
            #[inline(always)]
            || {
                for ((distance, &place), &l) in distances.iter_mut().zip(places).zip(lanes) {
                    *distance = self.rough(packet.queries[l as usize].row, self.index.padded(place));
                }
            },
        );
    }
}
