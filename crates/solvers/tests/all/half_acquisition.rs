//! A scan over the whole turn whose detector sees one half of the slice: total variation and filtered back projection.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use smalti_operators::{
    Curve, Detector, FanBeam, Fbp, Filter, Geometry, Operator, ParallelBeam, Pixels, Poisson, Radon, low_dose,
};
use smalti_solvers::{Iteration, RunControl, TvPrimalDual, run};
use std::f64::consts::TAU;
use tch::{Kind, Tensor};

const SIDE: i64 = 64;

/// Two discs and a block within the circle that the scan sees.
fn truth() -> Tensor {
    let axis = Tensor::arange(SIDE, tch::kind::FLOAT_CPU) - 0.5 * (SIDE as f64 - 1.0);
    let disc = |x: f64, y: f64, radius: f64| {
        ((&axis - x).square() + (&axis + y).square().unsqueeze(1)).lt(radius * radius).to_kind(Kind::Float)
    };
    let block = axis.abs().lt(6.0).to_kind(Kind::Float)
        * (&axis - 10.0).abs().lt(5.0).to_kind(Kind::Float).unsqueeze(1);
    let image =
        disc(0.0, 0.0, 28.0) * 0.3 + disc(-11.0, 9.0, 7.0) * 0.2 - disc(14.0, 8.0, 6.0) * 0.15 + block * 0.25;
    image.reshape([1, 1, SIDE, SIDE])
}

/// Root mean square errors where the object is, of the half right and left.
fn errors(x: &Tensor) -> [f64; 2] {
    [32, 4].map(|from| {
        let part = |t: &Tensor| t.narrow(3, from, 28).narrow(2, 8, 48);
        (part(x) - part(&truth())).square().mean(Kind::Double).sqrt().double_value(&[])
    })
}

#[test]
fn both_halves_come_back() {
    // Many small operations: threads would only wait for each other.
    tch::set_num_threads(1);
    let pixels = Pixels { rows: SIDE as usize, columns: SIDE as usize, size: 0.26 / SIDE as f64 };
    let turn: Vec<f64> = (0..240).map(|k| f64::from(k) * TAU / 240.0).collect();
    // 54 pixels, the axis opposite to the seventh: 6 on one side, 47 on the other.
    let detector = Detector::around(6.0, 54, pixels.size);
    let parallel = ParallelBeam::new(turn.clone(), pixels, detector).unwrap();
    let wide = Detector { count: 60, spacing: 1.6 * pixels.size, offset: 0.5 * 41.0 * pixels.size };
    let fan = FanBeam::new(turn, pixels, wide, Curve::Flat, [0.4, 0.2]).unwrap();
    for beam in [Geometry::from(parallel), fan.into()] {
        let a = Radon::new(beam.clone());
        let noise = Poisson::lodopab();
        let y = low_dose(&a.apply(&truth()).unwrap(), &noise, Seed::new(4)).unwrap();
        let start = Fbp::new(beam, Filter::Hann, 0.7).unwrap().apply(&y).unwrap();
        let fbp = errors(&start);
        let solver = TvPrimalDual::poisson(&a, noise, &y, 5.0, 1e-4, &start.clamp_min(0.0)).unwrap();
        let mut solver = solver.nonnegative();
        run(&mut solver, 400, &RunControl::default()).unwrap();
        let tv = errors(&solver.finish().unwrap());
        println!("right and left half: FBP {fbp:.4?}, TV {tv:.4?}");
        for half in [0, 1] {
            assert!(fbp[half] < 0.05 && tv[half] < 0.02, "{fbp:?} {tv:?}");
        }
        assert!((fbp[0] / fbp[1] - 1.0).abs() < 0.5, "{fbp:?}");
    }
}
