//! MAP estimation of a posed problem, and the priors of patch densities that it takes.

use crate::problem::InverseProblem;
use crate::run::Run;
use crate::settings::{Descent, PatchChoice, SettingFault};
use smalti_base::{Result, Seed, Space};
use smalti_operators::LinearOperator;
use smalti_priors::{PatchDensity, PatchPrior, Reflected, Regularizer};
use smalti_solvers::{Map, Margin, Objective};
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
    let objective = Objective {
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
    let objective = Objective {
        operator: margin.operator(),
        likelihood: likelihood.as_ref(),
        observation: &problem.observation,
        prior,
        weight,
    };
    let start = margin.start(&problem.start.image, seed)?;
    margin.cut(&iterate(objective, &start, problem.range.nonnegative, descent, run)?)
}

/// `mean_i -log p(P_i x)` for images of `domain`, continued by `padding` pixels on all sides before their patches are taken.
///
/// # Errors
/// [`smalti_base::Error::Value`] where patches or padding do not fit the images.
pub(crate) fn patch_prior<'a, D: PatchDensity>(
    density: &'a D,
    domain: Space,
    padding: i64,
    patches: PatchChoice,
    seed: Seed,
) -> Result<Box<dyn Regularizer + 'a>> {
    let on = |domain| PatchPrior::new(density, domain, patches.into(), seed);
    Ok(match padding {
        0 => Box::new(on(domain)?),
        _ => Box::new(Reflected::new(domain, padding, on)?),
    })
}

/// Whether images of `domain`, continued by a padding on all sides, have patches of that size; both stand under a key of the settings.
///
/// # Errors
/// The key that does not fit, and the problem.
pub(crate) fn patches_fit(
    domain: Option<Space>,
    (patch_size, patch_key): (i64, &str),
    (padding, padding_key): (i64, &str),
) -> std::result::Result<(), SettingFault> {
    let Some(side) = domain.and_then(|domain| domain.axes().into_iter().min()) else { return Ok(()) };
    if padding >= side {
        return Err((padding_key.into(), format!("not less than the {side} pixels of the images")));
    }
    if patch_size > side + 2 * padding {
        let problem = format!("larger than the images of {} pixels", side + 2 * padding);
        return Err((patch_key.into(), problem));
    }
    Ok(())
}

fn iterate(
    objective: Objective<'_>,
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
