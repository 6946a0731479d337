//! L2-TV by the primal-dual method: duality, optimality, the stopping rule, limits, bad input.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::{largest, lengths, sum};
use smalti_base::{Seed, Space};
use smalti_operators::{Boundary, Convolution, Gaussian, Gradient, Identity, LinearOperator, Mask, Operator};
use smalti_priors::TotalVariation;
use smalti_solvers::{
    AdamSettings, Iteration, Map, Objective, RunControl, Schedule, StopReason, TvPrimalDual, run,
};
use tch::{Device, Kind, Tensor};

/// Two plateaus and a disc.
fn truth(domain: Space) -> Tensor {
    let axis = |n: i64| Tensor::arange(n, (Kind::Double, Device::Cpu));
    let (rows, columns) = (axis(domain.height).unsqueeze(1), axis(domain.width).unsqueeze(0));
    let disc = ((&rows - 14.0).square() + (&columns - 17.0).square()).lt(90.0);
    let step = (columns + rows * 0.0).ge(30.0);
    (disc.to_kind(Kind::Double) * 0.5 + step.to_kind(Kind::Double) * 0.3 + 0.1).expand(domain.batch(1), true)
}

fn noise(y: &Tensor, sigma: f64) -> Tensor {
    y + Seed::new(8).at("noise", 0).normal(&y.size()).to_kind(y.kind()) * sigma
}

fn objective(a: &dyn Operator, y: &Tensor, alpha: f64, x: &Tensor) -> f64 {
    let tv = sum(&lengths(&Gradient::new(a.domain()).apply(x).unwrap()));
    0.5 * sum(&(a.apply(x).unwrap() - y).square()) + alpha * tv
}

struct Solved {
    x: Tensor,
    /// The dual variable of the gradient.
    q: Tensor,
    steps: u64,
    ended: StopReason,
}

fn solve(a: &dyn LinearOperator, y: &Tensor, alpha: f64, tolerance: f64) -> Solved {
    // Many small operations: threads would only wait for each other.
    tch::set_num_threads(1);
    let start = Tensor::zeros(a.domain().batch(1), (y.kind(), y.device()));
    let mut tv = TvPrimalDual::new(a, y, alpha, tolerance, &start).unwrap();
    let summary = run(&mut tv, 20_000, &RunControl::default()).unwrap();
    let q = tv.save().unwrap().tensors.remove("q").unwrap();
    Solved { x: tv.finish().unwrap(), q, steps: summary.steps, ended: summary.reason }
}

#[test]
fn the_duality_gap_of_denoising_closes() {
    let domain = Space::image(1, 40, 50);
    let y = noise(&truth(domain), 0.1);
    for alpha in [0.02, 0.1, 0.4] {
        let found = solve(&Identity::new(domain), &y, alpha, 3e-5);
        // min_x |x - y|^2/2 + alpha TV(x) = max over |q| <= alpha of <q, D y> - |D^T q|^2/2.
        let d = Gradient::new(domain);
        assert!(largest(&lengths(&found.q)) <= alpha * (1.0 + 1e-12));
        let dual =
            sum(&(&found.q * d.apply(&y).unwrap())) - 0.5 * sum(&d.adjoint(&found.q).unwrap().square());
        let primal = objective(&Identity::new(domain), &y, alpha, &found.x);
        let gap = (primal - dual) / primal;
        println!("alpha {alpha}: relative gap {gap:.1e} after {} steps", found.steps);
        assert!((-1e-12..1e-4).contains(&gap), "alpha {alpha}: {primal} {dual}");
        assert!(matches!(found.ended, StopReason::Done(_)));
    }
}

#[test]
fn superresolution_is_solved_to_optimality() {
    let domain = Space::image(1, 40, 52);
    let a = Convolution::superresolution(domain, 8, 1.5, 2, Boundary::Periodic).unwrap();
    let y = noise(&a.apply(&truth(domain)).unwrap(), 0.02);
    let alpha = 5e-3;
    let found = solve(&a, &y, alpha, 1e-5);
    let best = objective(&a, &y, alpha, &found.x);

    // For every u: J(u) >= J(x) + <r, u - x> - slack, with r = A^T (A x - y) + D^T q, |q| <= alpha and
    // slack = alpha TV(x) - <q, D x>: small r and slack prove that x is nearly optimal.
    let d = Gradient::new(domain);
    assert!(largest(&lengths(&found.q)) <= alpha * (1.0 + 1e-12));
    let r = a.adjoint(&(a.apply(&found.x).unwrap() - &y)).unwrap() + d.adjoint(&found.q).unwrap();
    let gradient = d.apply(&found.x).unwrap();
    let slack = alpha * sum(&lengths(&gradient)) - sum(&(&found.q * gradient));
    // No better image is further away from this one than all of grey level 1.
    let far = (domain.len() as f64).sqrt();
    let excess = (sum(&r.square()).sqrt() * far + slack) / best;
    println!("at most {excess:.1e} above the optimum, {} steps", found.steps);
    assert!((0.0..1e-2).contains(&excess), "{excess}");

    // A long run on a smoothed total variation, another method, gets as low as that but no lower.
    let mut tv = TotalVariation::new(domain, 1e-4).unwrap();
    let n = a.range().len() as f64;
    let likelihood = Gaussian::new(1.0).unwrap();
    let weight = alpha * domain.len() as f64 / n;
    let problem =
        Objective { operator: &a, likelihood: &likelihood, observation: &y, prior: &mut tv, weight };
    let settings = AdamSettings::constant(2000, 0.02).with_schedule(Schedule::Cosine { warmup: 0 });
    let mut map = Map::new(problem, &found.x.zeros_like(), settings).unwrap();
    run(&mut map, 2000, &RunControl::default()).unwrap();
    let smooth = map.finish().unwrap();
    let other = objective(&a, &y, alpha, &smooth);
    println!("objective {best:.9}, smoothed {other:.9}");
    assert!(best <= other * (1.0 + 1e-6), "{best} {other}");
    assert!(other <= best * 1.01, "they solve different problems: {best} {other}");

    // Already a few hundred iterations come near: the step sizes suit duals as small as alpha.
    let start = found.x.zeros_like();
    let mut tv = TvPrimalDual::new(&a, &y, alpha, 1e-12, &start).unwrap();
    run(&mut tv, 300, &RunControl::default()).unwrap();
    let early = objective(&a, &y, alpha, &tv.finish().unwrap());
    println!("after 300 steps {early:.9}");
    assert!(early < best * 1.01, "{early} {best}");

    for (k, scale) in [0.1, 1e-2, 1e-3, 1e-4].into_iter().enumerate() {
        let random = Seed::new(9).at("direction", k as u64).normal(&domain.batch(1)).to_kind(Kind::Double);
        let flat = random.ones_like();
        let towards = &smooth - &found.x;
        let back = &y.zeros_like().mean(Kind::Double) - &found.x;
        for direction in [random, flat, towards, back] {
            for sign in [scale, -scale] {
                let there = objective(&a, &y, alpha, &(&found.x + &direction * sign));
                assert!(there >= best * (1.0 - 1e-6), "{there} < {best} at {sign}");
            }
        }
    }
}

#[test]
fn the_stopping_rule_is_the_relative_change() {
    let domain = Space::image(1, 20, 25);
    let y = noise(&truth(domain), 0.1);
    let identity = Identity::new(domain);
    let reference = solve(&identity, &y, 0.1, 1e-7).x;
    let (mut steps, mut distance) = (0, f64::INFINITY);
    for tolerance in [1e-2, 1e-3, 1e-5] {
        let found = solve(&identity, &y, 0.1, tolerance);
        let StopReason::Done(reason) = found.ended else { panic!("{:?}", found.ended) };
        assert!(reason.contains("relative change") && reason.contains(&found.steps.to_string()), "{reason}");
        let error = largest(&(&found.x - &reference));
        assert!(found.steps > steps && found.steps.is_multiple_of(10) && error < distance);
        (steps, distance) = (found.steps, error);

        // The rule of the documentation, computed from the states before and after the last step.
        let start = y.zeros_like();
        let state_after = |n| {
            let mut tv = TvPrimalDual::new(&identity, &y, 0.1, tolerance, &start).unwrap();
            (0..n).for_each(|k| drop(tv.step(k).unwrap()));
            tv.save().unwrap().tensors
        };
        let change = |n| {
            let (before, after) = (state_after(n - 1), state_after(n));
            let relative = |name| {
                let (new, old): (&Tensor, &Tensor) = (&after[name], &before[name]);
                ((new - old).norm() / new.norm()).double_value(&[])
            };
            ["x", "p", "q"].map(relative).into_iter().fold(0.0, f64::max)
        };
        assert!(change(steps) < tolerance);
        assert!(steps == 10 || change(steps - 10) >= tolerance);
    }
    assert!(distance < 1e-3, "{distance}");
}

#[test]
fn the_limits_of_alpha() {
    let domain = Space::image(2, 20, 25);
    let y = Seed::new(4).at("image", 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
    let identity = Identity::new(domain);
    // Every channel becomes its mean; and nothing changes.
    let flat = solve(&identity, &y, 1e3, 1e-7).x;
    let means = y.mean_dim([2i64, 3].as_slice(), true, None::<Kind>).expand_as(&y);
    assert!(largest(&(flat - means)) < 1e-4);
    let same = solve(&identity, &y, 1e-6, 1e-7).x;
    assert!(largest(&(same - &y)) < 1e-5);
}

#[test]
fn channels_do_not_know_each_other() {
    let domain = Space::image(2, 16, 21);
    let y = Seed::new(4).at("image", 0).uniform(&domain.batch(1)).to_kind(Kind::Double);
    let both = solve(&Identity::new(domain), &y, 0.1, 1e-8).x;
    for c in 0..2 {
        let one = solve(&Identity::new(Space::image(1, 16, 21)), &y.narrow(1, c, 1), 0.1, 1e-8).x;
        assert!(largest(&(both.narrow(1, c, 1) - one)) < 1e-5);
    }
}

#[test]
fn single_precision_agrees() {
    let domain = Space::image(1, 40, 52);
    let a = Convolution::superresolution(domain, 8, 1.5, 2, Boundary::Periodic).unwrap();
    let y = noise(&a.apply(&truth(domain)).unwrap(), 0.02);
    let double = solve(&a, &y, 5e-3, 1e-3).x;
    let single = solve(&a, &y.to_kind(Kind::Float), 5e-3, 1e-3).x;
    assert_eq!(single.kind(), Kind::Float);
    assert!(largest(&(single.to_kind(Kind::Double) - double)) < 1e-3);
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let domain = Space::image(1, 12, 16);
    let a = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let x = Tensor::ones(domain.batch(1), (Kind::Double, Device::Cpu)) * 0.5;
    let y = a.apply(&x).unwrap();
    let line = |y: &Tensor, alpha, tolerance, x: &Tensor| {
        let line = TvPrimalDual::new(&a, y, alpha, tolerance, x).err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&y, bad, 1e-4, &x).contains("alpha"));
        assert!(line(&y, 0.1, bad, &x).contains("tolerance"));
    }
    assert!(line(&x, 0.1, 1e-4, &x).contains("observation"));
    assert!(line(&y, 0.1, 1e-4, &y).contains("initial image"));
    for bad in [f64::NAN, f64::INFINITY] {
        let hole = |t: &Tensor| {
            let t = t.copy();
            let _ = t.narrow(3, 2, 1).fill_(bad);
            t
        };
        assert!(line(&hole(&y), 0.1, 1e-4, &x).starts_with("observation: expected finite"));
        assert!(line(&y, 0.1, 1e-4, &hole(&x)).starts_with("initial image: expected finite"));
    }
    assert!(line(&y.repeat([2, 1, 1, 1]), 0.1, 1e-4, &x).contains("batch"));
    assert!(line(&y.to_kind(Kind::Float), 0.1, 1e-4, &x).contains("dtype"));
    assert!(line(&y.to_kind(Kind::Int64), 0.1, 1e-4, &x).contains("floating-point"));
    let nothing = Mask::new(1, &Tensor::zeros([12, 16], (Kind::Double, Device::Cpu))).unwrap();
    let zero = TvPrimalDual::new(&nothing, &x, 0.1, 1e-4, &x).err().unwrap().to_string();
    assert!(zero.contains("not zero"), "{zero}");
}
