//! Elements of a batch do not mix.

use super::measure::{largest, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::{Result as BaseResult, Seed};
use smalti_flows::{Bijection, Mapped};
use smalti_priors::PatchDensity;
use tch::Tensor;

const TOLERANCE: f64 = 1e-12;

/// Permuting a batch permutes values and log-determinants, and a part of a batch gives what it gives within the
/// whole, in both directions; at least 3 elements. `cond`, where given, has one row for every element.
///
/// # Errors
/// The [`Violation`].
pub fn bijection_rows(
    subject: &str,
    flow: &dyn Bijection,
    x: &Tensor,
    cond: Option<&Tensor>,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "separate elements", subject };
    let z = trial.ok(flow.to_latent(x, cond))?.value;
    for (direction, start) in [("data to latent", x), ("latent to data", &z)] {
        let map = |x: &Tensor, cond: Option<&Tensor>| -> BaseResult<Mapped> {
            if direction == "data to latent" { flow.to_latent(x, cond) } else { flow.to_data(x, cond) }
        };
        let whole = trial.ok(map(start, cond))?;
        trial.same_shape("log_det", &whole.log_det.size(), &start.size()[..1])?;
        for rows in selections(start, seed) {
            let pick = |t: &Tensor| t.index_select(0, &rows);
            let part = trial.ok(map(&pick(start), cond.map(pick).as_ref()))?;
            let distance = relative_distance(&part.value, &pick(&whole.value));
            trial.at_most(
                TOLERANCE,
                distance,
                format!("{direction}, values depend on the batch, relative distance"),
            )?;
            let error = largest(&(part.log_det - pick(&whole.log_det))) / largest(&whole.log_det).max(1.0);
            trial.at_most(
                TOLERANCE,
                error,
                format!("{direction}, log_det depends on the batch, relative distance"),
            )?;
        }
    }
    Ok(())
}

/// The same for a patch density's values and gradients at `patches: [N, d]`, `N >= 3`.
///
/// # Errors
/// The [`Violation`].
pub fn density_rows(
    subject: &str,
    density: &dyn PatchDensity,
    patches: &Tensor,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "separate elements", subject };
    let (nll, gradient) = trial.ok(density.nll_and_grad(patches))?;
    for rows in selections(patches, seed) {
        let pick = |t: &Tensor| t.index_select(0, &rows);
        let (nll_part, gradient_part) = trial.ok(density.nll_and_grad(&pick(patches)))?;
        let distance = relative_distance(&nll_part, &pick(&nll));
        trial.at_most(TOLERANCE, distance, "values depend on the other patches, relative distance")?;
        let distance = relative_distance(&gradient_part, &pick(&gradient));
        trial.at_most(TOLERANCE, distance, "gradients depend on the other patches, relative distance")?;
    }
    Ok(())
}

/// A permutation of the whole batch, and its first two elements.
fn selections(x: &Tensor, seed: Seed) -> [Tensor; 2] {
    let permutation = seed.at("rows", 0).permutation(x.size()[0] as usize);
    [permutation, vec![0, 1]].map(|rows| Tensor::from_slice(&rows).to_device(x.device()))
}
