//! Histograms of the posterior and of flows.

use crate::experiment::samplers::{MetropolisChains, Reference, ScatterometryProfile as Profile};
use smalti_base::seed::Stream;
use smalti_base::{Result, Seed};
use smalti_flows::stochastic::scatterometry::Scatterometry;
use smalti_flows::stochastic::{ConditionalEnergy, ConditionalSnf, Interpolated, MarkovKernel, Metropolis};
use smalti_solvers::distances::Histogram;
use tch::Tensor;

/// Samples and chains at a time: what fits the caches.
const BATCH: i64 = 4000;

/// The posterior of `y: [1, 23]`, and a second histogram of as many independent samples as flows have.
pub(super) fn references(
    model: &Scatterometry,
    y: &Tensor,
    profile: &Profile,
    seed: Seed,
) -> Result<(Histogram, Histogram)> {
    match profile.reference {
        Reference::Quadrature(points) => {
            let energy = |x: &Tensor| model.energy(x, &y.f_expand([x.size()[0], -1], false)?);
            let masses = Histogram::of_energy(model.dim(), profile.bins, points, energy)?;
            let again = masses.sample(profile.samples, &mut seed.at("reference", 0))?;
            Ok((masses, again))
        }
        Reference::Metropolis(chains) => {
            let run = |k| metropolis(model, y, profile, chains, &mut seed.at("reference", k));
            Ok((run(0)?, run(1)?))
        }
    }
}

/// The ends of chains from the uniform distribution.
fn metropolis(
    model: &Scatterometry,
    y: &Tensor,
    profile: &Profile,
    chains: MetropolisChains,
    stream: &mut Stream,
) -> Result<Histogram> {
    let kernel = Metropolis::new(chains.sigma)?;
    counted(model.dim(), profile, y, |condition| {
        let energy = Interpolated { posterior: Some(model), condition, lambda: 1.0 };
        let start = stream.uniform(&[condition.size()[0], model.dim()]) * 2.0 - 1.0;
        Ok(kernel.walk(&energy, &start, chains.steps, stream)?.value)
    })
}

/// Samples of `flow`.
pub(super) fn of_flow(
    flow: &ConditionalSnf,
    y: &Tensor,
    profile: &Profile,
    stream: &mut Stream,
) -> Result<Histogram> {
    counted(flow.sizes().0, profile, y, |condition| flow.sample(condition, stream))
}

/// The histogram of what `draw` gives for repeated observations, piece by piece.
fn counted(
    dim: i64,
    profile: &Profile,
    y: &Tensor,
    mut draw: impl FnMut(&Tensor) -> Result<Tensor>,
) -> Result<Histogram> {
    let mut histogram = Histogram::new(dim, profile.bins)?;
    let all = y.f_repeat([BATCH.min(profile.samples), 1])?;
    for from in (0..profile.samples).step_by(BATCH as usize) {
        let many = BATCH.min(profile.samples - from);
        histogram.add(&draw(&all.f_narrow(0, 0, many)?)?)?;
    }
    Ok(histogram)
}
