//! Langevin chains: a Gaussian posterior in closed form, the bias of ULA, resumption, divergence, bad input.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Boundary, Convolution, Gaussian, Identity, Operator};
use smalti_priors::Regularizer;
use smalti_solvers::langevin::{
    Langevin, LangevinScheme, LangevinSettings, PosteriorSamples, Preconditioner, Quantity, overdispersed,
};
use smalti_solvers::{Iteration, Objective, RunControl, run};
use tch::{Device, Kind, Tensor};

const SIGMA: f64 = 0.1;
const WEIGHT: f64 = 20.0;
const DRAWS: u64 = 2500;

/// `R(x) = mean (x - 0.3)^2 / 2`, with a gradient of its own choice, noting its refreshes.
struct Quadratic {
    slope: f64,
    refreshed: Vec<u64>,
}

impl Quadratic {
    fn new() -> Self {
        Self { slope: 1.0, refreshed: Vec::new() }
    }
}

impl Regularizer for Quadratic {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(0.5 * (x - 0.3).square().mean(Kind::Double).double_value(&[]))
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value(x)?, (x - 0.3) * (self.slope / x.numel() as f64)))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.refreshed.push(step);
        Ok(())
    }
}

fn domain() -> Space {
    Space::image(1, 4, 6)
}

fn blur() -> Convolution {
    Convolution::superresolution(domain(), 3, 0.8, 2, Boundary::Periodic).unwrap()
}

fn observation(operator: &dyn Operator) -> Tensor {
    let truth = Seed::new(1).at("truth", 0).uniform(&domain().batch(1)).to_kind(Kind::Double);
    let u = operator.apply(&truth).unwrap();
    let noise = Seed::new(1).at("noise", 0).normal(&u.size()) * SIGMA;
    u + noise
}

fn every_pixel() -> Vec<[i64; 3]> {
    (0..24).map(|k| [0, k / 6, k % 6]).collect()
}

fn settings(scheme: LangevinScheme, step_size: f64) -> LangevinSettings {
    LangevinSettings::default()
        .with_scheme(scheme)
        .with_step_size(step_size)
        .with_burn_in(500)
        .with_draws(DRAWS)
        .with_thin(1)
        .with_keep(5)
        .with_pixels(every_pixel())
}

fn starts(y: &Tensor, chains: i64) -> Tensor {
    let zero = Tensor::zeros(domain().batch(1), (y.kind(), Device::Cpu));
    overdispersed(&zero, chains, 1.0, Seed::new(2)).unwrap()
}

fn sampled(
    prior: &mut Quadratic,
    settings: LangevinSettings,
    precondition: Option<&Preconditioner>,
) -> Result<PosteriorSamples> {
    let operator = blur();
    let y = observation(&operator);
    let likelihood = Gaussian::new(SIGMA)?;
    let problem =
        Objective { operator: &operator, likelihood: &likelihood, observation: &y, prior, weight: WEIGHT };
    let steps = settings.steps();
    let mut chains = Langevin::new(problem, &starts(&y, 4), settings, Seed::new(3))?;
    if let Some(m) = precondition {
        chains = chains.with_preconditioner(m)?;
    }
    run(&mut chains, steps, &RunControl::default())?;
    chains.finish()
}

/// Mean `[24]` and covariance `[24, 24]` of the posterior: precision `A^T A / sigma^2 + lambda / 24`, `lambda = n w`.
fn closed_form() -> (Tensor, Tensor) {
    let operator = blur();
    let y = observation(&operator);
    let basis = Tensor::eye(24, (Kind::Double, Device::Cpu)).reshape([24, 1, 4, 6]);
    let a = operator.apply(&basis).unwrap().flatten(1, -1).tr();
    let lambda = y.numel() as f64 * WEIGHT / 24.0;
    let precision = a.tr().matmul(&a) / SIGMA.powi(2) + Tensor::eye(24, (Kind::Double, Device::Cpu)) * lambda;
    let covariance = precision.inverse();
    let right = a.tr().matmul(&y.flatten(0, -1)) / SIGMA.powi(2) + 0.3 * lambda;
    (covariance.matmul(&right), covariance)
}

/// Distances of sample means, and of sample covariances, from the closed form, in Monte-Carlo standard errors: the largest
/// and the root of the mean square of each.
fn distances(found: &PosteriorSamples) -> [(f64, f64); 2] {
    let (mean, covariance) = closed_form();
    let pixels = &found.traces[1..];
    let series: Vec<Vec<f64>> = pixels.iter().map(|t| t.chains.concat()).collect();
    let exact = |i: usize, j: usize| covariance.double_value(&[i as i64, j as i64]);
    let (mut of_means, mut of_covariances) = (Vec::new(), Vec::new());
    for (i, a) in series.iter().enumerate() {
        let m = mean.double_value(&[i as i64]);
        let average = a.iter().sum::<f64>() / a.len() as f64;
        of_means.push((average - m) / (exact(i, i) / pixels[i].effective).sqrt());
        for (j, b) in series.iter().enumerate().take(i + 1) {
            let mj = mean.double_value(&[j as i64]);
            let products: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - m) * (b - mj)).collect();
            let average = products.iter().sum::<f64>() / products.len() as f64;
            let per_chain: Vec<&[f64]> = products.chunks(DRAWS as usize).collect();
            let effective = smalti_solvers::langevin::diagnostics::effective_sample_size(&per_chain).unwrap();
            let error = ((exact(i, i) * exact(j, j) + exact(i, j).powi(2)) / effective).sqrt();
            of_covariances.push((average - exact(i, j)) / error);
        }
    }
    [of_means, of_covariances].map(|z| {
        let largest = z.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        (largest, (z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64).sqrt())
    })
}

fn near(distances: [(f64, f64); 2]) -> bool {
    distances.iter().all(|&(largest, typical)| largest < 4.5 && typical < 1.6)
}

#[test]
fn mala_recovers_mean_and_covariance_of_a_gaussian_posterior() {
    let mala = LangevinScheme::Mala { target: Some(LangevinScheme::OPTIMAL_ACCEPTANCE) };
    let mut prior = Quadratic::new();
    let found = sampled(&mut prior, settings(mala, 1e-4), None).unwrap();
    assert!(near(distances(&found)), "{:?}", distances(&found));
    assert!(found.converged() && found.worst_r_hat() < 1.02, "{}", found.worst_r_hat());
    assert!(found.acceptance.iter().all(|a| (a - 0.574).abs() < 0.1), "{:?}", found.acceptance);
    assert!(found.min_effective_sample_size() > 500.0 && found.traces[0].quantity == Quantity::Energy);
    let adapted = found.step_size;
    // One function from the first evaluation to the last.
    assert_eq!(prior.refreshed, [0, 0]);

    // Mean and variance from running sums are those of the traces.
    let (mean, covariance) = closed_form();
    for (k, trace) in found.traces[1..].iter().enumerate() {
        let all = trace.chains.concat();
        let average = all.iter().sum::<f64>() / all.len() as f64;
        let spread = all.iter().map(|v| (v - average).powi(2)).sum::<f64>() / (all.len() - 1) as f64;
        let at = [0, 0, k as i64 / 6, k as i64 % 6];
        assert!((found.mean.double_value(&at) - average).abs() < 1e-12);
        assert!((found.variance.double_value(&at) / spread - 1.0).abs() < 1e-10);
        assert!((found.r_hat.double_value(&at) - trace.r_hat).abs() < 1e-10);
    }

    // With the posterior's variances as preconditioner: the same target.
    let m = Preconditioner::diagonal(&covariance.diagonal(0, 0, 1).reshape([1, 1, 4, 6])).unwrap();
    let found = sampled(&mut Quadratic::new(), settings(mala, 0.1), Some(&m)).unwrap();
    assert!(near(distances(&found)), "{:?}", distances(&found));
    assert!((found.mean.flatten(0, -1) - &mean).abs().max().double_value(&[]) < 0.1);

    // With scales of pixels and of frequencies, from few draws: the same target, too.
    let m = Preconditioner::estimated(&found.pooled()).unwrap();
    let found = sampled(&mut Quadratic::new(), settings(mala, 0.1), Some(&m)).unwrap();
    assert!(near(distances(&found)), "{:?}", distances(&found));
    assert!((found.mean.flatten(0, -1) - mean).abs().max().double_value(&[]) < 0.1);

    // The target does not depend on the gradient that proposals are made with. (With a wrong one chains mix slowly.)
    let mut careless = Quadratic { slope: 0.2, refreshed: Vec::new() };
    let longer = settings(mala, 1e-4).with_thin(3);
    let found = sampled(&mut careless, longer, None).unwrap();
    assert!(near(distances(&found)), "{:?}", distances(&found));

    // Without acceptance, the test sees the bias of the very steps that MALA took.
    let found = sampled(&mut Quadratic::new(), settings(LangevinScheme::Ula, adapted), None).unwrap();
    assert!(!near(distances(&found)), "{:?}", distances(&found));
}

#[test]
fn the_bias_of_ula_shrinks_with_the_step() {
    let identity = Identity::new(domain());
    let y = observation(&identity);
    let likelihood = Gaussian::new(SIGMA).unwrap();
    // All pixels are independent, of this precision.
    let precision = 1.0 / SIGMA.powi(2) + WEIGHT;
    let inflation = |h: f64, draws: u64| {
        let mut prior = Quadratic::new();
        let problem = Objective {
            operator: &identity,
            likelihood: &likelihood,
            observation: &y,
            prior: &mut prior,
            weight: WEIGHT,
        };
        let settings = settings(LangevinScheme::Ula, h)
            .with_burn_in(200)
            .with_draws(draws)
            .with_thin(1)
            .with_pixels([])
            .with_keep(0);
        let steps = settings.steps();
        let mut chains = Langevin::new(problem, &starts(&y, 8), settings, Seed::new(4)).unwrap();
        run(&mut chains, steps, &RunControl::default()).unwrap();
        chains.finish().unwrap().variance.mean(Kind::Double).double_value(&[]) * precision
    };
    let [coarse, fine] = [0.8, 0.2].map(|hp| {
        let found = inflation(hp / precision, 4000);
        // 1 / (1 - h p / 2); independent draws are fewer by 2 / (h p).
        let expected = 1.0 / (1.0 - hp / 2.0);
        let error = expected * (2.0 / (24.0 * 8.0 * 4000.0 * hp / 2.0f64)).sqrt();
        assert!(
            (found - expected).abs() < 5.0 * error,
            "h p = {hp}: {found} instead of {expected} +- {error}"
        );
        found - 1.0
    });
    assert!(coarse > 5.0 * fine && fine > 0.0);
}

#[test]
fn a_resumed_run_gives_the_same_bits() {
    let operator = blur();
    let y = observation(&operator).to_kind(Kind::Float);
    let likelihood = Gaussian::new(SIGMA).unwrap();
    for method in [LangevinScheme::Ula, LangevinScheme::Mala { target: Some(0.6) }] {
        let settings = settings(method, 1e-3).with_burn_in(10).with_draws(8).with_thin(2).with_keep(3);
        let result = |seed, stops: &[u64]| {
            let mut priors: Vec<_> = (0..=stops.len()).map(|_| Quadratic::new()).collect();
            let mut priors = priors.iter_mut();
            let make = || {
                let (prior, observation) = (priors.next().unwrap(), &y);
                let problem = Objective {
                    operator: &operator,
                    likelihood: &likelihood,
                    observation,
                    prior,
                    weight: WEIGHT,
                };
                Langevin::new(problem, &starts(&y, 3), settings.clone(), Seed::new(seed)).unwrap()
            };
            in_pieces(settings.steps(), stops, make).0
        };
        let whole = result(5, &[]);
        assert_eq!(whole.samples.size(), [3, 3, 1, 4, 6]);
        let pieces = result(5, &[4, 13, 21]);
        assert!(pieces.samples.equal(&whole.samples) && pieces.mean.equal(&whole.mean), "{method:?}");
        assert!(pieces.variance.equal(&whole.variance) && pieces.r_hat.equal(&whole.r_hat), "{method:?}");
        assert_eq!((&pieces.traces, &pieces.acceptance), (&whole.traces, &whole.acceptance));
        assert_eq!(pieces.step_size.to_bits(), whole.step_size.to_bits());
        assert!(!result(6, &[]).mean.equal(&whole.mean));
        // The last draw is kept, and chains have noise of their own.
        let last = whole.traces[1].chains.iter().map(|c| c[7]).collect::<Vec<_>>();
        let kept = whole.samples.narrow(1, 2, 1).flatten(1, -1).narrow(1, 0, 1).flatten(0, -1);
        let kept = Vec::<f64>::try_from(kept.to_kind(Kind::Double)).unwrap();
        assert_eq!(last, kept);
    }
}

#[test]
fn chains_that_have_not_met_do_not_agree() {
    let few = settings(LangevinScheme::Ula, 1e-5).with_burn_in(0).with_draws(20).with_thin(1).with_keep(1);
    let found = sampled(&mut Quadratic::new(), few, None).unwrap();
    assert!(!found.converged() && found.worst_r_hat() > 2.0, "{}", found.worst_r_hat());
}

#[test]
fn a_diverging_chain_stops_with_a_remedy() {
    let line =
        sampled(&mut Quadratic::new(), settings(LangevinScheme::Ula, 1.0), None).unwrap_err().to_string();
    assert!(line.contains("energy of chain") && line.contains("in step "), "{line}");
    assert!(line.contains("step size below 1e0, such as 2.5e-1") && line.lines().count() == 1, "{line}");
    // MALA rejects such proposals instead.
    let few = settings(LangevinScheme::Mala { target: None }, 100.0).with_draws(4).with_keep(0);
    let found = sampled(&mut Quadratic::new(), few, None).unwrap();
    assert!(found.acceptance.iter().all(|&a| a == 0.0) && !found.converged());
}

#[test]
fn bad_input_is_refused_in_one_line() {
    assert!(
        Gaussian::new(0.0)
            .unwrap_err()
            .to_string()
            .contains("noise level sigma: expected a positive number, got 0")
    );
    let good = settings(LangevinScheme::Ula, 1e-3);
    let refused = |change: &dyn Fn(&mut LangevinSettings), expected: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let line = sampled(&mut Quadratic::new(), bad, None).unwrap_err().to_string();
        assert!(line.contains(expected) && line.lines().count() == 1, "{line}");
    };
    refused(&|s| s.step_size = 0.0, "step size: expected a positive number");
    refused(&|s| s.step_size = f64::NAN, "step size");
    refused(&|s| s.draws = 7, "draws: expected an even number");
    refused(&|s| s.draws = 2, "draws");
    refused(&|s| s.thin = 0, "thinning");
    refused(&|s| s.keep = DRAWS + 1, "samples to keep: expected at most the 2500 draws");
    refused(
        &|s| s.pixels = vec![[0, 4, 0]],
        "pixel to trace: expected [channel, row, column] within [1, 4, 6]",
    );
    refused(&|s| s.scheme = LangevinScheme::Mala { target: Some(1.0) }, "acceptance to adapt to");

    let operator = blur();
    let y = observation(&operator);
    let likelihood = Gaussian::new(SIGMA).unwrap();
    let new = |starts: &Tensor, weight: f64| {
        let mut prior = Quadratic::new();
        let problem = Objective {
            operator: &operator,
            likelihood: &likelihood,
            observation: &y,
            prior: &mut prior,
            weight,
        };
        let mut chains = Langevin::new(problem, starts, good.clone(), Seed::new(1))?;
        chains.step(0)?;
        let early = Langevin::finish(chains).map(|_| ());
        assert!(matches!(&early, Err(Error::Value { what, .. }) if what == "draws of the chains"));
        Ok::<(), Error>(())
    };
    let good_starts = starts(&y, 2);
    new(&good_starts, 1.0).unwrap();
    assert!(
        new(&good_starts.narrow(3, 0, 5), 1.0).is_err() && new(&good_starts.narrow(0, 0, 0), 1.0).is_err()
    );
    assert!(new(&(&good_starts / 0.0), 1.0).is_err() && new(&good_starts.to_kind(Kind::Float), 1.0).is_err());
    assert!(new(&good_starts, -1.0).is_err() && new(&good_starts, f64::NAN).is_err());
    assert!(
        overdispersed(&y, 0, 1.0, Seed::new(1)).is_err() && overdispersed(&y, 1, -1.0, Seed::new(1)).is_err()
    );
    // One for images of another size.
    let m = Preconditioner::diagonal(&good_starts.narrow(0, 0, 1).narrow(3, 0, 5).ones_like()).unwrap();
    assert!(sampled(&mut Quadratic::new(), good, Some(&m)).is_err());
}
