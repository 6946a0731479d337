//! The margin around the image: what it starts from, what sees it, what is left of it.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Boundary, Convolution, Gaussian, LinearOperator, Operator, VolumeConvolution};
use smalti_priors::{Regularizer, TotalVariation};
use smalti_solvers::{AdamSettings, Iteration, Map, Margin, Objective, RunControl, Schedule, run};
use tch::{Device, Kind, Tensor};

const DOMAIN: Space = Space::image(1, 24, 32);

fn image(name: &str, domain: Space) -> Tensor {
    Seed::new(6).at(name, 0).uniform(&domain.batch(1)).to_kind(Kind::Double)
}

fn operator() -> Convolution {
    Convolution::superresolution(DOMAIN, 8, 1.5, 4, Boundary::Periodic).unwrap()
}

/// `R(x) = mean (x - m)^2 / 2`: pixels do not know of each other.
struct Pixels(f64);

impl Regularizer for Pixels {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.value_and_grad(x)?.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let r = x - self.0;
        Ok((0.5 * r.square().mean(Kind::Double).double_value(&[]), r / x.numel() as f64))
    }
}

/// The image with the margin, and what is left after the cut.
fn map(margin: i64, prior: &mut dyn Regularizer, steps: u64, seed: u64) -> (Tensor, Tensor) {
    let operator = operator();
    let observation = operator.apply(&image("truth", DOMAIN)).unwrap();
    let margin = Margin::new(&operator, margin).unwrap();
    let start = margin.start(&image("start", DOMAIN), Seed::new(seed)).unwrap();
    let likelihood = Gaussian::new(0.1).unwrap();
    let (operator, observation) = (margin.operator(), &observation);
    let problem = Objective { operator, likelihood: &likelihood, observation, prior, weight: 1.0 };
    let settings = AdamSettings::constant(steps, 0.05).with_schedule(Schedule::Cosine { warmup: 0 });
    let mut map = Map::new(problem, &start, settings).unwrap();
    run(&mut map, steps, &RunControl::default()).unwrap();
    let x = map.finish().unwrap();
    let cut = margin.cut(&x).unwrap();
    (x, cut)
}

#[test]
fn the_start_is_the_interior_within_noise() {
    let margin = Margin::new(operator(), 7).unwrap();
    let interior = image("start", DOMAIN) * 3.0 - 1.0;
    let start = margin.start(&interior, Seed::new(1)).unwrap();
    assert_eq!((start.size(), start.kind()), (vec![1, 1, 38, 46], Kind::Double));
    assert!(margin.cut(&start).unwrap().equal(&interior), "not by a bit another");
    let seen = Tensor::ones(DOMAIN.batch(1), (Kind::Double, Device::Cpu)).constant_pad_nd([7; 4]);
    let unseen = start.masked_select(&seen.eq(0.0));
    assert_eq!(unseen.size(), [38 * 46 - 24 * 32]);
    let (least, most) = (unseen.min().double_value(&[]), unseen.max().double_value(&[]));
    assert!((0.0..0.01).contains(&least) && (0.99..1.0).contains(&most), "{least} {most}");
    let deviation = unseen.std(true).double_value(&[]);
    assert!((deviation - (1.0_f64 / 12.0).sqrt()).abs() < 0.02, "{deviation}");
    assert!(margin.start(&interior, Seed::new(1)).unwrap().equal(&start));
    assert!(!margin.start(&interior, Seed::new(2)).unwrap().equal(&start));
    // The operator sees the interior alone.
    let seen = operator().apply(&interior).unwrap();
    assert!(margin.operator().apply(&start).unwrap().equal(&seen));
    let back = margin.operator().adjoint(&seen).unwrap();
    assert!(back.equal(&operator().adjoint(&seen).unwrap().constant_pad_nd([7; 4])));
}

#[test]
fn a_volume_has_a_margin_on_six_sides() {
    let domain = Space::volume(1, 8, 10, 9);
    let operator = VolumeConvolution::superresolution(domain, 4, 1.0, 2).unwrap();
    let margin = Margin::new(&operator, 3).unwrap();
    assert_eq!(margin.domain(), Space::volume(1, 14, 16, 15));
    let interior = image("volume", domain);
    let start = margin.start(&interior, Seed::new(1)).unwrap();
    assert!(margin.cut(&start).unwrap().equal(&interior));
    assert!(start.narrow(2, 0, 3).std(true).double_value(&[]) > 0.2, "slices of noise");
    let seen = operator.apply(&interior).unwrap();
    assert!(margin.operator().apply(&start).unwrap().equal(&seen));
    let back = margin.operator().adjoint(&seen).unwrap();
    assert!(back.equal(&operator.adjoint(&seen).unwrap().constant_pad_nd([3; 6])));
}

#[test]
fn unseen_pixels_go_where_the_regularizer_leads() {
    let (whole, interior) = map(5, &mut Pixels(0.3), 600, 4);
    let margin = &whole - interior.constant_pad_nd([5; 4]);
    let (first, last) = (margin.narrow(2, 0, 5), margin.narrow(3, 37, 5));
    for part in [first, last] {
        let distance = (part - 0.3).abs().max().double_value(&[]);
        assert!(distance < 1e-6, "{distance}");
    }
    assert!((interior - 0.3).abs().max().double_value(&[]) > 0.05, "the observation counts inside");
}

#[test]
fn a_margin_of_no_pixels_is_none_and_one_of_some_changes_the_edge() {
    let result = |margin, seed| {
        let domain = Margin::new(operator(), margin).unwrap().domain();
        map(margin, &mut TotalVariation::new(domain, 1e-2).unwrap(), 100, seed).1
    };
    let plain = result(0, 1);
    assert!(plain.equal(&result(0, 2)), "no pixel is random");
    let wide = result(4, 1);
    assert_eq!(wide.size(), plain.size());
    assert!((&wide - &plain).abs().max().double_value(&[]) > 1e-3);
}

#[test]
fn what_does_not_fit_is_refused() {
    let error = Margin::new(operator(), -1).err().unwrap();
    assert!(matches!(error, Error::Value { .. }), "{error}");
    let margin = Margin::new(operator(), 3).unwrap();
    let other = image("other", Space::image(1, 30, 38));
    assert!(matches!(margin.start(&other, Seed::new(1)), Err(Error::Shape { .. })));
    assert!(matches!(margin.cut(&image("start", DOMAIN)), Err(Error::Shape { .. })));
}
