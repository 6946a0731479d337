//! Transport plans: which mass of which query goes to which place of the references, and what that costs.

use rayon::prelude::*;

use super::integer_marginals::IntegerMarginals;
use crate::transport::{Queries, bounds::squared_distance};

/// What one task sums up: a fixed number, so that threads change no bit.
const RUN: usize = 1024;

/// Some mass of a query (by its original index) that goes to a place of the index over the references.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Transfer {
    pub(super) query: u32,
    pub(super) place: u32,
    pub(super) mass: u64,
}

/// A plan with the right marginals near one that may have others: transfers are done one after the other as far as there
/// is supply and room. What is left over fills the gaps in the order of the index.
pub(super) fn feasible(
    queries: &Queries,
    masses: &IntegerMarginals,
    wanted: impl IntoIterator<Item = Transfer>,
) -> Vec<Transfer> {
    let mut supply = masses.supply.clone();
    let mut rooms = rooms(queries, masses);
    let mut plan = Vec::with_capacity(queries.len());
    let mut send = |query: u32, place: u32, most: u64, supply: &mut [u64], rooms: &mut [u64]| {
        let mass = most.min(supply[query as usize]).min(rooms[place as usize]);
        if mass > 0 {
            plan.push(Transfer { query, place, mass });
            supply[query as usize] -= mass;
            rooms[place as usize] -= mass;
        }
    };
    for Transfer { query, place, mass } in wanted {
        send(query, place, mass, &mut supply, &mut rooms);
    }
    let mut place = 0;
    for &query in &queries.order {
        while supply[query as usize] > 0 && place < rooms.len() {
            send(query, place as u32, u64::MAX, &mut supply, &mut rooms);
            place += usize::from(rooms[place] == 0);
        }
    }
    plan
}

/// Every query to the place that won it last.
pub(super) fn to_winners<'a>(
    queries: &'a Queries,
    masses: &'a IntegerMarginals,
) -> impl Iterator<Item = Transfer> + 'a {
    let winners = queries.order.iter().zip(&queries.winners);
    winners.map(|(&query, &place)| Transfer { query, place, mass: masses.supply[query as usize] })
}

/// The mass that each place of the references takes.
pub(super) fn rooms(queries: &Queries, masses: &IntegerMarginals) -> Vec<u64> {
    let references = queries.index();
    (0..references.distinct()).map(|place| references.members(place).len() as u64 * masses.each).collect()
}

/// An upper bound of the cost of moving the weights behind the masses by a plan: `sum mass |x - y|^2 / total`, what
/// the weights and the masses differ by moved as far as can be, and rounding.
pub(super) fn cost(queries: &Queries, masses: &IntegerMarginals, plan: &[Transfer]) -> f64 {
    let stride = queries.index().stride();
    let sums: Vec<f64> = plan
        .par_chunks(RUN)
        .map(|plan| {
            let mut row = vec![0.0; stride];
            let cost = |transfer: &Transfer| {
                queries.rows.read(transfer.query as usize, &mut row);
                transfer.mass as f64 * squared_distance(&row, queries.index().padded(transfer.place))
            };
            plan.iter().map(cost).sum()
        })
        .collect();
    let cost = sums.iter().sum::<f64>() / masses.total as f64;
    // Sums of a run, sums over runs, and the terms of a distance, each rounded.
    let rounding = (RUN + sums.len() + stride) as f64 * f64::EPSILON;
    cost * (1.0 + rounding) + masses.off * largest_square_distance(queries)
}

/// About the mean squared distance between a query and a reference.
pub(super) fn mean_square_distance(queries: &Queries) -> f64 {
    let squares = queries.index().squares();
    let x =
        queries.points.iter().map(|point| point.length.powi(2)).sum::<f64>() / queries.points.len() as f64;
    x + squares.iter().sum::<f64>() / squares.len() as f64
}

/// A squared distance that no query and reference exceed.
pub(super) fn largest_square_distance(queries: &Queries) -> f64 {
    let reach = queries.points.iter().map(|point| point.length).fold(0.0, f64::max);
    (reach + queries.index().margins.radius()).powi(2) * (1.0 + 1e-9)
}
