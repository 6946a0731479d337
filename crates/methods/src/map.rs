//! MAP estimation of a posed problem.

use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::Descent;
use smalti_base::{Result, Seed};
use smalti_operators::LinearOperator;
use smalti_priors::Regularizer;
use smalti_solvers::{Map, Margin, Problem};
use tch::Tensor;

/// Minimises `J(x) = 1/n nll(A x, y) + weight R(x)` by Adam from the problem's start, over `x >= 0` where negative values make no
/// sense.
///
/// # Errors
/// Those of the solver; [`smalti_base::Error::Cancelled`] on request.
pub(crate) fn map(
    problem: &InverseProblem,
    prior: &mut dyn Regularizer,
    weight: f64,
    descent: Descent,
    run: &Run,
) -> Result<Tensor> {
    let likelihood = problem.likelihood()?;
    let objective = Problem {
        operator: &problem.operator,
        likelihood: likelihood.as_ref(),
        observation: &problem.observation,
        prior,
        weight,
    };
    iterate(objective, &problem.start.image, problem.range.nonnegative, descent, run)
}

/// The same on an image with a margin that the operator does not see, which `margin` was made with; the margin starts from
/// noise and is cut off at the end.
///
/// # Errors
/// Those of [`map`].
pub(crate) fn map_within(
    margin: &Margin<&dyn LinearOperator>,
    problem: &InverseProblem,
    prior: &mut dyn Regularizer,
    weight: f64,
    (descent, seed): (Descent, Seed),
    run: &Run,
) -> Result<Tensor> {
    let likelihood = problem.likelihood()?;
    let objective = Problem {
        operator: margin.operator(),
        likelihood: likelihood.as_ref(),
        observation: &problem.observation,
        prior,
        weight,
    };
    let start = margin.start(&problem.start.image, seed)?;
    margin.cut(&iterate(objective, &start, problem.range.nonnegative, descent, run)?)
}

fn iterate(
    objective: Problem<'_>,
    start: &Tensor,
    nonnegative: bool,
    descent: Descent,
    run: &Run,
) -> Result<Tensor> {
    let mut solver = Map::new(objective, start, descent.into())?;
    if nonnegative {
        solver = solver.nonnegative();
    }
    Ok(run.iterate("map", descent.iterations, solver)?.0)
}
