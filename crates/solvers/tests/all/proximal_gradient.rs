//! Accelerated proximal gradients against what they have to reach.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Result, Seed, Space};
use smalti_operators::{
    Boundary, Convolution, Gaussian, Identity, Likelihood, LinearOperator, Operator, Poisson,
};
use smalti_priors::{Regularizer, TotalVariation};
use smalti_solvers::{Iteration, Objective, ProximalGradient, RunControl, RunSummary, Step, StopReason, run};
use tch::{Kind, Tensor};

fn draw(name: &str, size: &[i64]) -> Tensor {
    Seed::new(8).at(name, 0).normal(size).to_kind(Kind::Double)
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

/// `mean (x^2 - 1)^2 / 4`: two valleys and a ridge between them in every pixel.
struct Valleys;

impl Regularizer for Valleys {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok((x.square() - 1.0).square().mean(Kind::Double).double_value(&[]) / 4.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value(x)?, x * (x.square() - 1.0) / x.numel() as f64))
    }
}

/// Keeps the objective after every step.
struct Watched<'a> {
    inner: ProximalGradient<'a>,
    values: Vec<f64>,
}

impl Iteration for Watched<'_> {
    type Output = (Tensor, Vec<f64>);

    fn name(&self) -> String {
        self.inner.name()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let step = self.inner.step(k)?;
        self.values.push(step.terms[0].1);
        Ok(step)
    }

    fn finish(self) -> Result<Self::Output> {
        Ok((self.inner.finish()?, self.values))
    }
}

struct Scene<'a> {
    operator: &'a dyn LinearOperator,
    likelihood: &'a dyn Likelihood,
    observation: &'a Tensor,
    weight: f64,
}

impl Scene<'_> {
    fn solve(
        &self,
        prior: &mut dyn Regularizer,
        start: &Tensor,
        (steps, tolerance, nonnegative): (u64, f64, bool),
    ) -> (Tensor, Vec<f64>, RunSummary) {
        let Scene { operator, likelihood, observation, weight } = *self;
        let problem = Objective { operator: &operator, likelihood, observation, prior, weight };
        let mut inner = ProximalGradient::new(problem, start, tolerance).unwrap();
        if nonnegative {
            inner = inner.nonnegative();
        }
        let mut watched = Watched { inner, values: Vec::new() };
        let summary = run(&mut watched, steps, &RunControl::default()).unwrap();
        let (x, values) = watched.finish().unwrap();
        (x, values, summary)
    }

    /// The gradient of the objective.
    fn gradient(&self, prior: &dyn Regularizer, x: &Tensor) -> Tensor {
        let slope = self.likelihood.grad(&self.operator.apply(x).unwrap(), self.observation).unwrap();
        let data = self.operator.adjoint(&slope).unwrap() / self.observation.numel() as f64;
        data + prior.value_and_grad(x).unwrap().1 * self.weight
    }
}

fn never_grows(values: &[f64]) {
    assert!(values.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12)), "{values:?}");
}

#[test]
fn a_convex_objective_reaches_its_minimum_with_and_without_a_bound() {
    let domain = Space::image(1, 16, 20);
    let a = Convolution::superresolution(domain, 6, 1.5, 2, Boundary::Periodic).unwrap();
    let (y, noise) = (draw("y", &a.range().batch(1)), Gaussian::new(0.5).unwrap());
    let scene = Scene { operator: &a, likelihood: &noise, observation: &y, weight: 0.3 };
    let mut tv = TotalVariation::new(domain, 0.1).unwrap();
    let start = draw("start", &domain.batch(1));
    let first = largest(&scene.gradient(&tv, &start));
    let (x, values, summary) = scene.solve(&mut tv, &start, (3000, 1e-8, false));
    assert!(matches!(summary.reason, StopReason::Done(_)), "{summary:?}");
    let left = largest(&scene.gradient(&tv, &x));
    println!("free: {} steps, gradient {left:.1e} of {first:.1e}", summary.steps);
    assert!(left < 1e-6 * first, "{left} {first}");
    never_grows(&values);
    // With a bound: zero gradient where pixels are positive, none that pulls up where they are zero.
    let (x, values, summary) = scene.solve(&mut tv, &start, (3000, 1e-8, true));
    let gradient = scene.gradient(&tv, &x);
    let (zero, positive) = (x.eq(0.0).to_kind(Kind::Double), x.gt(0.0).to_kind(Kind::Double));
    assert!(x.min().double_value(&[]) >= 0.0 && zero.sum(Kind::Double).double_value(&[]) > 10.0);
    println!("bound: {} steps", summary.steps);
    assert!(largest(&(&gradient * positive)) < 1e-6 * first);
    assert!((&gradient * zero).min().double_value(&[]) > -1e-6 * first);
    never_grows(&values);
}

/// Acceleration pays: a quadratic with curvatures from 1e-4 to 1 in some hundred steps, where plain gradients take ten thousands.
#[test]
fn ill_conditioned_quadratics_take_few_steps() {
    struct Scaled(Tensor);
    impl Regularizer for Scaled {
        fn value(&self, x: &Tensor) -> Result<f64> {
            Ok(0.5 * (x.square() * &self.0).sum(Kind::Double).double_value(&[]))
        }
        fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
            Ok((self.value(x)?, x * &self.0))
        }
    }
    let domain = Space::image(1, 10, 10);
    let exponents = Tensor::linspace(-4.0, 0.0, 100, tch::kind::DOUBLE_CPU).reshape(domain.batch(1));
    let mut prior = Scaled((exponents * 10f64.ln()).exp());
    let (a, noise) = (Identity::new(domain), Gaussian::new(1e4).unwrap());
    let y = draw("y", &domain.batch(1));
    let scene = Scene { operator: &a, likelihood: &noise, observation: &y, weight: 1.0 };
    let (_, values, summary) = scene.solve(&mut prior, &y, (600, 1e-12, false));
    println!("{} steps, {:.2e} of {:.2e}", summary.steps, values[values.len() - 1], values[0]);
    assert!(values[values.len() - 1] < 1e-6 * values[0], "{:?}", values.last());
    never_grows(&values);
}

#[test]
fn objectives_that_are_not_convex_never_grow_and_end_at_critical_points() {
    let domain = Space::image(1, 12, 14);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let (y, noise) = (draw("y", &a.range().batch(1)), Gaussian::new(1.0).unwrap());
    let scene = Scene { operator: &a, likelihood: &noise, observation: &y, weight: 5.0 };
    let start = draw("start", &domain.batch(1)) * 2.0;
    let (x, values, summary) = scene.solve(&mut Valleys, &start, (2000, 1e-11, false));
    let left = largest(&scene.gradient(&Valleys, &x)) / largest(&scene.gradient(&Valleys, &start));
    println!("{} steps, gradient {left:.1e}", summary.steps);
    assert!(matches!(summary.reason, StopReason::Done(_)) && left < 1e-6, "{left} {summary:?}");
    never_grows(&values);
}

/// Photon counts have no curvature that is the same everywhere, and overflow far out: steps are found by trying.
#[test]
fn photon_counts_are_fitted_without_a_known_curvature() {
    let domain = Space::image(1, 9, 8);
    let (a, noise) = (Identity::new(domain), Poisson::lodopab());
    let y = Seed::new(8).at("y", 0).uniform(&domain.batch(1)).to_kind(Kind::Double) * 0.1;
    let scene = Scene { operator: &a, likelihood: &noise, observation: &y, weight: 0.0 };
    let mut tv = TotalVariation::new(domain, 0.1).unwrap();
    for start in [y.zeros_like(), y.ones_like() * 0.3] {
        let (x, values, summary) = scene.solve(&mut tv, &start, (5000, 1e-9, true));
        println!("{} steps, {:.1e} from the solution", summary.steps, largest(&(&x - &y)));
        assert!(largest(&(&x - &y)) < 1e-4, "{}", largest(&(&x - &y)));
        never_grows(&values);
    }
}

#[test]
fn it_goes_on_where_it_was_stopped() {
    let domain = Space::image(1, 12, 10);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Reflect).unwrap();
    let (y, noise) = (draw("y", &a.range().batch(1)), Gaussian::new(0.5).unwrap());
    let start = draw("start", &domain.batch(1));
    let result = |stops: &[u64]| {
        let mut priors: Vec<TotalVariation> =
            (0..=stops.len()).map(|_| TotalVariation::new(domain, 0.1).unwrap()).collect();
        let mut next = priors.iter_mut();
        let make = || {
            let prior: &mut dyn Regularizer = next.next().unwrap();
            let problem = Objective { operator: &a, likelihood: &noise, observation: &y, prior, weight: 0.2 };
            ProximalGradient::new(problem, &start, 1e-12).unwrap().nonnegative()
        };
        in_pieces(14, stops, make).0
    };
    let whole = result(&[]);
    assert!(result(&[1, 5, 8]).equal(&whole) && !whole.equal(&start));
}

#[test]
fn settings_out_of_range_are_refused() {
    let domain = Space::image(1, 4, 4);
    let (a, noise, y) = (Identity::new(domain), Gaussian::new(1.0).unwrap(), draw("y", &domain.batch(1)));
    for (weight, tolerance) in [(-1.0, 1e-3), (f64::NAN, 1e-3), (1.0, 0.0), (1.0, f64::INFINITY)] {
        let problem =
            Objective { operator: &a, likelihood: &noise, observation: &y, prior: &mut Valleys, weight };
        let line = ProximalGradient::new(problem, &y, tolerance).unwrap_err().to_string();
        assert!(line.contains("expected a"), "{line}");
    }
}
