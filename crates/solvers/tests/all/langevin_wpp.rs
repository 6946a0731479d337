//! Langevin chains and stochastic flows with the Wasserstein patch prior.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Seed, Space};
use smalti_flows::stochastic::ConditionalEnergy;
use smalti_operators::{Boundary, Convolution, Gaussian, Operator};
use smalti_priors::Regularizer;
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use smalti_solvers::langevin::{Langevin, LangevinScheme, LangevinSettings, overdispersed};
use smalti_solvers::{Iteration, Objective, PosteriorEnergy, RunControl, run};
use tch::{Kind, Tensor};

const SIGMA: f64 = 0.1;
const WEIGHT: f64 = 20.0;

/// The Wasserstein patch prior as the prior of chains, and of the energy of a stochastic flow.
#[test]
fn chains_sample_with_the_wasserstein_patch_prior() {
    let space = Space::image(1, 8, 8);
    let draw = |name, size: &[i64]| Seed::new(5).at(name, 0).uniform(size).to_kind(Kind::Double);
    let operator = || Convolution::superresolution(space, 3, 0.8, 2, Boundary::Periodic).unwrap();
    let a = operator();
    let likelihood = Gaussian::new(SIGMA).unwrap();
    let y = a.apply(&draw("truth", &space.batch(1))).unwrap();
    let reference = draw("reference", &[1, 1, 10, 10]);
    // Chains see the gap as noise of the energy, of up to this share of its 10 to 100: more than about one and they get stuck.
    let gap = 1e-3;
    let wpp = WppSettings::default()
        .with_patch_size(3)
        .with_scales(1)
        .with_references(ReferencePatches::All)
        .with_dual(DualMethod::Converge { gap, evaluations: 200 });
    let prior = || WassersteinPatchPrior::new(&space.batch(1), &[&reference], &wpp, Seed::new(6)).unwrap();
    let starts = overdispersed(&draw("x", &space.batch(1)).zeros_like(), 2, 1.0, Seed::new(2)).unwrap();
    let sample = || {
        let mut prior = prior();
        let problem = Objective {
            operator: &a,
            likelihood: &likelihood,
            observation: &y,
            prior: &mut prior,
            weight: WEIGHT,
        };
        let mala = LangevinScheme::Mala { target: Some(LangevinScheme::OPTIMAL_ACCEPTANCE) };
        // Steps get short, and that takes a while: at kinks of the distance, where most draws are, the gradient that
        // sends every patch to one winner is not that of the plan.
        let settings = LangevinSettings::default()
            .with_burn_in(200)
            .with_draws(40)
            .with_keep(5)
            .with_pixels([[0, 2, 3]])
            .with_scheme(mala)
            .with_step_size(1e-3);
        let steps = settings.steps();
        let mut chains = Langevin::new(problem, &starts, settings, Seed::new(3)).unwrap();
        run(&mut chains, steps, &RunControl::default()).unwrap();
        chains.finish().unwrap()
    };
    let (found, again) = (sample(), sample());
    let draws = found.pooled();
    assert!(draws.equal(&again.pooled()), "chains do not repeat");
    // With seeds 3 to 8: 0.15 to 0.4.
    let acceptance = found.acceptance.iter().sum::<f64>() / 2.0;
    assert!((0.05..0.95).contains(&acceptance), "{:?}", found.acceptance);
    // Draws have patches like the reference's, which the starts do not have.
    let distance = |x: &Tensor| prior().value(x).unwrap();
    let (first, last) = (distance(&starts.narrow(0, 0, 1)), distance(&draws.narrow(0, 4, 1)));
    assert!(last < 0.5 * first, "{first} {last}");

    let energy =
        PosteriorEnergy::new(Box::new(operator()), Box::new(likelihood), Box::new(prior()), WEIGHT).unwrap();
    let rows = draws.narrow(0, 0, 2).reshape([2, 64]);
    let (values, gradient) =
        energy.energy_and_grad(&rows, &Tensor::cat(&[&y, &y], 0).reshape([2, 16])).unwrap();
    assert_eq!(gradient.size(), [2, 64]);
    for i in 0..2 {
        let x = draws.narrow(0, i, 1);
        let u = a.apply(&x).unwrap() - &y;
        let nll = 0.5 * u.square().sum(Kind::Double).double_value(&[]) / (SIGMA * SIGMA);
        let penalty = 16.0 * WEIGHT * distance(&x);
        let error = (values.double_value(&[i]) - nll - penalty).abs();
        assert!(error < 2.0 * gap * penalty, "{error} {nll} {penalty}");
    }
}
