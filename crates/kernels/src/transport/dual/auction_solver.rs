//! Who bids for whom: an auction between the queries and the references.
//!
//! The side of more rows bids, so that a room holds the mass of at least about one bidder: bidders with more mass than
//! the rooms would outbid themselves. Where the references bid, they search an index over the queries, and the
//! potential follows from the prices of the queries by a c-transform.
//!
//! Masses are rounded to few units for each bidder, so that none is split again and again; what rounding has displaced then
//! finds its way along [`augmenting_paths`](super::augmenting_paths).

use std::{iter::Peekable, sync::Arc};

use super::{
    auction::{Auction, Pause},
    augmenting_paths::AugmentingPaths,
    integer_marginals::{IntegerMarginals, whole},
    shortlists::Shortlists,
    transport_plan::{self, Transfer},
};
use crate::{
    error::KernelError,
    rows::Rows,
    transport::{Queries, References, potential::Potential},
};

/// c-transforms that take as long as a search for lists of all queries.
pub(super) const SEARCH: f64 = 4.0;

/// Bids for each bidder that take as long as a c-transform.
const BIDS: f64 = 5.0;

/// The share of the mass that may be elsewhere in an auction, and units that bidders are not split further for.
const CLOSE: f64 = 2e-3;
const MOST: u64 = 1 << 20;

/// Queries that bid for the places of their references, and what they have done.
pub(super) struct AuctionSolver<'a> {
    queries: &'a Queries,
    auction: Auction,
    potential: Potential,
    /// Bidders with mass, equal ones counted each, as a c-transform looks at each.
    active: usize,
    /// Lists searched.
    searches: usize,
}

impl<'a> AuctionSolver<'a> {
    /// Bidders in the order of the searches with their supplies, rooms of the places (of the same sum), and the potential
    /// of the places to start from.
    pub(super) fn new(queries: &'a Queries, supply: Vec<u64>, rooms: &[u64], psi: Vec<f64>) -> Self {
        let potential = Potential::at_places(queries.index(), psi);
        let lists = Shortlists::search(queries, &potential);
        let searches = queries.len();
        Self { searches, ..Self::on(queries, lists, supply, rooms, potential) }
    }

    /// The same on lists that there are.
    fn on(
        queries: &'a Queries,
        lists: Shortlists,
        supply: Vec<u64>,
        rooms: &[u64],
        potential: Potential,
    ) -> Self {
        let active = supply.iter().filter(|mass| **mass > 0).count();
        let prices = potential.psi.iter().map(|psi| -psi).collect();
        let auction = Auction::new(lists, supply, rooms, prices);
        Self { queries, auction, potential, active, searches: 0 }
    }

    /// Sells everything with bids of `eps`, unless that takes more than `limit` c-transforms (counted from the
    /// beginning). Whether all is sold.
    pub(super) fn run(&mut self, eps: f64, limit: f64) -> bool {
        self.auction.restart();
        let bidders = self.active as f64;
        loop {
            let left = (limit - SEARCH * self.searches as f64 / bidders).max(0.0);
            match self.auction.run(eps, (left * BIDS * bidders) as usize) {
                Pause::Done => return true,
                Pause::Limit => return false,
                Pause::Stale => {
                    let stale = self.auction.take_stale();
                    if self.evaluations() + SEARCH * stale.len() as f64 / bidders > limit {
                        return false;
                    }
                    self.searches += stale.len();
                    self.potential.lower_to(self.auction.prices.iter().map(|price| -price));
                    self.auction.lists.lengthen(self.queries, &self.potential, &stale);
                }
            }
        }
    }

    /// What was done, in c-transforms.
    pub(super) fn evaluations(&self) -> f64 {
        (SEARCH * self.searches as f64 + self.auction.bids as f64 / BIDS) / self.active as f64
    }

    /// The value of the semi-dual at the prices, or less, for masses of sum 1.
    pub(super) fn value(&self) -> f64 {
        self.auction.dual_value() / self.auction.supply.iter().sum::<u64>() as f64
    }

    /// Minus the prices.
    pub(super) fn psi(&self) -> Vec<f64> {
        self.auction.prices.iter().map(|price| -price).collect()
    }

    /// The sum of the supplies.
    fn units(&self) -> u64 {
        self.auction.supply.iter().sum()
    }

    /// What goes to whom where masses and rooms are the exact ones: positions of bidders, places, masses. Paths for what
    /// rounding has displaced may take `most` c-transforms; something may be left over.
    pub(super) fn placed(&mut self, supply: Vec<u64>, rooms: Vec<u64>, most: f64) -> Vec<(u32, u32, u64)> {
        let (total, units) = (supply.iter().sum(), self.units());
        let mut paths = AugmentingPaths::new(&self.auction.lists, &self.auction.prices, supply, rooms);
        for (bidder, object, mass) in self.auction.placed() {
            paths.place(bidder, object, scaled(mass, total, units));
        }
        paths.fill((most * BIDS * self.active as f64) as usize);
        let placed = paths.placed().collect();
        self.auction.bids += paths.steps;
        placed
    }
}

/// Takes `mass` from the supplies of members, one after the other.
fn distribute(
    members: &mut Peekable<impl Iterator<Item = u32>>,
    supply: &mut [u64],
    mass: u64,
    mut take: impl FnMut(u32, u64),
) {
    let mut left = mass;
    while let (Some(&query), true) = (members.peek(), left > 0) {
        let supply = &mut supply[query as usize];
        let part = left.min(*supply);
        *supply -= part;
        left -= part;
        if *supply == 0 {
            members.next();
        }
        if part > 0 {
            take(query, part);
        }
    }
}

/// `mass` of `units` as a mass of `total`, rounded up: too much is cut off later.
fn scaled(mass: u64, total: u64, units: u64) -> u64 {
    (u128::from(mass) * u128::from(total)).div_ceil(u128::from(units)) as u64
}

/// Masses in units small enough that their marginals are nearly the exact ones, but not more units than needed: they
/// bound the parts that bidders are split into. Supplies and rooms of the same sum.
fn in_units(supply: &[u64], rooms: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let exact: u64 = supply.iter().sum();
    if exact <= MOST {
        return (supply.to_vec(), rooms.to_vec());
    }
    let active = supply.iter().filter(|mass| **mass > 0).count() as u64;
    let distance = |exact: &[u64], whole: &[u64], units: u64| {
        let total: u64 = exact.iter().sum();
        let off = |(&e, &w): (&u64, &u64)| (e as f64 / total as f64 - w as f64 / units as f64).abs();
        exact.iter().zip(whole).map(off).sum::<f64>() / 2.0
    };
    let mut units = active;
    loop {
        let (s, r) = (whole(supply, units), whole(rooms, units));
        if 2 * units > MOST || distance(supply, &s, units) + distance(rooms, &r, units) < CLOSE {
            return (s, r);
        }
        units *= 2;
    }
}

/// The queries as bidders, neighbours with equal rows as one: in a flat region there may be a hundred thousand of them, who
/// would all need long lists. `None` where there are fewer bidders than places.
pub(super) struct ForwardAuction {
    /// By position; that of neighbours with equal rows at the first of them.
    exact: Vec<u64>,
    /// The same in units.
    supply: Vec<u64>,
    rooms: Vec<u64>,
    /// Whether the row at a position is the same as that before it.
    repeats: Vec<bool>,
    /// Queries with mass.
    active: usize,
}

impl ForwardAuction {
    pub(super) fn new(queries: &Queries, masses: &IntegerMarginals) -> Option<Self> {
        let mut exact: Vec<u64> = queries.order.iter().map(|&i| masses.supply[i as usize]).collect();
        let active = exact.iter().filter(|mass| **mass > 0).count();
        let repeats = queries.repeats();
        let mut first = 0;
        for position in 0..exact.len() {
            if repeats[position] {
                exact[first] += std::mem::take(&mut exact[position]);
            } else {
                first = position;
            }
        }
        let rooms = transport_plan::rooms(queries, masses);
        if exact.iter().filter(|mass| **mass > 0).count() < rooms.len() {
            return None;
        }
        let (supply, rooms) = in_units(&exact, &rooms);
        Some(Self { exact, supply, rooms, repeats, active })
    }

    pub(super) fn solver<'a>(&self, queries: &'a Queries, psi: &[f64]) -> AuctionSolver<'a> {
        let solver = AuctionSolver::new(queries, self.supply.clone(), &self.rooms, psi.to_vec());
        AuctionSolver { active: self.active, ..solver }
    }

    /// A solver on lists that are taken for complete.
    pub(super) fn solver_on<'a>(
        &self,
        queries: &'a Queries,
        lists: &Shortlists,
        psi: &[f64],
    ) -> AuctionSolver<'a> {
        let potential = Potential::at_places(queries.index(), psi.to_vec());
        let solver =
            AuctionSolver::on(queries, lists.as_complete(), self.supply.clone(), &self.rooms, potential);
        AuctionSolver { active: self.active, ..solver }
    }

    /// The plan of the auction; paths may take `most` c-transforms. What equal rows have bid for is dealt out in turn.
    pub(super) fn plan(
        &self,
        solver: &mut AuctionSolver<'_>,
        queries: &Queries,
        masses: &IntegerMarginals,
        most: f64,
    ) -> Vec<Transfer> {
        let mut placed = solver.placed(self.exact.clone(), transport_plan::rooms(queries, masses), most);
        placed.sort_by_key(|&(bidder, _, _)| bidder);
        let mut supply = masses.supply.clone();
        let mut wanted = Vec::with_capacity(placed.len());
        for sold in placed.chunk_by(|a, b| a.0 == b.0) {
            let first = sold[0].0 as usize;
            let others = self.repeats[first + 1..].iter().take_while(|repeats| **repeats).count();
            let mut members = queries.order[first..=first + others].iter().copied().peekable();
            for &(_, place, mass) in sold {
                distribute(&mut members, &mut supply, mass, |query, mass| {
                    wanted.push(Transfer { query, place, mass })
                });
            }
        }
        transport_plan::feasible(queries, masses, wanted)
    }
}

/// The two sides exchanged: the distinct references as bidders, the queries with mass as what is for sale.
pub(super) struct ReverseAuction {
    /// The places of the references, as queries.
    places: Queries,
    /// The original indices of the queries with mass.
    active: Vec<u32>,
}

impl ReverseAuction {
    pub(super) fn new(queries: &Queries, masses: &IntegerMarginals) -> Result<Self, KernelError> {
        let references = queries.index();
        let dim = references.dim();
        let active: Vec<u32> = (0..queries.len() as u32).filter(|&i| masses.supply[i as usize] > 0).collect();
        let mut x = vec![0.0; active.len() * dim];
        for (row, &i) in x.chunks_exact_mut(dim).zip(&active) {
            queries.rows.read(i as usize, row);
        }
        let places = (0..references.distinct() as u32).flat_map(|p| &references.padded(p)[..dim]);
        let y = Rows::dense(places.copied().collect(), dim)?;
        Ok(Self { places: Queries::new(&Arc::new(References::new(&Rows::dense(x, dim)?)?), y)?, active })
    }

    /// The auction. `values` are those of the c-transform of the queries: the potential on their side.
    pub(super) fn solver(
        &self,
        queries: &Queries,
        masses: &IntegerMarginals,
        values: &[f64],
    ) -> AuctionSolver<'_> {
        let kinds = 0..self.places.index().distinct();
        let highest = |kind| self.members(kind).map(|i| values[i]).fold(f64::MIN, f64::max);
        let (supply, rooms) = self.masses(queries, masses);
        let (supply, rooms) = in_units(&supply, &rooms);
        AuctionSolver::new(&self.places, supply, &rooms, kinds.map(highest).collect())
    }

    /// What the places take, and what there is of each kind of queries.
    fn masses(&self, queries: &Queries, masses: &IntegerMarginals) -> (Vec<u64>, Vec<u64>) {
        let rooms = transport_plan::rooms(queries, masses);
        let kinds = 0..self.places.index().distinct();
        let sum = |kind| self.members(kind).map(|i| masses.supply[i]).sum();
        (self.places.order.iter().map(|&place| rooms[place as usize]).collect(), kinds.map(sum).collect())
    }

    /// The queries of a kind.
    fn members(&self, kind: usize) -> impl Iterator<Item = usize> + '_ {
        self.places.index().members(kind).iter().map(|&member| self.active[member as usize] as usize)
    }

    /// The potential on the side of the references that the prices give, by place.
    pub(super) fn psi(&mut self, prices: &[f64]) -> Result<Vec<f64>, KernelError> {
        let kinds = Arc::clone(&self.places.references);
        let psi: Vec<f64> =
            (0..kinds.len()).map(|member| prices[kinds.index.place(member) as usize]).collect();
        Ok(self.places.c_transform(&psi)?.values)
    }

    /// The plan of the auction with the sides changed back; paths may take `most` c-transforms. What goes to equal queries is dealt
    /// out in turn.
    pub(super) fn plan(
        &self,
        solver: &mut AuctionSolver<'_>,
        queries: &Queries,
        masses: &IntegerMarginals,
        most: f64,
    ) -> Vec<Transfer> {
        let (rooms, kinds) = self.masses(queries, masses);
        let mut placed = solver.placed(rooms, kinds, most);
        placed.sort_by_key(|&(_, kind, _)| kind);
        let mut supply = masses.supply.clone();
        let mut wanted = Vec::with_capacity(2 * supply.len());
        for sold in placed.chunk_by(|a, b| a.1 == b.1) {
            let mut members = self.members(sold[0].1 as usize).map(|query| query as u32).peekable();
            for &(bidder, _, mass) in sold {
                let place = self.places.order[bidder as usize];
                distribute(&mut members, &mut supply, mass, |query, mass| {
                    wanted.push(Transfer { query, place, mass })
                });
            }
        }
        transport_plan::feasible(queries, masses, wanted)
    }
}
