//! References that can win while the potential changes little: remembered, so that they need no search.

use std::{cmp::Ordering, collections::BinaryHeap};

use rayon::prelude::*;

use super::{
    CTransform,
    plan::{Open, Plan, Strategy},
    queries::{CHUNK, Queries},
    references::Potential,
    search::{Best, Found, Sink},
};
use crate::{
    error::KernelError,
    lanes::{Isa, LANES},
};

/// Leaves to look at for a first bound, at most.
const AHEAD: usize = 4;

/// For each query (in the order of the searches) the places of least cost under some potential, with their distances.
///
/// What is not among them costs at least `floor` under that potential, and at least `floor - rise` under one that is
/// nowhere more than `rise` above it. So the least cost among the candidates is the least of all if it is below that.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    found: Vec<(u32, f64)>,
    /// Where the candidates of each query end.
    ends: Vec<usize>,
    floors: Vec<f64>,
    psi: Vec<f64>,
}

impl Queries {
    /// The c-transform, as [`Queries::c_transform`] gives it; remembers for each query the references whose cost is at
    /// most `slack` above the minimum, but no more than the `most` cheapest.
    ///
    /// Later transforms first look at what is remembered and search only where that cannot decide: while no value of
    /// psi rises by more than about `slack`, they take a small part of the time. Results are the same. What is
    /// remembered is 16 bytes each, and is forgotten when the rows change ([`Queries::update`]).
    ///
    /// # Errors
    /// As for [`Queries::c_transform`]; a `slack` that is negative or NaN (infinity is fine), `most` = 0.
    pub fn remember(&mut self, psi: &[f64], slack: f64, most: usize) -> Result<CTransform, KernelError> {
        if slack.is_nan() || slack < 0.0 || most == 0 {
            let expected = "a slack of at least 0 and at least one candidate";
            return Err(KernelError::new("candidates to remember", expected, format!("{slack} and {most}")));
        }
        let potential = Potential::of(&self.references, psi)?;
        let mut places = std::mem::take(&mut self.winners);
        let plan = Plan::new(self, &potential, &places, (Strategy::Adaptive, Isa::V4));
        let known = self.candidates.as_ref().map(|candidates| candidates.under(&potential));
        let bound = |position| known.as_ref().map_or(f64::INFINITY, |known| known.bound(position, most));
        let sink = |open: &Open, best| Near::new(best, bound(open.position as usize), slack, most);
        let chunks: Vec<Vec<(Best<'_>, Shortlist)>> = places
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(c, starts)| {
                let position = |k: usize| (c * CHUNK + k) as u32;
                let open = starts.iter().enumerate().map(|(k, &start)| Open { position: position(k), start });
                let near = plan.run(&open.collect::<Vec<_>>(), sink);
                near.into_iter().map(|near| (near.best, near.shortlist())).collect()
            })
            .collect();
        let mut candidates = Candidates {
            found: Vec::new(),
            ends: Vec::new(),
            floors: Vec::new(),
            psi: potential.psi.clone(),
        };
        candidates.found.reserve_exact(chunks.iter().flatten().map(|(_, list)| list.found.len()).sum());
        let mut values = Vec::with_capacity(places.len());
        for ((best, list), place) in chunks.into_iter().flatten().zip(&mut places) {
            *place = best.place;
            values.push(best.value);
            candidates.found.extend(list.found);
            candidates.ends.push(candidates.found.len());
            candidates.floors.push(list.floor);
        }
        let result = self.original_order(&potential, &values, &places);
        (self.winners, self.candidates) = (places, Some(candidates));
        Ok(result)
    }

    /// The cheapest places for the queries at some positions in the order of the searches, `most` of a position many, and
    /// how they were searched.
    pub(crate) fn shortlists(
        &self,
        potential: &Potential,
        positions: &[u32],
        strategy: Strategy,
        most: impl Fn(u32) -> usize + Sync,
    ) -> (Vec<Shortlist>, Strategy) {
        let plan = Plan::new(self, potential, &self.winners, (strategy, Isa::V4));
        let sink = |open: &Open, best| Near::new(best, f64::INFINITY, f64::INFINITY, most(open.position));
        // Few long lists take as long as many short ones.
        let size = CHUNK.min(positions.len().div_ceil(rayon::current_num_threads()).max(1));
        let chunks = positions.par_chunks(size).map(|positions| {
            let open = |&position: &u32| Open { position, start: self.winners[position as usize] };
            let near = plan.run(&positions.iter().map(open).collect::<Vec<_>>(), sink);
            near.into_iter().map(|near| near.shortlist().sorted()).collect::<Vec<_>>()
        });
        (chunks.collect::<Vec<_>>().into_iter().flatten().collect(), plan.decided())
    }

    /// Forgets what [`Queries::remember`] has kept, and frees its memory.
    pub fn forget(&mut self) {
        self.candidates = None;
    }

    /// Calls `each(i, j, |x_i - y_j|^2)` for all remembered candidates, query by query, though not in the order of
    /// the queries; equal references come one after the other. Nothing is called where nothing is remembered.
    pub fn for_each_candidate(&self, mut each: impl FnMut(usize, usize, f64)) {
        let Some(candidates) = &self.candidates else { return };
        for (position, &i) in self.order.iter().enumerate() {
            for &(place, square) in candidates.of(position) {
                for &j in self.references.members(place as usize) {
                    each(i as usize, j as usize, square);
                }
            }
        }
    }
}

impl Candidates {
    fn of(&self, position: usize) -> &[(u32, f64)] {
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
    fn bound(&self, position: usize, most: usize) -> f64 {
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

/// The places whose cost is at most `slack` above the least, but no more than the `most` cheapest.
struct Near<'a> {
    slack: f64,
    most: usize,
    /// The cheapest place: of more than `most` equally cheap ones it may be missing among those that are kept.
    best: Best<'a>,
    /// A cost that `most` places do not exceed.
    bound: f64,
    /// The dearest on top.
    found: BinaryHeap<Dear>,
}

/// The candidates of one query (places and squared distances) and what all others cost at least.
pub(crate) struct Shortlist {
    pub(crate) found: Box<[(u32, f64)]>,
    pub(crate) floor: f64,
}

impl Shortlist {
    /// In the order of the places: that in which they are found depends on who searches together.
    fn sorted(mut self) -> Self {
        self.found.sort_unstable_by_key(|&(place, _)| place);
        self
    }
}

/// Ordered by cost, and of equal ones by place, so that the order of a search decides nothing.
struct Dear(Found);

impl<'a> Near<'a> {
    fn new(best: Best<'a>, bound: f64, slack: f64, most: usize) -> Self {
        Self { slack, most, best, bound, found: BinaryHeap::new() }
    }

    fn shortlist(self) -> Shortlist {
        let floor = self.cutoff();
        let near = self.found.iter().filter(|found| found.0.value <= floor);
        Shortlist { found: near.map(|found| (found.0.place, found.0.square)).collect(), floor }
    }
}

impl Sink for Near<'_> {
    #[inline(always)]
    fn cutoff(&self) -> f64 {
        (self.best.value + self.slack).min(self.bound)
    }

    #[inline(always)]
    fn place(&self) -> u32 {
        self.best.place
    }

    // A search comes to each place once, so that nothing is found twice.
    #[inline(always)]
    fn offer(&mut self, found: Found) {
        self.best.offer(found);
        if self.found.len() < self.most {
            self.found.push(Dear(found));
        } else if let Some(mut last) = self.found.peek_mut().filter(|last| Dear(found) < **last) {
            *last = Dear(found);
        }
        if let (true, Some(last)) = (self.found.len() == self.most, self.found.peek()) {
            self.bound = self.bound.min(last.0.value);
        }
    }

    fn ahead(&self) -> usize {
        if self.bound.is_finite() { 0 } else { self.most.min(AHEAD * LANES).div_ceil(LANES) + 1 }
    }

    fn restart(&mut self) {
        self.found.clear();
    }
}

impl Ord for Dear {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.value.total_cmp(&other.0.value).then(self.0.place.cmp(&other.0.place))
    }
}

impl PartialOrd for Dear {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Dear {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Dear {}
