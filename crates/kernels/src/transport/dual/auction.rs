//! An auction for the transport problem: bidders pay ever more for places at the objects they like best.
//!
//! Bidder `i` has a mass to place, object `k` has room for a mass and a price `p_k`; an object costs the bidder
//! `c_ik + p_k`. A bidder with mass left bids for its cheapest object so much that this would then cost it `eps` more than
//! the second cheapest; where the room is not enough, the mass that pays least has to go and bid anew. The price of a
//! full object is the least that mass in it pays, and never falls.
//!
//! Once all mass is placed, every part of it is within `eps` of the least cost under the final prices. So the plan
//! costs at most `eps` more than the dual value of `psi = -p`, and both are within `eps` of the optimum (Bertsekas,
//! "The auction algorithm", 1988; Bertsekas and Castañón, "The auction algorithm for the transportation problem",
//! 1989).
//!
//! A bidder looks only at a short list of objects with a floor under the costs of all others. As prices never fall, a
//! floor stays true; a bidder whose whole list has risen above its floor gets a new list.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::shortlists::Shortlists;

/// Mass of one bidder in one object.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// The price it pays.
    level: f64,
    bidder: u32,
    mass: u64,
}

/// What is for sale.
#[derive(Debug, Clone)]
struct Object {
    room: u64,
    /// Mass in it.
    load: u64,
    /// What pays least is on top.
    parts: BinaryHeap<Part>,
}

/// The state of an auction.
#[derive(Debug, Clone)]
pub(super) struct Auction {
    pub(super) lists: Shortlists,
    pub(super) supply: Vec<u64>,
    objects: Vec<Object>,
    pub(super) prices: Vec<f64>,
    /// The mass of each bidder that has no place.
    left: Vec<u64>,
    /// Bidders with mass left.
    open: Vec<u32>,
    /// Those of them that need a new list.
    stale: Vec<u32>,
    pub(super) bids: usize,
}

/// Why an auction stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// All mass is placed.
    Done,
    /// Nobody can bid without a new list.
    Stale,
    /// The limit on bids is reached.
    Limit,
}

impl Auction {
    /// No mass placed yet. Supplies and rooms have the same sum.
    pub(super) fn new(lists: Shortlists, supply: Vec<u64>, rooms: &[u64], prices: Vec<f64>) -> Self {
        let objects = rooms.iter().map(|&room| Object { room, load: 0, parts: BinaryHeap::new() }).collect();
        let left = vec![0; supply.len()];
        Self { lists, supply, objects, prices, left, open: Vec::new(), stale: Vec::new(), bids: 0 }
    }

    /// Takes all mass back; the prices stay.
    pub(super) fn restart(&mut self) {
        for object in &mut self.objects {
            object.load = 0;
            object.parts.clear();
        }
        self.left.copy_from_slice(&self.supply);
        self.stale.clear();
        self.open.clear();
        // The last one bids first.
        let bidders = (0..self.supply.len() as u32).rev();
        self.open.extend(bidders.filter(|&i| self.supply[i as usize] > 0));
    }

    /// Lets bidders bid, each by at least `eps` more, until there is a reason to stop.
    pub(super) fn run(&mut self, eps: f64, limit: usize) -> Pause {
        while let Some(i) = self.open.pop() {
            if self.bids >= limit {
                self.open.push(i);
                return Pause::Limit;
            }
            self.bid(i, eps);
        }
        if self.stale.is_empty() { Pause::Done } else { Pause::Stale }
    }

    /// The bidders that need a new list before the auction can go on; they are expected to get one.
    pub(super) fn take_stale(&mut self) -> Vec<u32> {
        let mut stale = std::mem::take(&mut self.stale);
        stale.sort_unstable();
        self.open.extend(stale.iter().rev());
        stale
    }

    #[inline]
    fn bid(&mut self, i: u32, eps: f64) {
        let Some((object, raise)) = self.lists.cheapest(i as usize, &self.prices) else {
            self.stale.push(i);
            return;
        };
        self.bids += 1;
        let k = object as usize;
        let level = self.prices[k] + raise + eps;
        let object = &mut self.objects[k];
        let mass = std::mem::take(&mut self.left[i as usize]);
        object.load += mass;
        object.parts.push(Part { level, bidder: i, mass });
        while object.load > object.room {
            let Some(mut lowest) = object.parts.peek_mut() else { break };
            let gone = lowest.mass.min(object.load - object.room);
            object.load -= gone;
            let bidder = lowest.bidder;
            if gone == lowest.mass {
                std::collections::binary_heap::PeekMut::pop(lowest);
            } else {
                lowest.mass -= gone;
            }
            if self.left[bidder as usize] == 0 {
                self.open.push(bidder);
            }
            self.left[bidder as usize] += gone;
        }
        if object.load == object.room {
            // What has no room only gets dearer, or it would be bid for again and again.
            self.prices[k] = object.parts.peek().map_or(level, |lowest| lowest.level);
        }
    }

    /// Bidders, objects, and the mass of the one in the other.
    pub(super) fn placed(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        let objects = self.objects.iter().enumerate();
        objects
            .flat_map(|(k, object)| object.parts.iter().map(move |part| (part.bidder, k as u32, part.mass)))
    }

    /// A lower bound of the dual value of the prices, times the whole mass.
    pub(super) fn dual_value(&self) -> f64 {
        let paid: f64 = self.objects.iter().zip(&self.prices).map(|(o, p)| o.room as f64 * p).sum();
        let least = |(i, &mass): (usize, &u64)| mass as f64 * self.lists.least(i, &self.prices);
        self.supply.iter().enumerate().filter(|(_, mass)| **mass > 0).map(least).sum::<f64>() - paid
    }
}

/// What pays least is the greatest; among equals that of the highest number.
impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        other.level.total_cmp(&self.level).then(self.bidder.cmp(&other.bidder))
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Part {}
