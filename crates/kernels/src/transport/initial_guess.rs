//! Where the first search of sixteen neighbours starts.

use super::{
    reference_index::ReferenceIndex,
    search::{Query, Search, Sink, bits},
};
use crate::simd::{Aligned, LANES, Lanes};

/// Writes the rows of the queries value by value, that of the last one for those that are missing.
#[inline(always)]
pub(crate) fn transpose(queries: &[Query<'_>], to: &mut [Aligned]) {
    for l in 0..LANES {
        for (to, &value) in to.iter_mut().zip(queries[l.min(queries.len() - 1)].row) {
            to.0[l] = value;
        }
    }
}

/// Places that are likely to be good for sixteen neighbours of which not all last winners are known: the leaf of one of them,
/// and what was found for the sixteen `before`.
#[inline(always)]
pub(crate) fn likely_places<S: Sink>(
    index: &ReferenceIndex,
    queries: &[Query<'_>],
    before: &[S],
    places: &mut Vec<u32>,
) {
    let home = index.tree().leaf(&queries[0].point.z);
    places.clear();
    places.extend(bits(index.filled(home)).map(|l| (home * LANES + l) as u32));
    for sink in before {
        if !places.contains(&sink.place()) {
            places.push(sink.place());
        }
    }
}

impl<L: Lanes> Search<'_, L> {
    /// `|x - y|^2` in float32 between sixteen rows, as [`transpose`] writes them, and one.
    #[inline(always)]
    fn across(&self, rows: &[Aligned], place: u32) -> L::F {
        let lanes = self.lanes;
        let mut sums = [lanes.splat(0.0); 4];
        let (rows, rest) = rows.as_chunks::<4>();
        let (y, behind) = self.index.padded(place).split_at(4 * rows.len());
        // Sums of a fixed number stay in registers.
        for (rows, y) in rows.iter().zip(y.as_chunks::<4>().0) {
            for ((sum, x), &y) in sums.iter_mut().zip(rows).zip(y) {
                let gap = lanes.sub(lanes.load(&x.0), lanes.splat(y));
                *sum = lanes.mul_add(gap, gap, *sum);
            }
        }
        for ((sum, x), &y) in sums.iter_mut().zip(rest).zip(behind) {
            let gap = lanes.sub(lanes.load(&x.0), lanes.splat(y));
            *sum = lanes.mul_add(gap, gap, *sum);
        }
        lanes.add(lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3]))
    }

    /// For each of sixteen rows the best of some places, about.
    #[inline(always)]
    pub(crate) fn best_of(&self, rows: &[Aligned], places: &[u32]) -> [u32; LANES] {
        let lanes = self.lanes;
        let mut least = lanes.splat(f32::INFINITY);
        let mut which = [places[0]; LANES];
        for &place in places {
            let psi = lanes.splat(self.potential.psi[place as usize] as f32);
            let cost = lanes.sub(self.across(rows, place), psi);
            let better = !lanes.at_most(least, cost);
            least = lanes.min(least, cost);
            for l in bits(better) {
                which[l] = place;
            }
        }
        which
    }
}
