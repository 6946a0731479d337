//! For each query a short list of places of the references and a floor under the costs of all others.

use std::sync::Arc;

use rayon::prelude::*;

use crate::{
    error::KernelError,
    rows::Rows,
    transport::{
        Queries, References, bounds::squared_distance, candidates::Shortlist, plan::Strategy, queries::CHUNK,
        references::Potential,
    },
};

/// Offers on a list at first.
const LENGTH: usize = 16;

/// Offers on a list at most.
const LONGEST: usize = 1024;

/// How much longer a list gets that was not long enough.
const GROWTH: usize = 4;

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
#[derive(Debug, Clone)]
pub(super) struct Lists {
    offers: Vec<Vec<Offer>>,
    floors: Vec<f64>,
    /// What the first search found to be quicker.
    strategy: Strategy,
}

impl Lists {
    /// Searches the [`LENGTH`] cheapest places of every query under a potential.
    pub(super) fn search(queries: &Queries, potential: &Potential) -> Self {
        let all: Vec<u32> = (0..queries.len() as u32).collect();
        let (found, strategy) = queries.shortlists(potential, &all, Strategy::Adaptive, |_| LENGTH);
        let mut lists = Self { offers: vec![Vec::new(); all.len()], floors: vec![0.0; all.len()], strategy };
        found.iter().enumerate().for_each(|(i, list)| lists.put(queries, i, list));
        lists
    }

    /// Adds to the lists of queries what is cheapest for the places: the [`LENGTH`] queries that want a place most, given
    /// the `values` of their c-transform, among the `active` ones, which have weight. So every place is on some lists. The
    /// highest potential of each place that leaves these values as they are.
    ///
    /// For lists as [`Lists::search`] leaves them. Copies the active rows and the references, for an index over the former.
    pub(super) fn meet(
        &mut self,
        queries: &Queries,
        values: &[f64],
        active: &[u32],
    ) -> Result<Vec<f64>, KernelError> {
        let references = &queries.references;
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
        let potential = Potential::of(&kinds, &psi)?;
        let all: Vec<u32> = (0..places.len() as u32).collect();
        let (found, _) = places.shortlists(&potential, &all, Strategy::Adaptive, |_| LENGTH);
        let mut highest = vec![f64::INFINITY; references.distinct()];
        for (&place, list) in places.order.iter().zip(&found) {
            for &(kind, square) in &list.found {
                let highest = &mut highest[place as usize];
                *highest = highest.min(square - potential.psi[kind as usize]);
                for &member in kinds.members(kind as usize).iter().take(LENGTH) {
                    let offers = &mut self.offers[active[member as usize] as usize];
                    // Places come once each, so only what the search found can be there already.
                    if offers.iter().take(LENGTH).all(|offer| offer.place != place) {
                        offers.push(Offer { place, cost: square as f32 });
                    }
                }
            }
        }
        Ok(highest)
    }

    /// Searches longer lists for some queries.
    pub(super) fn lengthen(&mut self, queries: &Queries, potential: &Potential, some: &[u32]) {
        let length = |i: u32| (GROWTH * self.offers[i as usize].len()).min(LONGEST);
        let (found, _) = queries.shortlists(potential, some, self.strategy, length);
        some.iter().zip(&found).for_each(|(&i, list)| self.put(queries, i as usize, list));
    }

    fn put(&mut self, queries: &Queries, i: usize, list: &Shortlist) {
        let complete = list.found.len() >= queries.references.distinct();
        self.floors[i] = if complete { f64::INFINITY } else { list.floor };
        let offer = |&(place, square): &(u32, f64)| Offer { place, cost: square as f32 };
        self.offers[i] = list.found.iter().map(offer).collect();
    }

    /// Computes all costs anew, for rows that have moved. Floors are not known then.
    pub(super) fn refresh(&mut self, queries: &Queries) {
        let stride = queries.references.stride();
        self.floors.fill(f64::NEG_INFINITY);
        self.offers.par_chunks_mut(CHUNK).zip(queries.order.par_chunks(CHUNK)).for_each(|(offers, order)| {
            let mut row = vec![0.0; stride];
            for (offers, &i) in offers.iter_mut().zip(order) {
                queries.rows.read(i as usize, &mut row);
                for offer in offers {
                    offer.cost = squared_distance(&row, queries.references.padded(offer.place)) as f32;
                }
            }
        });
    }

    /// The same lists taken for complete: what is not on them does not count.
    pub(super) fn trusted(&self) -> Self {
        Self { floors: vec![f64::INFINITY; self.floors.len()], ..self.clone() }
    }

    /// Adds the last winners of the queries with weight to their lists. How many there were not.
    pub(super) fn admit(&mut self, queries: &Queries, weights: &[f64]) -> usize {
        let mut missing = 0;
        let mut row = vec![0.0; queries.references.stride()];
        let winners = queries.order.iter().zip(&queries.winners);
        for ((offers, (&i, &place)), &weight) in self.offers.iter_mut().zip(winners).zip(weights) {
            if weight > 0.0 && offers.iter().all(|offer| offer.place != place) {
                missing += 1;
                queries.rows.read(i as usize, &mut row);
                let cost = squared_distance(&row, queries.references.padded(place)) as f32;
                offers.push(Offer { place, cost });
            }
        }
        missing
    }

    /// The offers of a query.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> &[Offer] {
        &self.offers[i]
    }

    /// The cheapest place of a query under prices and by how much all others cost more; none if a place that is not
    /// on the list may be cheaper.
    #[inline(always)]
    pub(super) fn cheapest(&self, i: usize, prices: &[f64]) -> Option<(u32, f64)> {
        let floor = self.floors[i];
        let (mut first, mut second, mut best) = (f64::INFINITY, floor, Offer { place: 0, cost: 0.0 });
        for offer in self.of(i) {
            let value = f64::from(offer.cost) + prices[offer.place as usize];
            let better = value < first;
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
