//! The search for the cheapest references of each query: to remember them, or for lists that a solver works on.

use std::{cmp::Ordering, collections::BinaryHeap};

use rayon::prelude::*;

use super::{
    c_transform::CTransform,
    candidates::Candidates,
    potential::Potential,
    queries::{CHUNK, Queries},
    search::{Best, Found, Sink},
    strategy::{OpenQuery, SearchPlan, Strategy},
};
use crate::{
    error::KernelError,
    simd::{Isa, LANES},
};

/// Leaves to look at for a first bound, at most.
const AHEAD: usize = 4;

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
    pub fn cache_candidates(
        &mut self,
        psi: &[f64],
        slack: f64,
        most: usize,
    ) -> Result<CTransform, KernelError> {
        if slack.is_nan() || slack < 0.0 || most == 0 {
            let expected = "a slack of at least 0 and at least one candidate";
            return Err(KernelError::new("candidates to remember", expected, format!("{slack} and {most}")));
        }
        let potential = Potential::of(self.index(), psi)?;
        let mut places = std::mem::take(&mut self.winners);
        let plan = SearchPlan::new(self, &potential, &places, (Strategy::Adaptive, Isa::V4));
        let known = self.candidates.as_ref().map(|candidates| candidates.under(&potential));
        let bound = |position| known.as_ref().map_or(f64::INFINITY, |known| known.bound(position, most));
        let sink =
            |open: &OpenQuery, best| CheapestFound::new(best, bound(open.position as usize), slack, most);
        let chunks: Vec<Vec<(Best<'_>, Shortlist)>> = places
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(c, starts)| {
                let position = |k: usize| (c * CHUNK + k) as u32;
                let open =
                    starts.iter().enumerate().map(|(k, &start)| OpenQuery { position: position(k), start });
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
        let plan = SearchPlan::new(self, potential, &self.winners, (strategy, Isa::V4));
        let sink = |open: &OpenQuery, best| {
            CheapestFound::new(best, f64::INFINITY, f64::INFINITY, most(open.position))
        };
        // Few long lists take as long as many short ones.
        let size = CHUNK.min(positions.len().div_ceil(rayon::current_num_threads()).max(1));
        let chunks = positions.par_chunks(size).map(|positions| {
            let open = |&position: &u32| OpenQuery { position, start: self.winners[position as usize] };
            let near = plan.run(&positions.iter().map(open).collect::<Vec<_>>(), sink);
            near.into_iter().map(|near| near.shortlist().sorted()).collect::<Vec<_>>()
        });
        (chunks.collect::<Vec<_>>().into_iter().flatten().collect(), plan.decided())
    }

    /// Forgets what [`Queries::cache_candidates`] has kept, and frees its memory.
    pub fn clear_candidates(&mut self) {
        self.candidates = None;
    }
}

/// The places whose cost is at most `slack` above the least, but no more than the `most` cheapest.
struct CheapestFound<'a> {
    slack: f64,
    most: usize,
    /// The cheapest place: of more than `most` equally cheap ones it may be missing among those that are kept.
    best: Best<'a>,
    /// A cost that `most` places do not exceed.
    bound: f64,
    /// The most expensive on top.
    found: BinaryHeap<ByCost>,
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
struct ByCost(Found);

impl<'a> CheapestFound<'a> {
    fn new(best: Best<'a>, bound: f64, slack: f64, most: usize) -> Self {
        Self { slack, most, best, bound, found: BinaryHeap::new() }
    }

    fn shortlist(self) -> Shortlist {
        let floor = self.cutoff();
        let near = self.found.iter().filter(|found| found.0.value <= floor);
        Shortlist { found: near.map(|found| (found.0.place, found.0.square)).collect(), floor }
    }
}

impl Sink for CheapestFound<'_> {
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
            self.found.push(ByCost(found));
        } else if let Some(mut last) = self.found.peek_mut().filter(|last| ByCost(found) < **last) {
            *last = ByCost(found);
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

impl Ord for ByCost {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.value.total_cmp(&other.0.value).then(self.0.place.cmp(&other.0.place))
    }
}

impl PartialOrd for ByCost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByCost {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByCost {}
