//! For each bidder of an auction a short list of objects and a floor under the costs of all others.

use crate::{
    error::KernelError,
    transport::{Queries, candidates::Shortlist, references::Potential},
};

/// Offers on a list.
const LENGTH: usize = 16;

/// An object and what it costs before its price.
#[derive(Debug, Clone, Copy)]
struct Offer {
    object: u32,
    /// `|x - y|^2`, rounded: a plan that rests on it is priced anew.
    cost: f32,
}

/// Short lists of all bidders, each of the same length (repeating an offer where there are fewer).
#[derive(Debug, Clone)]
pub(super) struct Lists {
    length: usize,
    /// Whether every object is on every list.
    complete: bool,
    offers: Vec<Offer>,
    floors: Vec<f64>,
}

impl Lists {
    /// Empty lists.
    pub(super) fn new(bidders: usize, objects: usize) -> Self {
        let length = LENGTH.min(objects);
        let length = std::env::var("LENGTH").ok().and_then(|v| v.parse().ok()).unwrap_or(length);
        let none = Offer { object: 0, cost: f32::INFINITY };
        Self { length, complete: objects <= length, offers: vec![none; bidders * length], floors: vec![f64::INFINITY; bidders] }
    }

    /// Searches new lists for some bidders (positions of queries), under `psi` (one for each reference row).
    pub(super) fn search(
        &mut self,
        queries: &Queries,
        psi: &[f64],
        bidders: &[u32],
    ) -> Result<(), KernelError> {
        let potential = Potential::of(&queries.references, psi)?;
        for (&i, list) in bidders.iter().zip(queries.shortlists(&potential, bidders, self.length)) {
            self.put(i as usize, &list);
        }
        Ok(())
    }

    fn put(&mut self, i: usize, list: &Shortlist) {
        self.floors[i] = if self.complete { f64::INFINITY } else { list.floor };
        let offers = &mut self.offers[i * self.length..][..self.length];
        offers.fill(Offer { object: 0, cost: f32::INFINITY });
        for (offer, &(object, square)) in offers.iter_mut().zip(&list.found) {
            *offer = Offer { object, cost: square as f32 };
        }
    }

    #[inline(always)]
    fn of(&self, i: usize) -> &[Offer] {
        &self.offers[i * self.length..][..self.length]
    }

    /// The cheapest object of a bidder and by how much all others cost more; none if an object that is not on the
    /// list may be cheaper.
    #[inline(always)]
    pub(super) fn cheapest(&self, i: usize, prices: &[f64], slack: f64) -> Option<(u32, f64)> {
        let floor = self.floors[i] + slack;
        let (mut first, mut second, mut best) = (f64::INFINITY, floor, 0);
        for offer in self.of(i) {
            let value = f64::from(offer.cost) + prices[offer.object as usize];
            let better = value < first;
            second = second.min(if better { first } else { value });
            best = if better { offer.object } else { best };
            first = if better { value } else { first };
        }
        if first > floor {
            return None;
        }
        Some((best, if second.is_finite() { second - first } else { 0.0 }))
    }

    /// The least cost for a bidder, or less.
    #[inline(always)]
    pub(super) fn least(&self, i: usize, prices: &[f64]) -> f64 {
        let values = self.of(i).iter().map(|offer| f64::from(offer.cost) + prices[offer.object as usize]);
        values.fold(self.floors[i], f64::min)
    }
}
