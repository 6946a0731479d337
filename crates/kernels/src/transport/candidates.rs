//! References that can win while the potential changes little: remembered, so that they need no search.

use super::{
    potential::Potential,
    search::{Best, Found, Sink},
};

/// For each query (in the order of the searches) the places of least cost under some potential, with their distances.
///
/// What is not among them costs at least `floor` under that potential, and at least `floor - rise` under one that is
/// nowhere more than `rise` above it. So the least cost among the candidates is the least of all if it is below that.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    pub(super) found: Vec<(u32, f64)>,
    /// Where the candidates of each query end.
    pub(super) ends: Vec<usize>,
    pub(super) floors: Vec<f64>,
    pub(super) psi: Vec<f64>,
}

impl Candidates {
    pub(super) fn of(&self, position: usize) -> &[(u32, f64)] {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.found[start..self.ends[position]]
    }

    /// The candidates under another potential.
    pub(crate) fn under<'a>(&'a self, potential: &'a Potential) -> Known<'a> {
        let (mut rise, mut size) = (f64::NEG_INFINITY, 0.0_f64);
        for (new, old) in potential.psi.iter().zip(&self.psi) {
            rise = rise.max(new - old);
            size = size.max(new.abs()).max(old.abs());
        }
        Known { candidates: self, potential, rise: rise + 1e-15 * size }
    }
}

/// Candidates and a potential.
pub(crate) struct Known<'a> {
    candidates: &'a Candidates,
    potential: &'a Potential,
    /// The most that a value of the potential has risen by, with a margin for rounding.
    rise: f64,
}

impl<'a> Known<'a> {
    /// A cost that `most` places do not exceed.
    pub(super) fn bound(&self, position: usize, most: usize) -> f64 {
        let found = self.candidates.of(position);
        let values = found.iter().map(|&(place, square)| square - self.potential.psi[place as usize]);
        if found.len() < most { f64::INFINITY } else { values.fold(f64::NEG_INFINITY, f64::max) }
    }

    /// The best candidate of a query, and whether nothing else can be as good.
    #[inline]
    pub(crate) fn best(&self, position: usize) -> (Best<'a>, bool) {
        let psi = &self.potential.psi;
        let mut all = self.candidates.of(position).iter().map(|&(place, square)| {
            let value = square - psi[place as usize];
            Found { square, value, place }
        });
        // There always is one: the minimum when they were found.
        let none = Found { square: f64::INFINITY, value: f64::INFINITY, place: 0 };
        let mut best = Best::new(all.next().unwrap_or(none), self.potential);
        all.for_each(|found| best.offer(found));
        let floor = self.candidates.floors[position];
        // An infinite one: nothing is left out.
        (best, floor == f64::INFINITY || best.value < floor - self.rise - 1e-15 * floor.abs())
    }
}
