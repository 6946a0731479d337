//! From a potential to one with a small certified gap.
//!
//! Two ways up, one after the other: ascent on the semi-dual smoothed by entropy over short lists of references
//! ([`smooth`](super::smooth)), then an auction with small bids ([`market`](super::market)), which ends with a plan
//! and so with an upper bound. The auction first takes the lists for complete; where the exact gap then is not small
//! enough, another one searches for what is missing. From no idea of the potential there is only this other one, with bids that
//! get smaller.
//!
//! Values are those of exact c-transforms, plans have exact marginals, and both are moved apart by what rounding of their sums
//! can change: nothing on the way can make a bound wrong.

use std::sync::Arc;

use super::{
    Solution,
    climb::Climb,
    lists::Lists,
    market::{Direct, Exchanged, Market, SEARCH},
    masses::Masses,
    plan::{self, Transfer},
    smooth::Smooth,
};
use crate::{
    error::KernelError,
    transport::{Queries, references::Potential},
};

/// A gap below this share of the mean squared distance is not worth smaller bids: the costs of lists are float32 numbers.
const NONE: f64 = 1e-10;

/// A gap below so many times what was added for rounding is none.
const MARGINS: f64 = 4.0;

/// The temperature of the smoothed ascent, in shares of the value.
const TEMPERATURE: f64 = 0.01;

/// Rounds of the smoothed ascent, each ended by an exact c-transform, and passes over the lists in each.
const ROUNDS: usize = 4;
const PASSES: usize = 10;

/// The marginal error at which the smoothed ascent is done.
const ERROR: f64 = 0.02;

/// A pass over the lists, refreshing them, and searching them on both sides, in c-transforms.
const PASS: f64 = 0.2;
const REFRESH: f64 = 0.5;
const LISTS: f64 = 2.0 * SEARCH;

/// Auctions on the lists there are: how often, and their bids in shares of the gap.
const ATTEMPTS: usize = 2;
const BIDS: [f64; 2] = [4.0, 0.8];

/// c-transforms that have to be left for such an auction, what it may take, and what has to be left for one that searches:
/// from a good potential, and from none.
const QUICK: f64 = 5.0;
const QUICK_MOST: f64 = 10.0;
const THOROUGH: f64 = 16.0;
const FROM_NOTHING: f64 = 50.0;

/// What one solution leaves for the next: a plan is one wherever the rows are.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    masses: Masses,
    plan: Vec<Transfer>,
    lists: Option<Lists>,
}

/// What to reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) gap: f64,
    pub(super) evaluations: usize,
}

/// Improves `psi`.
pub(super) fn solve(
    psi: &mut Vec<f64>,
    memory: &mut Option<Arc<Memory>>,
    queries: &mut Queries,
    weights: Option<&[f64]>,
    goal: Goal,
) -> Result<Solution, KernelError> {
    let nothing_known = psi.iter().all(|v| *v == psi[0]);
    let masses = Masses::new(queries.len(), psi.len(), weights);
    let kept = memory.take().filter(|kept| kept.masses == masses).map(Arc::unwrap_or_clone);
    let mut climb = Climb::new(queries, psi, weights, goal.evaluations as f64)?;
    let (plan, mut lists) = match kept {
        Some(kept) => (kept.plan, kept.lists),
        None => (plan::settled(climb.queries, &masses, plan::to_winners(climb.queries, &masses)), None),
    };
    let least = NONE * plan::typical(climb.queries);
    let upper = plan::cost(climb.queries, &masses, &plan);
    let moved = masses.off * plan::farthest(climb.queries);
    let mut found = Found { upper, plan, gap: goal.gap, least, moved };
    if !found.is_close(climb.best.value, climb.best.margin) {
        let direct = Direct::new(climb.queries, &masses);
        let from_nothing = nothing_known && climb.left() >= FROM_NOTHING;
        if !from_nothing {
            quickly(&mut climb, &mut found, &masses, direct.as_ref(), &mut lists)?;
        }
        if !found.is_close(climb.best.value, climb.best.margin) && climb.left() >= THOROUGH {
            thoroughly(&mut climb, &mut found, &masses, direct, from_nothing)?;
            lists = None;
        }
        if lists.is_none() && climb.left() >= LISTS {
            lists = Some(searched(&mut climb)?.0);
        }
    }
    let converged = found.is_close(climb.best.value, climb.best.margin);
    *psi = climb.potential();
    let evaluations = climb.spent.ceil() as usize;
    *memory = Some(Arc::new(Memory { masses, plan: found.plan, lists }));
    let (value, transform) = (climb.best.value, climb.best.transform);
    Ok(Solution { value, upper: Some(found.upper), transform, evaluations, converged })
}

/// The best plan so far.
struct Found {
    plan: Vec<Transfer>,
    upper: f64,
    /// The gap to reach, relative, and one so small that bids need not be smaller, in costs.
    gap: f64,
    least: f64,
    /// What the upper bound has for weights that had to be rounded.
    moved: f64,
}

impl Found {
    fn offer(&mut self, plan: Vec<Transfer>, queries: &Queries, masses: &Masses) {
        let upper = plan::cost(queries, masses, &plan);
        if upper < self.upper {
            (self.upper, self.plan) = (upper, plan);
        }
    }

    /// Whether the gap to a value with this margin for rounding is reached.
    fn is_close(&self, value: f64, margin: f64) -> bool {
        self.upper - value <= (self.gap * self.upper).max(MARGINS * (margin + self.moved))
    }

    /// The gap to reach, in costs.
    fn enough(&self, value: f64) -> f64 {
        (self.gap * value).max(self.least)
    }
}

/// Lists at the best potential, and the highest potential with its values.
fn searched(climb: &mut Climb<'_>) -> Result<(Lists, Vec<f64>), KernelError> {
    climb.spent += LISTS;
    let potential = Potential::at_places(&climb.queries.references, climb.best.psi.clone());
    let mut lists = Lists::search(climb.queries, &potential);
    let active = |&position: &u32| climb.by_position[position as usize] > 0.0;
    let active: Vec<u32> = (0..climb.queries.len() as u32).filter(active).collect();
    let highest = lists.meet(climb.queries, &climb.best.transform.values, &active)?;
    Ok((lists, highest))
}

/// The smoothed ascent on lists, those there are or new ones, and, where the queries can bid, auctions on them.
fn quickly(
    climb: &mut Climb<'_>,
    found: &mut Found,
    masses: &Masses,
    direct: Option<&Direct>,
    lists: &mut Option<Lists>,
) -> Result<(), KernelError> {
    // What an auction with searches takes is left to it where there is no other.
    let reserve = if direct.is_none() && climb.left() >= THOROUGH { THOROUGH } else { 0.0 };
    if climb.left() < reserve + REFRESH + PASS + 1.0 {
        return Ok(());
    }
    let mut psi = climb.best.psi.clone();
    let current = match lists.take() {
        Some(mut lists) => {
            lists.refresh(climb.queries);
            climb.spent += REFRESH;
            lists
        }
        None => {
            let (lists, highest) = searched(climb)?;
            // Later solutions live on these: what they cost comes on top of the limit.
            climb.limit += LISTS;
            psi = highest;
            lists
        }
    };
    let lists = lists.insert(current);
    let active = climb.by_position.iter().filter(|weight| **weight > 0.0).count();
    let mut settled = false;
    for _ in 0..ROUNDS {
        let passes = (((climb.left() - reserve - 1.0) / PASS) as usize).min(PASSES);
        if passes == 0 || settled {
            break;
        }
        let eps = TEMPERATURE * climb.best.value.max(TEMPERATURE * found.upper).max(f64::MIN_POSITIVE);
        let smooth = Smooth { lists, weights: &climb.by_position, masses: &climb.masses, eps };
        let used = smooth.ascend(&mut psi, ERROR, passes);
        climb.spent += PASS * used as f64;
        climb.evaluate(&psi)?;
        let missing = lists.admit(climb.queries, &climb.by_position);
        settled = used < passes && missing <= active / 100;
    }
    let Some(direct) = direct else { return Ok(()) };
    for _ in 0..ATTEMPTS {
        if !settled || climb.left() < QUICK || found.is_close(climb.best.value, climb.best.margin) {
            break;
        }
        let queries: &Queries = climb.queries;
        let enough = found.enough(climb.best.value);
        let mut market = direct.rushed(queries, lists, &climb.best.psi);
        let limit = QUICK_MOST.min(climb.left() - 1.0);
        settled = BIDS.iter().all(|share| market.sell(share * enough, limit));
        found.offer(direct.plan(&mut market, queries, masses, 0.0), queries, masses);
        let (psi, spent) = (market.psi(), market.evaluations());
        climb.spent += spent;
        climb.evaluate(&psi)?;
        lists.admit(climb.queries, &climb.by_position);
    }
    Ok(())
}

/// Auctions with searches and with smaller and smaller bids.
fn thoroughly(
    climb: &mut Climb<'_>,
    found: &mut Found,
    masses: &Masses,
    direct: Option<Direct>,
    from_nothing: bool,
) -> Result<(), KernelError> {
    let enough = found.enough(climb.best.value);
    let first = if from_nothing { (found.upper - climb.best.value) / 4.0 } else { BIDS[0] * enough };
    let limit = climb.left() - 2.0;
    let (value, margin) = (climb.best.value, climb.best.margin);
    let (psi, spent) = match direct {
        Some(direct) => {
            let queries: &Queries = climb.queries;
            let mut market = direct.market(queries, &climb.best.psi);
            sell(&mut market, first, enough, limit, |market, most| {
                found.offer(direct.plan(market, queries, masses, most), queries, masses);
                found.is_close(market.value().max(value), margin)
            });
            (market.psi(), market.evaluations())
        }
        None => {
            let queries: &Queries = climb.queries;
            let mut exchanged = Exchanged::new(queries, masses)?;
            let mut market = exchanged.market(queries, masses, &climb.best.transform.values);
            sell(&mut market, first, enough, limit, |market, most| {
                found.offer(exchanged.plan(market, queries, masses, most), queries, masses);
                found.is_close(market.value().max(value), margin)
            });
            let (prices, spent) = (market.psi(), market.evaluations());
            (exchanged.psi(&prices)?, spent + 1.0)
        }
    };
    climb.spent += spent;
    climb.evaluate(&psi)?;
    Ok(())
}

/// Sells with smaller and smaller bids until it is `enough`, or too much was spent, or bids are below what rounding of costs
/// allows. `done` is told how many c-transforms a plan may take.
fn sell(
    market: &mut Market<'_>,
    first: f64,
    enough: f64,
    limit: f64,
    mut done: impl FnMut(&mut Market<'_>, f64) -> bool,
) {
    let mut eps = first;
    loop {
        let sold = market.sell(eps, limit);
        // A gap may be as large as a bid, but most are far smaller.
        let near = if eps <= NEAR * enough { PATHS.min(limit - market.evaluations()).max(0.0) } else { 0.0 };
        if done(market, near) || !sold || eps <= SMALLEST * enough {
            return;
        }
        let last = 0.9 * enough;
        eps = if eps > last { (eps / FACTOR).max(last) } else { eps / FACTOR };
    }
}

/// How much smaller the bids of the next auction are, and the smallest ones, in shares of the gap.
const FACTOR: f64 = 5.0;
const SMALLEST: f64 = 1e-3;

/// The bids from which on a plan is worth paths, in shares of the gap, and what they may take, in c-transforms.
const NEAR: f64 = 30.0;
const PATHS: f64 = 20.0;
