//! For each query a short list of places of the references and a floor under the costs of all others.

use std::{ops::Range, sync::Arc};

use rayon::prelude::*;

use crate::{
    error::KernelError,
    rows::Rows,
    transport::{
        Queries, References, bounds::squared_distance, candidate_search::Shortlist, potential::Potential,
        strategy::Strategy,
    },
};

/// Offers on a list at first.
const LENGTH: usize = 16;

/// Offers on a list at most.
const LONGEST: usize = 1024;

/// How much longer a list gets that was not long enough.
const GROWTH: usize = 4;

/// Queries whose lists are in one piece: long pieces are copied faster, short ones change faster.
const RUN: usize = 16;

/// What rounding a cost changes at most, as a share of it, and where it is too small for that.
const ROUNDING: f64 = f32::EPSILON as f64;
const TINIEST: f64 = 2e-45;

/// A place and what it costs before its price.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) place: u32,
    /// `|x - y|^2`, rounded: values and plans that rest on it are computed anew.
    pub(super) cost: f32,
}

/// Short lists of all queries, by their positions in the order of the searches.
#[derive(Debug)]
pub(super) struct Shortlists {
    /// Of [`RUN`] queries each.
    runs: Vec<Run>,
    floors: Vec<f64>,
    /// What the first search found to be quicker.
    strategy: Strategy,
}

/// The lists of neighbouring queries, one behind the other.
#[derive(Debug, Clone)]
struct Run {
    offers: Vec<Offer>,
    ends: [u32; RUN],
}

impl Run {
    /// Of `count` queries, whose lists `fill(k, offers)` adds, of about `total` offers.
    fn of(count: usize, total: usize, mut fill: impl FnMut(usize, &mut Vec<Offer>)) -> Self {
        let mut run = Self { offers: Vec::with_capacity(total), ends: [0; RUN] };
        for (k, end) in run.ends.iter_mut().take(count).enumerate() {
            fill(k, &mut run.offers);
            *end = run.offers.len() as u32;
        }
        run
    }

    /// The same with other offers behind those that there are, in the order of their queries.
    fn with(&self, count: usize, added: &[(u32, Offer)]) -> Self {
        let mut rest = added.iter().peekable();
        Self::of(count, self.offers.len() + added.len(), |k, offers| {
            offers.extend_from_slice(&self.offers[self.list(k)]);
            while let Some((_, offer)) = rest.next_if(|(i, _)| *i as usize % RUN == k) {
                offers.push(*offer);
            }
        })
    }

    #[inline(always)]
    fn list(&self, k: usize) -> Range<usize> {
        let start = if k == 0 { 0 } else { self.ends[k - 1] };
        start as usize..self.ends[k] as usize
    }
}

impl Clone for Shortlists {
    fn clone(&self) -> Self {
        let runs = self.runs.par_iter().cloned().collect();
        Self { runs, floors: self.floors.clone(), strategy: self.strategy }
    }
}

impl Shortlists {
    /// Searches the [`LENGTH`] cheapest places of every query under a potential.
    pub(super) fn search(queries: &Queries, potential: &Potential) -> Self {
        let all: Vec<u32> = (0..queries.len() as u32).collect();
        let (found, strategy) = queries.shortlists(potential, &all, Strategy::Adaptive, |_| LENGTH);
        let run = |found: &[Shortlist]| {
            let total = found.iter().map(|list| list.found.len()).sum();
            Run::of(found.len(), total, |k, offers| offers.extend(offered(&found[k])))
        };
        let runs = found.par_chunks(RUN).map(run).collect();
        let floors = found.iter().map(|list| floor(queries, list)).collect();
        Self { runs, floors, strategy }
    }

    /// Adds to the lists of queries what is cheapest for the places: the [`LENGTH`] queries that want a place most, given
    /// the `values` of their c-transform, among the `active` ones, which have weight. So every place is on some lists. The
    /// highest potential of each place that leaves these values as they are.
    ///
    /// For lists as [`Shortlists::search`] leaves them. Copies the active rows and the references, for an index over the former.
    pub(super) fn add_cheapest_queries(
        &mut self,
        queries: &Queries,
        values: &[f64],
        active: &[u32],
    ) -> Result<Vec<f64>, KernelError> {
        let references = queries.index();
        let dim = references.dim();
        let original = |position: u32| queries.order[position as usize] as usize;
        let mut x = vec![0.0; active.len() * dim];
        x.par_chunks_exact_mut(dim)
            .zip(active)
            .for_each(|(row, &position)| queries.rows.read(original(position), row));
        let y =
            (0..references.distinct() as u32).flat_map(|p| &references.padded(p)[..dim]).copied().collect();
        let kinds = Arc::new(References::new(&Rows::dense(x, dim)?)?);
        let places = Queries::new(&kinds, Rows::dense(y, dim)?)?;
        let psi: Vec<f64> = active.iter().map(|&position| values[original(position)]).collect();
        let potential = Potential::of(&kinds.index, &psi)?;
        let all: Vec<u32> = (0..places.len() as u32).collect();
        let (found, _) = places.shortlists(&potential, &all, Strategy::Adaptive, |_| LENGTH);
        let mut highest = vec![f64::INFINITY; references.distinct()];
        let mut added = Vec::new();
        for (&place, list) in places.order.iter().zip(&found) {
            for &(kind, square) in &list.found {
                let highest = &mut highest[place as usize];
                *highest = highest.min(square - potential.psi[kind as usize]);
                for &member in kinds.index.members(kind as usize).iter().take(LENGTH) {
                    let position = active[member as usize];
                    // Places come once each, so only what the search found can be there already.
                    if self.of(position as usize).iter().all(|offer| offer.place != place) {
                        added.push((position, Offer { place, cost: square as f32 }));
                    }
                }
            }
        }
        added.par_sort_by_key(|(position, _)| *position);
        let count = self.floors.len();
        for added in added.chunk_by(|a, b| a.0 as usize / RUN == b.0 as usize / RUN) {
            let run = added[0].0 as usize / RUN;
            self.runs[run] = self.runs[run].with(RUN.min(count - run * RUN), added);
        }
        Ok(highest)
    }

    /// Searches longer lists for some queries, in their order.
    pub(super) fn lengthen(&mut self, queries: &Queries, potential: &Potential, some: &[u32]) {
        let length = |i: u32| (GROWTH * self.of(i as usize).len()).min(LONGEST);
        let (found, _) = queries.shortlists(potential, some, self.strategy, length);
        let mut longer = some.iter().zip(&found).peekable();
        while let Some(&(&first, _)) = longer.peek() {
            let run = first as usize / RUN;
            let of_run = RUN.min(self.floors.len() - run * RUN);
            let old = &self.runs[run];
            self.runs[run] = Run::of(of_run, old.offers.len(), |k, offers| {
                let i = run * RUN + k;
                match longer.next_if(|(some, _)| **some as usize == i) {
                    Some((_, list)) => {
                        self.floors[i] = floor(queries, list);
                        offers.extend(offered(list));
                    }
                    None => offers.extend_from_slice(&old.offers[old.list(k)]),
                }
            });
        }
    }

    /// Computes all costs anew, for rows that have moved. Floors are not known then.
    pub(super) fn refresh(&mut self, queries: &Queries) {
        let stride = queries.index().stride();
        self.floors.fill(f64::NEG_INFINITY);
        let runs = self.runs.par_iter_mut().zip(queries.order.par_chunks(RUN)).with_min_len(RUN);
        runs.for_each_init(
            || vec![0.0; stride],
            |row, (run, order)| {
                for (k, &i) in order.iter().enumerate() {
                    queries.rows.read(i as usize, row);
                    let list = run.list(k);
                    for offer in &mut run.offers[list] {
                        offer.cost = squared_distance(row, queries.index().padded(offer.place)) as f32;
                    }
                }
            },
        );
    }

    /// The same lists taken for complete: what is not on them does not count.
    pub(super) fn as_complete(&self) -> Self {
        Self { floors: vec![f64::INFINITY; self.floors.len()], ..self.clone() }
    }

    /// Adds the last winners of the queries with weight to their lists. How many there were not.
    pub(super) fn add_winners(&mut self, queries: &Queries, weights: &[f64]) -> usize {
        let (order, winners) = (queries.order.par_chunks(RUN), queries.winners.par_chunks(RUN));
        let runs = self.runs.par_iter_mut().zip(order).zip(winners).zip(weights.par_chunks(RUN));
        let row = || vec![0.0; queries.index().stride()];
        let admitted = runs.with_min_len(RUN).map_init(row, |row, (((run, order), winners), weights)| {
            let mut added = Vec::new();
            for (k, (&place, &weight)) in winners.iter().zip(weights).enumerate() {
                if weight > 0.0 && run.offers[run.list(k)].iter().all(|offer| offer.place != place) {
                    queries.rows.read(order[k] as usize, row);
                    let cost = squared_distance(row, queries.index().padded(place)) as f32;
                    added.push((k as u32, Offer { place, cost }));
                }
            }
            if !added.is_empty() {
                *run = run.with(order.len(), &added);
            }
            added.len()
        });
        admitted.sum()
    }

    /// The offers of a query.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> &[Offer] {
        let run = &self.runs[i / RUN];
        &run.offers[run.list(i % RUN)]
    }

    /// The cheapest place of a query under prices and by how much all others cost more; none if a place that is not
    /// on the list may be cheaper.
    #[inline(always)]
    pub(super) fn cheapest(&self, i: usize, prices: &[f64]) -> Option<(u32, f64)> {
        let floor = self.floors[i];
        let (mut first, mut second, mut best) = (f64::INFINITY, floor, Offer { place: 0, cost: 0.0 });
        for offer in self.of(i) {
            let value = f64::from(offer.cost) + prices[offer.place as usize];
            // In no order, so that it does not matter in which one a search came to them.
            let better = value < first || value == first && offer.place < best.place;
            second = second.min(if better { first } else { value });
            best = if better { *offer } else { best };
            first = if better { value } else { first };
        }
        // A floor is not rounded as costs are, which must not tell equal costs apart.
        if first - ROUNDING * f64::from(best.cost) > floor {
            return None;
        }
        Some((best.place, if second.is_finite() { (second - first).max(0.0) } else { 0.0 }))
    }

    /// The least cost of a query under prices, or less.
    #[inline(always)]
    pub(super) fn least(&self, i: usize, prices: &[f64]) -> f64 {
        let low = |cost: f32| f64::from(cost) * (1.0 - ROUNDING) - TINIEST;
        let values = self.of(i).iter().map(|offer| low(offer.cost) + prices[offer.place as usize]);
        values.fold(self.floors[i], f64::min)
    }
}

/// What a search found, as offers.
fn offered(list: &Shortlist) -> impl Iterator<Item = Offer> + '_ {
    list.found.iter().map(|&(place, square)| Offer { place, cost: square as f32 })
}

/// What all others cost at least: there are none where the list has all places.
fn floor(queries: &Queries, list: &Shortlist) -> f64 {
    if list.found.len() >= queries.index().distinct() { f64::INFINITY } else { list.floor }
}
