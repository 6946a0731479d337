//! From a potential to a plan with a small gap: auctions with ever smaller bids.

use super::{
    Solution, dual_value,
    market::{Exchanged, Market},
    masses::Masses,
    plan::{self, Transfer},
};
use crate::{error::KernelError, transport::Queries};

/// A gap below this share of the largest squared distance that there can be is none.
const NONE: f64 = 1e-10;

/// How much smaller the bids of the next auction are.
const FACTOR: f64 = 5.0;

/// c-transforms that the solution itself takes: one to begin with, one at its end.
const OWN: usize = 2;

/// What one solution leaves for the next: a plan is one wherever the rows are.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    masses: Masses,
    plan: Vec<Transfer>,
}

/// What to reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) gap: f64,
    pub(super) evaluations: usize,
}

/// The best potential and the best plan, which need not come from the same auction.
struct Best {
    value: f64,
    upper: f64,
    /// None while it is that of the beginning.
    psi: Option<Vec<f64>>,
    plan: Option<Vec<Transfer>>,
}

impl Best {
    /// The gap, and the gap that is small enough.
    fn is_close(&self, gap: f64, least: f64) -> bool {
        self.upper - self.value <= (gap * self.upper).max(least)
    }
}

/// Improves `psi`.
pub(super) fn solve(
    psi: &mut Vec<f64>,
    memory: &mut Option<Memory>,
    queries: &mut Queries,
    weights: Option<&[f64]>,
    goal: Goal,
) -> Result<Solution, KernelError> {
    let t = std::time::Instant::now();
    let mut transform = queries.c_transform(psi)?;
    let masses = Masses::new(queries.len(), psi.len(), weights);
    let mut plan = match memory.take() {
        Some(memory) if memory.masses == masses => memory.plan,
        _ => plan::to_winners(queries, &masses, &transform),
    };
    let value = dual_value(&transform, weights, psi);
    let upper = plan::cost(queries, &masses, &plan);
    let mut best = Best { value, upper, psi: None, plan: None };
    eprintln!("start value {value} upper {upper} {:?}", t.elapsed());
    let least = NONE * plan::farthest(queries);
    let mut evaluations = 1;
    if !best.is_close(goal.gap, least) && goal.evaluations > OWN {
        let limit = (goal.evaluations - OWN) as f64;
        let rooms = plan::rooms(queries, &masses);
        let bidders = masses.supply.iter().filter(|mass| **mass > 0).count();
        let spent = if bidders >= rooms.len() {
            let supply = queries.order.iter().map(|&i| masses.supply[i as usize]).collect();
            let mut market = Market::new(queries, supply, &rooms, psi)?;
            let spent = auctions(&mut market, &masses, &mut best, goal.gap, least, limit)?;
            if let Some(better) = best.psi.take() {
                *psi = better;
                transform = market.c_transform(psi)?;
            }
            plan = best.plan.take().unwrap_or(plan);
            spent
        } else {
            let mut exchanged = Exchanged::new(queries, &masses)?;
            let mut market = exchanged.market(&masses, &rooms, &transform.values)?;
            let spent = auctions(&mut market, &masses, &mut best, goal.gap, least, limit)?;
            if let Some(better) = best.psi.take() {
                let other = market.c_transform(&better)?;
                for (j, psi) in psi.iter_mut().enumerate() {
                    *psi = other.values[queries.references.place(j) as usize];
                }
                transform = queries.c_transform(psi)?;
            }
            plan = best.plan.take().map_or(plan, |plan| exchanged.back(&masses, &plan));
            spent
        };
        evaluations = OWN + spent.ceil() as usize;
        best.value = dual_value(&transform, weights, psi);
        best.upper = plan::cost(queries, &masses, &plan);
    }
    eprintln!("value {} upper {} {:?}", best.value, best.upper, t.elapsed());
    let converged = best.is_close(goal.gap, least);
    *memory = Some(Memory { masses, plan });
    Ok(Solution { value: best.value, upper: Some(best.upper), transform, evaluations, converged })
}

/// Auctions with ever smaller bids, until the gap is small enough or `limit` c-transforms are spent. How many were.
fn auctions(
    market: &mut Market<'_>,
    masses: &Masses,
    best: &mut Best,
    gap: f64,
    least: f64,
    limit: f64,
) -> Result<f64, KernelError> {
    let env = |name: &str, default: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let t = std::time::Instant::now();
    let mut eps = env("EPS0", (best.upper - best.value) / 4.0);
    loop {
        let before = market.evaluations();
        let sold = market.sell(eps, limit)?;
        let value = market.value(masses);
        if value > best.value {
            (best.value, best.psi) = (value, Some(market.potential()));
        }
        let plan = market.plan();
        let upper = plan::cost(market.queries(), masses, &plan);
        eprintln!(
            "eps {eps:.3e} {sold} {} parts {} value {value:.8} upper {upper:.8} gap {:.3e} evals {:.2} {:?}",
            market.log(),
            plan.len(),
            (upper - value) / upper,
            market.evaluations() - before,
            t.elapsed()
        );
        if upper < best.upper {
            (best.upper, best.plan) = (upper, Some(plan));
        }
        if !sold || best.is_close(gap, least) {
            return Ok(market.evaluations());
        }
        // Bids of the gap itself are small enough, whatever the rounding of costs allows.
        let enough = (gap * best.upper).max(least);
        eps = if eps > enough { (eps / env("FACTOR", FACTOR)).max(env("LAST", 0.9) * enough) } else { eps / FACTOR };
    }
}
