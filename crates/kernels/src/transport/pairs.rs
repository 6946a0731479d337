//! Pairs of points and queries that come close, listed without a branch on what is found.

use super::{
    axes::KEPT,
    search::{Search, bits},
    sixteen::{Sixteen, Together},
};
use crate::lanes::{LANES, Lanes};

/// Points that are compared with all queries before the rows behind what is close are looked at, so that cutoffs follow.
pub(super) const BATCH: usize = 32;

/// With more pairs of points and queries that are close, their rows are looked at.
pub(super) const FULL: usize = 64;

/// Room for pairs.
const PAIRS: usize = FULL + (BATCH + 1) * LANES;

/// Lists that a search fills again and again.
pub(crate) struct Lists {
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

impl Lists {
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
        group: &Sixteen<'_, '_>,
        batch: std::ops::Range<usize>,
        limits: &Together,
        lists: &mut Lists,
    ) {
        let near = &lists.near[batch];
        let mut hits = [(0_u16, 0_u32); BATCH];
        // A function of its own, so that its few numbers stay in registers.
        let found = self.lanes.run(
            #[inline(always)]
            || {
                let lanes = self.lanes;
                let limits = lanes.load(&limits.points.0);
                let mut twice = [limits; KEPT];
                for (twice, group) in twice.iter_mut().zip(&group.twice) {
                    *twice = lanes.load(&group.0);
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
        let mut count = lists.count;
        for &(mask, place) in &hits[..found] {
            lists.places[count..count + LANES].fill(place);
            self.lanes.positions(mask, 0, &mut lists.lanes[count..count + LANES]);
            count += mask.count_ones() as usize;
        }
        lists.count = count;
    }

    /// Pairs of the queries that have to look into a leaf and points that they are close to.
    #[inline(always)]
    pub(super) fn looks(
        &self,
        group: &Sixteen<'_, '_>,
        (leaf, who): (usize, u16),
        limits: &Together,
        lists: &mut Lists,
    ) {
        let lanes = self.lanes;
        let offset = lanes.load(&self.potential.offsets[leaf].0);
        let mut z = [offset; KEPT];
        for (z, group) in z.iter_mut().zip(&self.leaves.all[leaf].z) {
            *z = lanes.load(group);
        }
        let mut count = lists.count;
        for l in bits(who) {
            let mut sum = offset;
            for (&z, twice) in z.iter().zip(&group.twice) {
                sum = lanes.mul_add(lanes.splat(twice.0[l]), z, sum);
            }
            let close = lanes.at_most(sum, lanes.splat(limits.points.0[l]));
            lanes.positions(close, (LANES * leaf) as u32, &mut lists.places[count..count + LANES]);
            lists.lanes[count..count + LANES].fill(l as u32);
            count += close.count_ones() as usize;
        }
        lists.count = count;
    }

    /// `|x - y|^2` in float32 of some pairs.
    #[inline(always)]
    pub(super) fn distances(
        &self,
        group: &Sixteen<'_, '_>,
        places: &[u32],
        lanes: &[u32; PAIRS],
        distances: &mut [f32; PAIRS],
    ) {
        self.lanes.run(
            #[inline(always)]
            || {
                for ((distance, &place), &l) in distances.iter_mut().zip(places).zip(lanes) {
                    *distance = self.rough(group.queries[l as usize].row, self.references.padded(place));
                }
            },
        );
    }
}
