//! What an auction of rounded masses has not placed: shortest paths to where there is room.
//!
//! Mass goes from its bidder to an object on its list; where that is full, the mass of another bidder makes way and goes on
//! to an object on its own list, until there is room. An edge costs by how much its object is dearer than the bidder's
//! cheapest one under the prices of the auction, making way costs nothing: next to optimal prices it is within the
//! auction's `eps` of that. Such paths keep a plan near its least cost (the successive shortest path algorithm, see Ahuja,
//! Magnanti and Orlin, "Network flows", 1993, section 9.7). What is found is a plan whatever the prices are.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::shortlists::{Offer, Shortlists};

/// Who has how much of which object, in masses that are exact.
pub(super) struct AugmentingPaths<'a> {
    lists: &'a Shortlists,
    prices: &'a [f64],
    /// The mass of each bidder that has no place.
    left: Vec<u64>,
    /// The room left at each object.
    rooms: Vec<u64>,
    /// By object: bidders and their masses, of one bidder also several.
    parts: Vec<Vec<(u32, u64)>>,
    /// The number of the present search, from 1.
    search: u32,
    /// By bidder: the search that it was last seen in, and the object that it made way at.
    seen: Vec<u32>,
    from_object: Vec<u32>,
    /// By object: the search that it was last reached in, how far it is, and from which bidder.
    reached: Vec<u32>,
    distance: Vec<f64>,
    from_bidder: Vec<u32>,
    /// Bidders looked at in all searches.
    pub(super) steps: usize,
}

/// A distance that is a number, as a key of a heap.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key(f64, u32);

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> AugmentingPaths<'a> {
    /// Lists of the bidders, prices of the objects, the masses of the ones and the rooms of the others.
    pub(super) fn new(lists: &'a Shortlists, prices: &'a [f64], supply: Vec<u64>, rooms: Vec<u64>) -> Self {
        let (bidders, objects) = (supply.len(), rooms.len());
        Self {
            lists,
            prices,
            left: supply,
            rooms,
            parts: vec![Vec::new(); objects],
            search: 0,
            seen: vec![0; bidders],
            from_object: vec![0; bidders],
            reached: vec![0; objects],
            distance: vec![0.0; objects],
            from_bidder: vec![0; objects],
            steps: 0,
        }
    }

    /// Places as much of `most` as there is mass and room.
    pub(super) fn place(&mut self, bidder: u32, object: u32, most: u64) {
        let (b, o) = (bidder as usize, object as usize);
        let mass = most.min(self.left[b]).min(self.rooms[o]);
        if mass > 0 {
            self.left[b] -= mass;
            self.rooms[o] -= mass;
            self.parts[o].push((bidder, mass));
        }
    }

    /// Places what is left along paths, as long as `most` bidders looked at suffice; after that at the cheapest objects with room
    /// on the lists.
    pub(super) fn fill(&mut self, most: usize) {
        for bidder in 0..self.left.len() as u32 {
            while self.left[bidder as usize] > 0 && self.steps < most && self.spread(bidder, most) {}
        }
        for bidder in 0..self.left.len() as u32 {
            if self.left[bidder as usize] > 0 {
                let price = |offer: &Offer| f64::from(offer.cost) + self.prices[offer.place as usize];
                let mut offers = self.lists.of(bidder as usize).to_vec();
                offers.sort_by(|a, b| price(a).total_cmp(&price(b)));
                offers.iter().for_each(|offer| self.place(bidder, offer.place, u64::MAX));
            }
        }
    }

    /// What goes where: bidders, objects, masses.
    pub(super) fn placed(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        let objects = self.parts.iter().enumerate();
        objects.flat_map(|(o, parts)| parts.iter().map(move |&(bidder, mass)| (bidder, o as u32, mass)))
    }

    /// One search for shortest paths from a bidder, whose mass goes to what room is found, the nearest first. Whether any went.
    fn spread(&mut self, bidder: u32, most: usize) -> bool {
        self.search += 1;
        let mut any = false;
        let mut heap = BinaryHeap::new();
        self.seen[bidder as usize] = self.search;
        self.reach(bidder, 0.0, &mut heap);
        while let Some(Reverse(Key(distance, object))) = heap.pop() {
            let o = object as usize;
            if distance > self.distance[o] {
                continue;
            }
            if self.rooms[o] > 0 {
                let moved = self.shift(bidder, object);
                any |= moved > 0;
                if self.left[bidder as usize] == 0 {
                    return true;
                }
                // Where the path is used up another search may find another one.
                if self.rooms[o] > 0 {
                    continue;
                }
            }
            for k in 0..self.parts[o].len() {
                let (other, _) = self.parts[o][k];
                if self.seen[other as usize] < self.search {
                    self.seen[other as usize] = self.search;
                    self.from_object[other as usize] = object;
                    self.reach(other, distance, &mut heap);
                }
            }
            if self.steps >= most {
                break;
            }
        }
        any
    }

    /// Goes on from a bidder to the objects on its list.
    fn reach(&mut self, bidder: u32, distance: f64, heap: &mut BinaryHeap<Reverse<Key>>) {
        self.steps += 1;
        let offers = self.lists.of(bidder as usize);
        let dear = |place: u32, cost: f32| f64::from(cost) + self.prices[place as usize];
        let least = offers.iter().map(|offer| dear(offer.place, offer.cost)).fold(f64::INFINITY, f64::min);
        for offer in offers {
            let o = offer.place as usize;
            let distance = distance + (dear(offer.place, offer.cost) - least);
            if self.reached[o] < self.search || distance < self.distance[o] {
                self.reached[o] = self.search;
                self.distance[o] = distance;
                self.from_bidder[o] = bidder;
                heap.push(Reverse(Key(distance, offer.place)));
            }
        }
    }

    /// Moves as much as goes along the path that was found from a bidder to an object with room. How much that is.
    fn shift(&mut self, bidder: u32, end: u32) -> u64 {
        let mut mass = self.left[bidder as usize].min(self.rooms[end as usize]);
        let mut path = vec![(self.from_bidder[end as usize], end)];
        while let Some(&(other, _)) = path.last().filter(|(other, _)| *other != bidder) {
            let object = self.from_object[other as usize];
            mass = mass.min(self.mass(other, object));
            path.push((self.from_bidder[object as usize], object));
        }
        if mass == 0 {
            return 0;
        }
        self.left[bidder as usize] -= mass;
        self.rooms[end as usize] -= mass;
        for &(other, object) in &path {
            self.add(other, object, mass);
            if other != bidder {
                self.remove(other, self.from_object[other as usize], mass);
            }
        }
        mass
    }

    fn mass(&self, bidder: u32, object: u32) -> u64 {
        let parts = &self.parts[object as usize];
        parts.iter().find(|part| part.0 == bidder).map_or(0, |part| part.1)
    }

    fn add(&mut self, bidder: u32, object: u32, mass: u64) {
        let parts = &mut self.parts[object as usize];
        match parts.iter_mut().find(|part| part.0 == bidder) {
            Some(part) => part.1 += mass,
            None => parts.push((bidder, mass)),
        }
    }

    fn remove(&mut self, bidder: u32, object: u32, mass: u64) {
        let parts = &mut self.parts[object as usize];
        if let Some(k) = parts.iter().position(|part| part.0 == bidder) {
            parts[k].1 -= mass;
            if parts[k].1 == 0 {
                parts.swap_remove(k);
            }
        }
    }
}
