//! MAP estimation: descent, a closed form, fresh patches, bad input.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::largest;
use smalti_base::metrics::psnr;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{
    Boundary, Convolution, Gaussian, Identity, Likelihood, Operator, PixelGrid, interpolate,
};
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use smalti_priors::{Regularizer, TotalVariation};
use smalti_solvers::{AdamSettings, Iteration, Map, Objective, RunControl, Schedule, run};
use tch::{Device, Kind, Tensor};

fn image(name: &str, domain: Space) -> Tensor {
    Seed::new(6).at(name, 0).uniform(&domain.batch(1)).to_kind(Kind::Double)
}

/// `R(x) = mean (x - m)^2 / 2`, which notes its refreshes.
struct Quadratic {
    mean: f64,
    refreshed: Vec<u64>,
    /// Gives NaN from this step on.
    broken: u64,
}

impl Quadratic {
    fn new(mean: f64) -> Self {
        Self { mean, refreshed: Vec::new(), broken: u64::MAX }
    }
}

impl Regularizer for Quadratic {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.value_and_grad(x)?.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let r = x - self.mean;
        let value = 0.5 * r.square().mean(Kind::Double).double_value(&[]);
        let broken = self.refreshed.last().is_some_and(|&k| k >= self.broken);
        Ok((if broken { f64::NAN } else { value }, r / x.numel() as f64))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.refreshed.push(step);
        Ok(())
    }
}

fn adam(steps: u64, rate: f64, schedule: Schedule) -> AdamSettings {
    AdamSettings::constant(steps, rate).with_schedule(schedule)
}

#[test]
fn a_quadratic_problem_is_solved_as_its_formula_says() {
    tch::set_num_threads(1);
    let domain = Space::image(1, 9, 14);
    let (y, sigma, weight) = (image("observation", domain), 0.5, 3.0);
    let likelihood = Gaussian::new(sigma).unwrap();
    let mut prior = Quadratic::new(0.2);
    let identity = Identity::new(domain);
    let problem = Objective {
        operator: &identity,
        likelihood: &likelihood,
        observation: &y,
        prior: &mut prior,
        weight,
    };
    let settings = adam(400, 0.05, Schedule::Cosine { warmup: 5 });
    let mut map = Map::new(problem, &y.zeros_like(), settings).unwrap();
    let first = map.step(0).unwrap();
    for k in 1..400 {
        map.step(k).unwrap();
    }
    let last = map.step(400).unwrap();
    let x = map.finish().unwrap();
    // n J = |x - y|^2 / (2 sigma^2) + w |x - m|^2 / 2.
    let precision = 1.0 / (sigma * sigma);
    let expected = (&y * precision + weight * 0.2) / (precision + weight);
    assert!(largest(&(&x - &expected)) < 1e-6, "{}", largest(&(&x - &expected)));
    assert_eq!(prior.refreshed, (0..=400).collect::<Vec<_>>());

    // The terms are those of J, at the image before the step.
    let objective = |x: &Tensor| {
        let data = 0.5 * precision * (x - &y).square().mean(Kind::Double).double_value(&[]);
        [data + weight * prior.value(x).unwrap(), data, prior.value(x).unwrap()]
    };
    for (step, x) in [(first, y.zeros_like()), (last, expected)] {
        let names: Vec<&str> = step.terms.iter().map(|term| term.0).collect();
        assert_eq!(names, ["objective", "data term", "prior"]);
        for (term, value) in step.terms.iter().zip(objective(&x)) {
            assert!((term.1 - value).abs() < 1e-9, "{term:?} {value}");
        }
    }
}

/// For the identity the minimiser over `x >= 0` is the one over all images, cut off.
#[test]
fn without_negative_values_the_closed_form_is_cut_off() {
    tch::set_num_threads(1);
    let domain = Space::image(1, 9, 14);
    let (y, sigma, weight) = (image("observation", domain) - 0.5, 0.5f64, 3.0);
    let likelihood = Gaussian::new(sigma).unwrap();
    let mut prior = Quadratic::new(0.1);
    let operator = Identity::new(domain);
    let problem = Objective {
        operator: &operator,
        likelihood: &likelihood,
        observation: &y,
        prior: &mut prior,
        weight,
    };
    let start = y.copy();
    let mut map =
        Map::new(problem, &start, adam(2000, 0.02, Schedule::Cosine { warmup: 0 })).unwrap().nonnegative();
    run(&mut map, 2000, &RunControl::default()).unwrap();
    let free = (&y / sigma.powi(2) + weight * 0.1) / (1.0 / sigma.powi(2) + weight);
    let (found, expected) = (map.finish().unwrap(), free.clamp_min(0.0));
    assert!(free.min().double_value(&[]) < -0.05 && found.min().double_value(&[]) == 0.0);
    assert!(largest(&(found - expected)) < 1e-6);
    assert_eq!(start, y, "the initial image was changed");
}

#[test]
fn the_gradient_with_an_operator_vanishes_at_the_result() {
    tch::set_num_threads(1);
    let domain = Space::image(1, 10, 16);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let y = a.apply(&image("truth", domain)).unwrap();
    let likelihood = Gaussian::new(0.3).unwrap();
    let mut prior = Quadratic::new(0.5);
    let problem =
        Objective { operator: &a, likelihood: &likelihood, observation: &y, prior: &mut prior, weight: 0.8 };
    let mut map =
        Map::new(problem, &image("start", domain), adam(800, 0.05, Schedule::Cosine { warmup: 0 })).unwrap();
    run(&mut map, 800, &RunControl::default()).unwrap();
    let x = map.finish().unwrap();
    // By autograd, through the same objective written anew: means over 40 observed and 160 image values.
    let leaf = x.set_requires_grad(true);
    let data = (a.apply(&leaf).unwrap() - &y).square().mean(Kind::Double) / (2.0 * 0.3 * 0.3);
    let objective = data + (&leaf - 0.5).square().mean(Kind::Double) * 0.5 * 0.8;
    let gradient = Tensor::run_backward(&[objective], &[&leaf], false, false).remove(0);
    assert!(largest(&gradient) < 1e-8, "{}", largest(&gradient));
}

#[test]
fn the_objective_of_a_smooth_problem_falls_in_every_step() {
    let domain = Space::image(1, 24, 32);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let y = a.apply(&image("truth", domain)).unwrap();
    let likelihood = Gaussian::new(0.1).unwrap();
    for schedule in [Schedule::Constant, Schedule::Cosine { warmup: 2 }] {
        let mut tv = TotalVariation::new(domain, 0.1).unwrap();
        let (operator, observation) = (&a, &y);
        let problem =
            Objective { operator, likelihood: &likelihood, observation, prior: &mut tv, weight: 0.5 };
        let start = y.mean(Kind::Double).expand(domain.batch(1), false);
        let mut map = Map::new(problem, &start, adam(60, 2e-3, schedule)).unwrap();
        let values: Vec<f64> = (0..60).map(|k| map.step(k).unwrap().terms[0].1).collect();
        assert!(values.windows(2).all(|w| w[1] < w[0]), "{values:?}");
        assert!(values[59] < 0.8 * values[0], "{values:?}");
    }
}

#[test]
fn the_initial_image_may_be_any_view_and_is_not_changed() {
    let domain = Space::image(1, 9, 14);
    let y = image("observation", domain);
    let (likelihood, identity) = (Gaussian::new(0.5).unwrap(), Identity::new(domain));
    let result = |start: &Tensor| {
        let mut prior = Quadratic::new(0.2);
        let (operator, observation) = (&identity, &y);
        let problem =
            Objective { operator, likelihood: &likelihood, observation, prior: &mut prior, weight: 1.0 };
        let mut map = Map::new(problem, start, adam(5, 0.05, Schedule::Constant)).unwrap();
        run(&mut map, 5, &RunControl::default()).unwrap();
        map.finish().unwrap()
    };
    let plain = image("start", domain);
    let transposed = plain.transpose(2, 3).contiguous().transpose(2, 3);
    let cut = Tensor::cat(&[&plain, &plain], 3).narrow(3, 0, 14);
    let tracked = plain.copy().set_requires_grad(true);
    let expected = result(&plain);
    assert!(largest(&(&expected - &plain)) > 0.1);
    for start in [transposed, cut, tracked] {
        assert!(result(&start).equal(&expected), "strides {:?}", start.stride());
        assert!(start.equal(&plain));
    }
    // Also one without memory of its own.
    let flat = Tensor::from_slice(&[0.3]).expand(domain.batch(1), false);
    assert!(result(&flat).equal(&result(&flat.contiguous())));
}

#[test]
fn nan_stops_the_run_and_names_the_term() {
    let domain = Space::image(1, 9, 14);
    let y = image("observation", domain);
    let (likelihood, identity) = (Gaussian::new(0.5).unwrap(), Identity::new(domain));
    let mut prior = Quadratic { broken: 4, ..Quadratic::new(0.0) };
    let problem = Objective {
        operator: &identity,
        likelihood: &likelihood,
        observation: &y,
        prior: &mut prior,
        weight: 1.0,
    };
    let mut map = Map::new(problem, &y, adam(9, 0.05, Schedule::Constant)).unwrap();
    let error = run(&mut map, 9, &RunControl::default()).unwrap_err();
    assert!(matches!(error, Error::NonFinite { iteration: 4, .. }), "{error}");
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let domain = Space::image(1, 12, 16);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let x = image("start", domain);
    let y = a.apply(&x).unwrap();
    let gaussian = Gaussian::new(0.1).unwrap();
    let attempt = |y: &Tensor, x: &Tensor, weight, settings, prior: &mut dyn Regularizer| {
        let likelihood: &dyn Likelihood = &gaussian;
        let mut map =
            Map::new(Objective { operator: &a, likelihood, observation: y, prior, weight }, x, settings)?;
        run(&mut map, 2, &RunControl::default())
    };
    let good = adam(2, 0.01, Schedule::Constant);
    attempt(&y, &x, 1.0, good, &mut Quadratic::new(0.0)).unwrap();
    let line = |y: &Tensor, x: &Tensor, weight, settings| {
        let line = attempt(y, x, weight, settings, &mut Quadratic::new(0.0)).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&y, &x, 1.0, good.with_rate(bad)).contains("learning rate"));
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&y, &x, bad, good).contains("weight"));
    }
    assert!(line(&x, &x, 1.0, good).contains("observation"));
    assert!(line(&y, &y, 1.0, good).contains("initial image"));
    assert!(line(&y, &x.repeat([2, 1, 1, 1]), 1.0, good).contains("batch of the initial image"));
    assert!(line(&y.repeat([2, 1, 1, 1]), &x, 1.0, good).contains("batch of the observation"));
    assert!(line(&y.to_kind(Kind::Float), &x, 1.0, good).contains("dtype and device"));
    assert!(line(&y, &x.to_kind(Kind::Float), 1.0, good).contains("dtype and device"));
    let whole = |t: &Tensor| (t * 255.0).to_kind(Kind::Uint8);
    assert!(line(&whole(&y), &whole(&x), 1.0, good).contains("floating-point"));
    for bad in [f64::NAN, f64::INFINITY] {
        let hole = |t: &Tensor| {
            let t = t.copy();
            let _ = t.narrow(2, 3, 1).fill_(bad);
            t
        };
        assert!(line(&hole(&y), &x, 1.0, good).starts_with("observation: expected finite"));
        assert!(line(&y, &hole(&x), 1.0, good).starts_with("initial image: expected finite"));
    }
    // A regularizer for images of another size.
    let mut other = TotalVariation::new(Space::image(1, 16, 12), 0.1).unwrap();
    let error = attempt(&y, &x, 1.0, good, &mut other).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    if tch::Cuda::is_available() {
        assert!(line(&y, &x.to_device(Device::Cuda(0)), 1.0, good).contains("dtype and device"));
    }
}

/// Two grey values that meet along random straight lines, so that patches look alike at every size.
fn straight_edges(side: i64) -> Tensor {
    let index = Tensor::arange(side, (Kind::Double, Device::Cpu)) / side as f64 - 0.5;
    let mut sign = Tensor::ones([side, side], (Kind::Double, Device::Cpu));
    for k in 0..8 {
        let v: Vec<f64> =
            Vec::try_from(Seed::new(9).at("line", k).uniform(&[2]).to_kind(Kind::Double)).unwrap();
        let (angle, offset) = (std::f64::consts::PI * v[0], v[1] - 0.5);
        let along = index.unsqueeze(1) * angle.cos() + index.unsqueeze(0) * angle.sin() - offset * 0.8;
        sign *= along.sign();
    }
    (sign * 0.3 + 0.5).reshape([1, 1, side, side])
}

/// Zero-shot superresolution: no other reference than the observation.
#[test]
fn the_patches_of_an_observation_sharpen_it() {
    tch::set_num_threads(1);
    let (side, noise) = (64, 0.01);
    let domain = Space::image(1, side, side);
    let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let truth = straight_edges(side);
    let y = operator.apply(&truth).unwrap();
    let y = &y + Seed::new(6).at("noise", 0).normal(&y.size()) * noise;
    let start = interpolate(&y, operator.grid(), domain, Boundary::Periodic).unwrap();
    let settings = WppSettings::default()
        .with_patch_size(5)
        .with_scales(1)
        .with_references(ReferencePatches::All)
        .with_dual(DualMethod::AveragedSgd { steps: 10, step: 1.0 });
    let mut prior = WassersteinPatchPrior::new(&domain.batch(1), &[&y], &settings, Seed::new(7)).unwrap();
    let likelihood = Gaussian::new(noise).unwrap();
    let problem = Objective {
        operator: &operator,
        likelihood: &likelihood,
        observation: &y,
        prior: &mut prior,
        weight: 5.0,
    };
    let mut map = Map::new(problem, &start, adam(100, 0.01, Schedule::Cosine { warmup: 5 })).unwrap();
    run(&mut map, 100, &RunControl::default()).unwrap();
    let x = map.finish().unwrap();
    let inner = |x: &Tensor| x.narrow(2, 4, side - 8).narrow(3, 4, side - 8);
    let score = |x: &Tensor| psnr(&inner(x), &inner(&truth), 1.0).unwrap();
    let (ours, bicubic) = (score(&x), score(&start));
    println!("zero-shot WPP {ours:.2} dB, bicubic {bicubic:.2} dB");
    assert!(ours > bicubic + 1.0, "{ours:.2} dB, bicubic {bicubic:.2} dB");
}
