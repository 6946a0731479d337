//! Poisson-TV by the primal-dual method: optimality, its weight's convention, restarts, x >= 0, limits, bad input.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::{largest, lengths, sum};
use smalti_base::{Error, Seed, Space};
use smalti_operators::{Gradient, Likelihood, LinearOperator, Operator, Poisson, low_dose};
use smalti_priors::TotalVariation;
use smalti_solvers::{
    AdamSettings, Iteration, Map, Objective, RunControl, Schedule, StopReason, TvPrimalDual, run,
};
use tch::{Device, Kind, Tensor};

const SIDE: i64 = 18;
const ANGLES: i64 = 20;
const DETECTORS: i64 = 25;

/// A small tomograph as a matrix: every pixel shared between the two detector pixels that its centre falls between.
struct Rays(Tensor);

impl Rays {
    fn new() -> Self {
        let (pixel, detector) = (0.26 / SIDE as f64, 0.26 * 1.4143 / DETECTORS as f64);
        let mut matrix = vec![0.0; (ANGLES * DETECTORS * SIDE * SIDE) as usize];
        for angle in 0..ANGLES {
            let (sin, cos) = ((angle as f64 + 0.5) * std::f64::consts::PI / ANGLES as f64).sin_cos();
            for k in 0..SIDE * SIDE {
                let at = |i: i64| (i as f64 + 0.5) * pixel - 0.13;
                let place =
                    (at(k / SIDE) * cos + at(k % SIDE) * sin) / detector + DETECTORS as f64 / 2.0 - 0.5;
                let left = place.floor();
                for (d, share) in [(left as i64, 1.0 + left - place), (left as i64 + 1, place - left)] {
                    if (0..DETECTORS).contains(&d) {
                        let row = angle * DETECTORS + d;
                        matrix[(row * SIDE * SIDE + k) as usize] = share * pixel * pixel / detector;
                    }
                }
            }
        }
        Self(Tensor::from_slice(&matrix).reshape([ANGLES * DETECTORS, SIDE * SIDE]))
    }
}

impl Operator for Rays {
    fn domain(&self) -> Space {
        Space::image(1, SIDE, SIDE)
    }
    fn range(&self) -> Space {
        Space::image(1, ANGLES, DETECTORS)
    }
    fn apply(&self, x: &Tensor) -> Result<Tensor, Error> {
        let matrix = self.0.to_kind(x.kind());
        Ok(x.reshape([-1, SIDE * SIDE]).matmul(&matrix.tr()).reshape(self.range().batch(-1)))
    }
    fn vjp(&self, _: &Tensor, v: &Tensor) -> Result<Tensor, Error> {
        self.adjoint(v)
    }
}

impl LinearOperator for Rays {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor, Error> {
        let matrix = self.0.to_kind(v.kind());
        Ok(v.reshape([-1, ANGLES * DETECTORS]).matmul(&matrix).reshape(self.domain().batch(-1)))
    }
}

/// Air, a body of the attenuation of water, a lung and a bone.
fn truth() -> Tensor {
    let axis = Tensor::arange(SIDE, (Kind::Double, Device::Cpu)) - (SIDE - 1) as f64 / 2.0;
    let disc = |row: f64, column: f64, radius: f64| {
        let inside =
            ((axis.unsqueeze(1) - row).square() + (axis.unsqueeze(0) - column).square()).lt(radius * radius);
        inside.to_kind(Kind::Double)
    };
    let image = disc(0.0, 0.0, 8.0) * 0.25 - disc(-2.5, 1.0, 3.2) * 0.22 + disc(4.0, -2.0, 2.0) * 0.2;
    image.reshape([1, 1, SIDE, SIDE])
}

fn noise() -> Poisson {
    Poisson::new(400.0, Poisson::MU_MAX).unwrap()
}

fn observed(a: &Rays) -> Tensor {
    tch::set_num_threads(1);
    low_dose(&a.apply(&truth()).unwrap(), &noise(), Seed::new(5)).unwrap()
}

/// The objective of the documentation: two means.
fn objective(a: &Rays, y: &Tensor, weight: f64, x: &Tensor) -> f64 {
    let u = a.apply(x).unwrap();
    let tv = lengths(&Gradient::new(a.domain()).apply(x).unwrap()).mean(Kind::Double).double_value(&[]);
    sum(&noise().nll(&u, y).unwrap()) / y.numel() as f64 + weight * tv
}

struct Solved {
    x: Tensor,
    q: Tensor,
    steps: u64,
    ended: StopReason,
}

fn solve(a: &Rays, y: &Tensor, weight: f64, tolerance: f64, nonnegative: bool, start: &Tensor) -> Solved {
    let mut tv = TvPrimalDual::poisson(a, noise(), y, weight, tolerance, start).unwrap();
    if nonnegative {
        tv = tv.nonnegative();
    }
    assert_eq!(tv.name(), "Poisson-TV");
    let summary = run(&mut tv, 60_000, &RunControl::default()).unwrap();
    let q = tv.save().unwrap().tensors.remove("q").unwrap();
    Solved { x: tv.finish().unwrap(), q, steps: summary.steps, ended: summary.reason }
}

#[test]
fn the_solution_is_certified() {
    let a = Rays::new();
    let y = observed(&a);
    let n = y.numel() as f64;
    for (weight, nonnegative) in [(0.3, false), (0.3, true), (3.0, true), (30.0, true)] {
        let alpha = weight * n / (SIDE * SIDE) as f64;
        let found = solve(&a, &y, weight, 1e-7, nonnegative, &truth().zeros_like());
        assert!(matches!(found.ended, StopReason::Done(_)));
        let best = objective(&a, &y, weight, &found.x);
        // nJ is convex: for every u, nJ(u) >= nJ(x) + <r, u - x> - slack with r = A^T nll'(A x) + D^T q, |q| <= alpha and
        // slack = alpha TV(x) - <q, D x>. Without a sign <r, u - x> >= -|r| |u - x|; for u >= 0 it is at least
        // -|min(r, 0)| |u| - <r, x>.
        let d = Gradient::new(a.domain());
        assert!(largest(&lengths(&found.q)) <= alpha * (1.0 + 1e-12));
        let slope = noise().grad(&a.apply(&found.x).unwrap(), &y).unwrap();
        let r = a.adjoint(&slope).unwrap() + d.adjoint(&found.q).unwrap();
        let gradient = d.apply(&found.x).unwrap();
        let slack = alpha * sum(&lengths(&gradient)) - sum(&(&found.q * gradient));
        // No image of interest is further away than one of half the largest value everywhere.
        let far = 0.5 * SIDE as f64;
        let first = if nonnegative {
            assert!(found.x.min().double_value(&[]) >= 0.0);
            sum(&r.clamp_max(0.0).square()).sqrt() * far + sum(&(&r * &found.x))
        } else {
            sum(&r.square()).sqrt() * far
        };
        let excess = (first.max(0.0) + slack) / n / best;
        println!(
            "w {weight}, x >= 0 {nonnegative}: at most {excess:.1e} above the optimum, {} steps",
            found.steps
        );
        assert!((0.0..1e-3).contains(&excess), "{weight} {nonnegative}: {excess}");
    }
}

#[test]
fn the_weight_is_that_of_map_estimation() {
    let a = Rays::new();
    let y = observed(&a);
    let weight = 3.0;
    let found = solve(&a, &y, weight, 1e-6, false, &truth().zeros_like()).x;
    let mut prior = TotalVariation::new(a.domain(), 1e-5).unwrap();
    let likelihood = noise();
    let problem =
        Objective { operator: &a, likelihood: &likelihood, observation: &y, prior: &mut prior, weight };
    let settings = AdamSettings::constant(6000, 0.01).with_schedule(Schedule::Cosine { warmup: 0 });
    let mut map = Map::new(problem, &found.zeros_like(), settings).unwrap();
    run(&mut map, 6000, &RunControl::default()).unwrap();
    let other = map.finish().unwrap();
    let (ours, theirs) = (objective(&a, &y, weight, &found), objective(&a, &y, weight, &other));
    println!(
        "objective {ours:.9}, of the smoothed problem {theirs:.9}, distance {:.1e}",
        largest(&(&found - &other))
    );
    assert!(ours <= theirs * (1.0 + 1e-7), "{ours} {theirs}");
    assert!(theirs <= ours * 1.002, "they solve different problems: {ours} {theirs}");
    assert!(largest(&(&found - &other)) < 0.02);
    // The total variation pays: nearer to the truth than without.
    let error = |x: &Tensor| sum(&(x - truth()).square());
    let rough = solve(&a, &y, 1e-3, 1e-4, false, &truth().zeros_like()).x;
    assert!(error(&found) < 0.5 * error(&rough), "{} {}", error(&found), error(&rough));
}

#[test]
fn a_hundred_iterations_come_near_and_restarts_never_lose() {
    let a = Rays::new();
    let y = observed(&a);
    for weight in [0.3, 3.0, 30.0] {
        let best = objective(&a, &y, weight, &solve(&a, &y, weight, 1e-6, true, &truth().zeros_like()).x);
        let mut x = truth().ones_like() * 0.1;
        let mut last = objective(&a, &y, weight, &x);
        // Every restart forgets the duals.
        for restart in 0..4 {
            let mut tv = TvPrimalDual::poisson(&a, noise(), &y, weight, 1e-12, &x).unwrap().nonnegative();
            run(&mut tv, 100, &RunControl::default()).unwrap();
            x = tv.finish().unwrap();
            let value = objective(&a, &y, weight, &x);
            println!("weight {weight}, restart {restart}: {:.1e} above the optimum", value / best - 1.0);
            assert!(value < best * 1.01, "weight {weight}, restart {restart}: {value} {best}");
            assert!(value <= last * (1.0 + 1e-3), "weight {weight}, restart {restart}: {value} after {last}");
            last = value;
        }
    }
}

#[test]
fn the_start_does_not_matter_and_single_precision_does_not_either() {
    let a = Rays::new();
    let y = observed(&a);
    let zero = truth().zeros_like();
    let found = solve(&a, &y, 3.0, 1e-6, true, &zero).x;
    let random = Seed::new(3).at("start", 0).normal(&zero.size()).to_kind(Kind::Double);
    let other = solve(&a, &y, 3.0, 1e-6, true, &random).x;
    assert!(largest(&(&found - other)) < 1e-3);
    let single = |t: &Tensor| t.to_kind(Kind::Float);
    let float = solve(&a, &single(&y), 3.0, 1e-4, true, &single(&zero));
    assert!(matches!(float.ended, StopReason::Done(_)));
    assert_eq!(float.x.kind(), Kind::Float);
    assert!(largest(&(float.x.to_kind(Kind::Double) - found)) < 5e-3);
}

#[test]
fn rays_without_a_photon_are_no_obstacle() {
    let a = Rays::new();
    // A hundredth of the photons: many counts are 0.
    let few = Poisson::new(4.0, Poisson::MU_MAX).unwrap();
    let y = low_dose(&a.apply(&truth()).unwrap(), &few, Seed::new(5)).unwrap();
    let none = few.counts(&y).unwrap().lt(0.5).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    assert!(none > 0.2, "{none}");
    let start = truth().zeros_like();
    let mut tv = TvPrimalDual::poisson(&a, few, &y, 0.1, 1e-5, &start).unwrap().nonnegative();
    let summary = run(&mut tv, 20_000, &RunControl::default()).unwrap();
    assert!(matches!(summary.reason, StopReason::Done(_)));
    let x = tv.finish().unwrap();
    // Nothing near it is more probable, the truth is not, and no pixel runs away.
    let value = |x: &Tensor| {
        let tv = lengths(&Gradient::new(a.domain()).apply(x).unwrap()).mean(Kind::Double).double_value(&[]);
        sum(&few.nll(&a.apply(x).unwrap(), &y).unwrap()) / y.numel() as f64 + 0.1 * tv
    };
    let best = value(&x);
    assert!(best < value(&truth()) && largest(&x) < 1.0, "{best} {}", value(&truth()));
    for k in 0..8 {
        let direction = Seed::new(9).at("direction", k).normal(&x.size()).to_kind(Kind::Double);
        for size in [1e-1, 1e-2, 1e-3] {
            assert!(value(&(&x + direction.shallow_clone() * size).clamp_min(0.0)) >= best * (1.0 - 1e-6));
        }
    }
}

#[test]
fn a_large_weight_leaves_one_value() {
    let a = Rays::new();
    let y = observed(&a);
    let x = solve(&a, &y, 1e4, 1e-7, true, &truth().zeros_like()).x;
    assert!(largest(&(&x - x.mean(Kind::Double))) < 1e-4);
    // The most probable one: its slope is zero.
    let slope = a.adjoint(&noise().grad(&a.apply(&x).unwrap(), &y).unwrap()).unwrap();
    assert!(sum(&slope).abs() < 1e-3 * sum(&slope.abs()));
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let a = Rays::new();
    let y = observed(&a);
    let x = truth();
    let line = |y: &Tensor, weight, tolerance, x: &Tensor| {
        let line = TvPrimalDual::poisson(&a, noise(), y, weight, tolerance, x).err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&y, bad, 1e-4, &x).contains("weight"));
        assert!(line(&y, 0.1, bad, &x).contains("tolerance"));
    }
    assert!(line(&x, 0.1, 1e-4, &x).contains("observation"));
    assert!(line(&y, 0.1, 1e-4, &y).contains("initial image"));
    assert!(line(&y.to_kind(Kind::Float), 0.1, 1e-4, &x).contains("dtype"));
    let hole = y.copy();
    let _ = hole.narrow(3, 2, 1).fill_(f64::INFINITY);
    assert!(line(&hole, 0.1, 1e-4, &x).starts_with("observation: expected finite"));
}
