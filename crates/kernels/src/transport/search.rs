//! What all searches share: a query, the exact cost, a quick bound on it, and where a search puts what it finds.

use super::{
    bounds::{Limits, Margin, squared_distance},
    bvh::Leaves,
    pca::Point,
    potential::Potential,
    reference_index::ReferenceIndex,
};
use crate::simd::{LANES, Lanes};

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
    /// Something of at most the cutoff. Between restarts a place comes once, but for that which the sink was made from.
    fn offer(&mut self, found: Found);
    /// The cheapest place so far.
    fn place(&self) -> u32;
    /// How many leaves to look at before the search, for a first cutoff.
    fn ahead(&self) -> usize {
        0
    }
    /// Drops what was found in these, which the search will find again, but keeps the cutoff.
    fn restart(&mut self) {}
}

/// One potential over one index, and the instructions to search it with.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a, L> {
    pub(crate) lanes: L,
    pub(crate) index: &'a ReferenceIndex,
    pub(crate) potential: &'a Potential,
    /// Those of the references, or of the potential; then the place of each slot in them.
    pub(crate) leaves: &'a Leaves,
    pub(crate) places: Option<&'a [u32]>,
}

impl<'a, L: Lanes> Search<'a, L> {
    pub(crate) fn new(lanes: L, index: &'a ReferenceIndex, potential: &'a Potential) -> Self {
        let (leaves, places) = potential.leaves(index);
        Self { lanes, index, potential, leaves, places }
    }

    /// The exact cost at a place.
    #[inline(always)]
    pub(crate) fn exact(&self, row: &[f32], place: u32) -> Found {
        let square = squared_distance(row, self.index.padded(place));
        Found { square, value: square - self.potential.psi[place as usize], place }
    }

    /// Looks at one row exactly.
    #[inline(always)]
    pub(crate) fn weigh<S: Sink>(&self, query: Query<'_>, place: u32, sink: &mut S, limits: &mut Limits) {
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
            let distance = self.rough(query.row, self.index.padded(place));
            if self.lower(distance, place) <= sink.cutoff() {
                self.weigh(query, place, sink, limits);
            }
        }
    }

    /// A lower bound of the exact cost at a place, from a squared distance in float32.
    #[inline(always)]
    pub(crate) fn lower(&self, distance: f32, place: u32) -> f64 {
        // Each value is rounded three times, each sum once; what underflows is below 1e-40.
        let share = 1.0 - (self.index.stride() / LANES + 8) as f64 * f64::from(f32::EPSILON);
        f64::from(distance) * share - 1e-40 - self.potential.psi[place as usize]
    }

    /// `|x - y|^2` in float32.
    #[inline(always)]
    pub(crate) fn rough(&self, x: &[f32], y: &[f32]) -> f32 {
        let lanes = self.lanes;
        let mut sum = lanes.splat(0.0);
        for (x, y) in x.as_chunks::<LANES>().0.iter().zip(y.as_chunks::<LANES>().0) {
            let gap = lanes.sub(lanes.load(x), lanes.load(y));
            sum = lanes.mul_add(gap, gap, sum);
        }
        lanes.sum(sum)
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
    fn place(&self) -> u32 {
        self.place
    }

    #[inline(always)]
    fn offer(&mut self, found: Found) {
        let earlier = || self.rows[found.place as usize] < self.rows[self.place as usize];
        if found.value < self.value || (found.value == self.value && earlier()) {
            (self.value, self.place) = (found.value, found.place);
        }
    }
}
