//! Who bids for whom: an auction between the queries and the references.
//!
//! The side of more rows bids, so that a room holds the mass of at least about one bidder: bidders with more mass than
//! the rooms would outbid themselves. Where the references bid, they search an index over the queries, and the
//! potential follows from the prices of the queries by a c-transform.

use std::sync::Arc;

use super::{
    auction::{Auction, Pause},
    lists::Lists,
    masses::Masses,
    plan::Transfer,
};
use crate::{
    error::KernelError,
    rows::Rows,
    transport::{CTransform, Queries, References},
};

/// c-transforms that take as long as a search for lists.
const SEARCH: f64 = 5.0;

/// Bids for each bidder that take as long as a c-transform.
const BIDS: f64 = 20.0;

/// Queries that bid for the places of their references, and what they have done.
pub(super) struct Market<'a> {
    queries: &'a mut Queries,
    auction: Auction,
    /// Bidders with mass.
    active: Vec<u32>,
    /// Lists searched.
    searches: usize,
}

impl<'a> Market<'a> {
    /// Bidders in the order of the searches with their supplies, rooms of the places, and a potential to start from.
    pub(super) fn new(
        queries: &'a mut Queries,
        supply: Vec<u64>,
        rooms: &[u64],
        psi: &[f64],
    ) -> Result<Self, KernelError> {
        let references = &queries.references;
        let highest = |place| {
            let members = references.members(place).iter();
            members.map(|&j| psi[j as usize]).fold(f64::NEG_INFINITY, f64::max)
        };
        let prices: Vec<f64> = (0..references.distinct()).map(|place| -highest(place)).collect();
        let active = (0..supply.len() as u32).filter(|&i| supply[i as usize] > 0).collect();
        let lists = Lists::new(supply.len(), prices.len());
        let auction = Auction::new(lists, supply, rooms, prices);
        let mut market = Self { queries, auction, active, searches: 0 };
        market.search(None)?;
        Ok(market)
    }

    /// Sells everything with bids of `eps`, unless that takes more than `limit` c-transforms (counted from the
    /// beginning). Whether all is sold.
    pub(super) fn sell(&mut self, eps: f64, limit: f64) -> Result<bool, KernelError> {
        self.auction.restart();
        let bidders = self.active.len() as f64;
        loop {
            let left = (limit - SEARCH * self.searches as f64 / bidders).max(0.0);
            match self.auction.run(eps, (left * BIDS * bidders) as usize) {
                Pause::Done => return Ok(true),
                Pause::Limit => return Ok(false),
                Pause::Stale => {
                    let stale = self.auction.take_stale();
                    if self.evaluations() + SEARCH * stale.len() as f64 / bidders > limit {
                        return Ok(false);
                    }
                    self.search(Some(&stale))?;
                }
            }
        }
    }

    pub(super) fn log(&self) -> String {
        format!(
            "bids/N {:.2} searched/N {:.2} rounds {}",
            self.auction.bids as f64 / self.active.len() as f64,
            self.searches as f64 / self.active.len() as f64, self.auction.rounds
        )
    }

    /// The side that bids.
    pub(super) fn queries(&self) -> &Queries {
        self.queries
    }

    /// What was done, in c-transforms.
    pub(super) fn evaluations(&self) -> f64 {
        (SEARCH * self.searches as f64 + self.auction.bids as f64 / BIDS) / self.active.len() as f64
    }

    /// The value of the semi-dual at the prices, or less.
    pub(super) fn value(&self, masses: &Masses) -> f64 {
        self.auction.dual_value() / masses.total as f64
    }

    /// Minus the prices, for each reference row.
    pub(super) fn potential(&self) -> Vec<f64> {
        let references = &self.queries.references;
        (0..references.len()).map(|j| -self.auction.prices[references.place(j) as usize]).collect()
    }

    /// The plan, with queries by their original index.
    pub(super) fn plan(&self) -> Vec<Transfer> {
        let query = |bidder: u32| self.queries.order[bidder as usize];
        let plan = self.auction.plan().into_iter();
        plan.map(|(bidder, place, mass)| Transfer { query: query(bidder), place, mass }).collect()
    }

    /// The c-transform of a potential close to the prices.
    pub(super) fn c_transform(&mut self, psi: &[f64]) -> Result<CTransform, KernelError> {
        for &i in &self.active {
            if let Some((place, _)) = self.auction.lists.cheapest(i as usize, &self.auction.prices, 1e9) {
                self.queries.winners[i as usize] = place;
            }
        }
        self.queries.c_transform(psi)
    }

    /// New lists for some bidders, or all.
    fn search(&mut self, bidders: Option<&[u32]>) -> Result<(), KernelError> {
        let psi = self.potential();
        let bidders = bidders.unwrap_or(&self.active);
        self.searches += bidders.len();
        self.auction.lists.search(self.queries, &psi, bidders)
    }
}

/// The two sides exchanged: the distinct references as bidders, the queries with mass as what is for sale.
pub(super) struct Exchanged {
    /// The places of the references, as queries.
    places: Queries,
    /// The original indices of the queries with mass.
    active: Vec<u32>,
}

impl Exchanged {
    pub(super) fn new(queries: &Queries, masses: &Masses) -> Result<Self, KernelError> {
        let references = &queries.references;
        let dim = references.dim();
        let active: Vec<u32> =
            (0..queries.len() as u32).filter(|&i| masses.supply[i as usize] > 0).collect();
        let mut x = vec![0.0; active.len() * dim];
        for (row, &i) in x.chunks_exact_mut(dim).zip(&active) {
            queries.rows.read(i as usize, row);
        }
        let places = (0..references.distinct() as u32).flat_map(|p| &references.padded(p)[..dim]);
        let y = Rows::dense(places.copied().collect(), dim)?;
        Ok(Self { places: Queries::new(&Arc::new(References::new(&Rows::dense(x, dim)?)?), y)?, active })
    }

    /// The auction. `rooms` are those of the places of the references; `values` those of the c-transform of the queries:
    /// the potential on their side.
    pub(super) fn market<'a>(
        &'a mut self,
        masses: &Masses,
        rooms: &[u64],
        values: &[f64],
    ) -> Result<Market<'a>, KernelError> {
        let supply = self.places.order.iter().map(|&place| rooms[place as usize]).collect();
        let index = &self.places.references;
        let mass = |&member: &u32| masses.supply[self.active[member as usize] as usize];
        let room = |place| index.members(place).iter().map(mass).sum();
        let rooms: Vec<u64> = (0..index.distinct()).map(room).collect();
        let psi: Vec<f64> = self.active.iter().map(|&i| values[i as usize]).collect();
        Market::new(&mut self.places, supply, &rooms, &psi)
    }

    /// A plan of the exchanged auction with the sides changed back. What goes to equal queries is dealt out in turn.
    pub(super) fn back(&self, masses: &Masses, plan: &[Transfer]) -> Vec<Transfer> {
        let index = &self.places.references;
        let mut supply = masses.supply.clone();
        let mut turn = vec![0; index.distinct()];
        let mut result = Vec::with_capacity(plan.len() + supply.len());
        for &Transfer { query: place, place: kind, mass } in plan {
            let mut left = mass;
            let members = index.members(kind as usize);
            while let (Some(&member), true) = (members.get(turn[kind as usize]), left > 0) {
                let query = self.active[member as usize];
                let mass = left.min(supply[query as usize]);
                supply[query as usize] -= mass;
                left -= mass;
                turn[kind as usize] += usize::from(supply[query as usize] == 0);
                result.push(Transfer { query, place, mass });
            }
        }
        result
    }
}
