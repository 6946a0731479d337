//! From a potential to one with a small certified gap.
//!
//! Two ways up, one after the other: ascent on the semi-dual smoothed by entropy over short lists of references
//! ([`entropic_lbfgs`](super::entropic_lbfgs)), then an auction with small bids
//! ([`auction_solver`](super::auction_solver)), which ends with a plan and so with an upper bound. The auction first
//! takes the lists for complete; where the exact gap then is not small enough, another one searches for what is
//! missing. From no idea of the potential there is only this other one, with bids that get smaller.
//!
//! Values are those of exact c-transforms, plans have exact marginals, and both are moved apart by what rounding of their sums
//! can change: nothing on the way can make a bound wrong.

use std::sync::Arc;

use super::{
    ascent::Ascent,
    auction_solver::{AuctionSolver, ForwardAuction, ReverseAuction, SEARCH},
    entropic_lbfgs::EntropicSemiDual,
    integer_marginals::IntegerMarginals,
    shortlists::Shortlists,
    solution::Solution,
    transport_plan::{self, Transfer},
};
use crate::{
    error::KernelError,
    transport::{Queries, potential::Potential},
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
pub(super) struct WarmStart {
    masses: IntegerMarginals,
    plan: Vec<Transfer>,
    lists: Option<Shortlists>,
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
    memory: &mut Option<Arc<WarmStart>>,
    queries: &mut Queries,
    weights: Option<&[f64]>,
    goal: Goal,
) -> Result<Solution, KernelError> {
    let nothing_known = psi.iter().all(|v| *v == psi[0]);
    let masses = IntegerMarginals::new(queries.len(), psi.len(), weights);
    let kept = memory.take().filter(|kept| kept.masses == masses).map(Arc::unwrap_or_clone);
    let mut ascent = Ascent::new(queries, psi, weights, goal.evaluations as f64)?;
    let (plan, mut lists) = match kept {
        Some(kept) => (kept.plan, kept.lists),
        None => (
            transport_plan::feasible(
                ascent.queries,
                &masses,
                transport_plan::to_winners(ascent.queries, &masses),
            ),
            None,
        ),
    };
    let least = NONE * transport_plan::mean_square_distance(ascent.queries);
    let upper = transport_plan::cost(ascent.queries, &masses, &plan);
    let moved = masses.off * transport_plan::largest_square_distance(ascent.queries);
    let mut found = BestPlan { upper, plan, gap: goal.gap, least, moved };
    if !found.is_close(ascent.best.value, ascent.best.margin) {
        let forward = ForwardAuction::new(ascent.queries, &masses);
        let from_nothing = nothing_known && ascent.left() >= FROM_NOTHING;
        if !from_nothing {
            on_shortlists(&mut ascent, &mut found, &masses, forward.as_ref(), &mut lists)?;
        }
        if !found.is_close(ascent.best.value, ascent.best.margin) && ascent.left() >= THOROUGH {
            with_searches(&mut ascent, &mut found, &masses, forward, from_nothing)?;
            lists = None;
        }
        if lists.is_none() && ascent.left() >= LISTS {
            lists = Some(search_shortlists(&mut ascent)?.0);
        }
    }
    let converged = found.is_close(ascent.best.value, ascent.best.margin);
    *psi = ascent.potential();
    let evaluations = ascent.spent.ceil() as usize;
    *memory = Some(Arc::new(WarmStart { masses, plan: found.plan, lists }));
    let (value, transform) = (ascent.best.value, ascent.best.transform);
    Ok(Solution { value, upper: Some(found.upper), transform, evaluations, converged })
}

/// The best plan so far.
struct BestPlan {
    plan: Vec<Transfer>,
    upper: f64,
    /// The gap to reach, relative, and one so small that bids need not be smaller, in costs.
    gap: f64,
    least: f64,
    /// What the upper bound has for weights that had to be rounded.
    moved: f64,
}

impl BestPlan {
    fn offer(&mut self, plan: Vec<Transfer>, queries: &Queries, masses: &IntegerMarginals) {
        let upper = transport_plan::cost(queries, masses, &plan);
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
fn search_shortlists(ascent: &mut Ascent<'_>) -> Result<(Shortlists, Vec<f64>), KernelError> {
    ascent.spent += LISTS;
    let potential = Potential::at_places(ascent.queries.index(), ascent.best.psi.clone());
    let mut lists = Shortlists::search(ascent.queries, &potential);
    let active = |&position: &u32| ascent.by_position[position as usize] > 0.0;
    let active: Vec<u32> = (0..ascent.queries.len() as u32).filter(active).collect();
    let highest = lists.add_cheapest_queries(ascent.queries, &ascent.best.transform.values, &active)?;
    Ok((lists, highest))
}

/// The smoothed ascent on lists, those there are or new ones, and, where the queries can bid, auctions on them.
fn on_shortlists(
    ascent: &mut Ascent<'_>,
    found: &mut BestPlan,
    masses: &IntegerMarginals,
    forward: Option<&ForwardAuction>,
    lists: &mut Option<Shortlists>,
) -> Result<(), KernelError> {
    // What an auction with searches takes is left to it where there is no other.
    let reserve = if forward.is_none() && ascent.left() >= THOROUGH { THOROUGH } else { 0.0 };
    if ascent.left() < reserve + REFRESH + PASS + 1.0 {
        return Ok(());
    }
    let mut psi = ascent.best.psi.clone();
    let current = match lists.take() {
        Some(mut lists) => {
            lists.refresh(ascent.queries);
            ascent.spent += REFRESH;
            lists
        }
        None => {
            let (lists, highest) = search_shortlists(ascent)?;
            // Later solutions live on these: what they cost comes on top of the limit.
            ascent.limit += LISTS;
            psi = highest;
            lists
        }
    };
    let lists = lists.insert(current);
    let active = ascent.by_position.iter().filter(|weight| **weight > 0.0).count();
    let mut feasible = false;
    for _ in 0..ROUNDS {
        let passes = (((ascent.left() - reserve - 1.0) / PASS) as usize).min(PASSES);
        if passes == 0 || feasible {
            break;
        }
        let eps = TEMPERATURE * ascent.best.value.max(TEMPERATURE * found.upper).max(f64::MIN_POSITIVE);
        let smooth = EntropicSemiDual { lists, weights: &ascent.by_position, masses: &ascent.masses, eps };
        let used = smooth.ascend(&mut psi, ERROR, passes);
        ascent.spent += PASS * used as f64;
        ascent.evaluate(&psi)?;
        let missing = lists.add_winners(ascent.queries, &ascent.by_position);
        feasible = used < passes && missing <= active / 100;
    }
    let Some(forward) = forward else { return Ok(()) };
    for _ in 0..ATTEMPTS {
        if !feasible || ascent.left() < QUICK || found.is_close(ascent.best.value, ascent.best.margin) {
            break;
        }
        let queries: &Queries = ascent.queries;
        let enough = found.enough(ascent.best.value);
        let mut solver = forward.solver_on(queries, lists, &ascent.best.psi);
        let limit = QUICK_MOST.min(ascent.left() - 1.0);
        feasible = BIDS.iter().all(|share| solver.run(share * enough, limit));
        found.offer(forward.plan(&mut solver, queries, masses, 0.0), queries, masses);
        let (psi, spent) = (solver.psi(), solver.evaluations());
        ascent.spent += spent;
        ascent.evaluate(&psi)?;
        lists.add_winners(ascent.queries, &ascent.by_position);
    }
    Ok(())
}

/// Auctions with searches and with smaller and smaller bids.
fn with_searches(
    ascent: &mut Ascent<'_>,
    found: &mut BestPlan,
    masses: &IntegerMarginals,
    forward: Option<ForwardAuction>,
    from_nothing: bool,
) -> Result<(), KernelError> {
    let enough = found.enough(ascent.best.value);
    let first = if from_nothing { (found.upper - ascent.best.value) / 4.0 } else { BIDS[0] * enough };
    let limit = ascent.left() - 2.0;
    let (value, margin) = (ascent.best.value, ascent.best.margin);
    let (psi, spent) = match forward {
        Some(forward) => {
            let queries: &Queries = ascent.queries;
            let mut solver = forward.solver(queries, &ascent.best.psi);
            run_scaled(&mut solver, first, enough, limit, |solver, most| {
                found.offer(forward.plan(solver, queries, masses, most), queries, masses);
                found.is_close(solver.value().max(value), margin)
            });
            (solver.psi(), solver.evaluations())
        }
        None => {
            let queries: &Queries = ascent.queries;
            let mut reverse = ReverseAuction::new(queries, masses)?;
            let mut solver = reverse.solver(queries, masses, &ascent.best.transform.values);
            run_scaled(&mut solver, first, enough, limit, |solver, most| {
                found.offer(reverse.plan(solver, queries, masses, most), queries, masses);
                found.is_close(solver.value().max(value), margin)
            });
            let (prices, spent) = (solver.psi(), solver.evaluations());
            (reverse.psi(&prices)?, spent + 1.0)
        }
    };
    ascent.spent += spent;
    ascent.evaluate(&psi)?;
    Ok(())
}

/// Sells with smaller and smaller bids until it is `enough`, or too much was spent, or bids are below what rounding of costs
/// allows. `done` is told how many c-transforms a plan may take.
fn run_scaled(
    solver: &mut AuctionSolver<'_>,
    first: f64,
    enough: f64,
    limit: f64,
    mut done: impl FnMut(&mut AuctionSolver<'_>, f64) -> bool,
) {
    let mut eps = first;
    loop {
        let sold = solver.run(eps, limit);
        // A gap may be as large as a bid, but most are far smaller.
        let near = if eps <= NEAR * enough { PATHS.min(limit - solver.evaluations()).max(0.0) } else { 0.0 };
        if done(solver, near) || !sold || eps <= SMALLEST * enough {
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
