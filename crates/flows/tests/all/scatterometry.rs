//! The scatterometry problem: its energy, and the authors' networks where their files are.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::Seed;
use smalti_flows::ClampForm;
use smalti_flows::stochastic::scatterometry::{import_inn, import_snf, scatterometry_flow};
use smalti_flows::stochastic::{ConditionalEnergy, Scatterometry};
use smalti_testkit::measured;
use std::path::Path;
use tch::{Kind, Tensor};

/// A forward model in float64 that was never trained.
fn small() -> Scatterometry {
    let draw = |what: &str, size: &[i64]| Seed::new(1).at(what, 0).normal(size).to_kind(Kind::Double) * 0.5;
    let layers = vec![(draw("w1", &[9, 3]), draw("b1", &[9])), (draw("w2", &[23, 9]), draw("b2", &[23]))];
    Scatterometry::new(layers, 0.2, 0.3).unwrap()
}

#[test]
fn the_energy_is_the_negative_log_posterior() {
    let model = small();
    let x = Seed::new(2).at("x", 0).normal(&[12, 3]).to_kind(Kind::Double) * 0.8;
    let y = Seed::new(2).at("y", 0).normal(&[12, 23]).to_kind(Kind::Double);
    let (value, slope) = model.energy_and_grad(&x, &y).unwrap();
    assert_eq!(value, model.energy(&x, &y).unwrap());
    // One row by hand.
    let f = Vec::<f64>::try_from(model.forward(&x).unwrap().get(0)).unwrap();
    let (x0, y0) = (Vec::<f64>::try_from(x.get(0)).unwrap(), Vec::<f64>::try_from(y.get(0)).unwrap());
    let term = |(f, y): (&f64, &f64)| {
        let v = (0.2 * f).powi(2) + 0.09;
        (y - f).powi(2) / (2.0 * v) + v.ln() / 2.0
    };
    let walls: f64 = x0.iter().map(|x| 1000.0 * (x.abs() - 1.0).max(0.0)).sum();
    let expected = f.iter().zip(&y0).map(term).sum::<f64>() + walls;
    assert!((value.double_value(&[0]) - expected).abs() < 1e-9);
    // Central differences, away from the walls.
    let inside = &x * 0.3;
    let (_, slope_inside) = model.energy_and_grad(&inside, &y).unwrap();
    for j in 0..3 {
        let step = Tensor::zeros([1, 3], (Kind::Double, tch::Device::Cpu));
        let _ = step.narrow(1, j, 1).fill_(1e-6);
        let up = model.energy(&(&inside + &step), &y).unwrap();
        let difference = (up - model.energy(&(&inside - &step), &y).unwrap()) / 2e-6;
        let error = (difference - slope_inside.select(1, j)).abs().max().double_value(&[]);
        assert!(error < 1e-4 * slope_inside.abs().max().double_value(&[]), "{error}");
    }
    assert_eq!(slope.size(), [12, 3]);
}

#[test]
fn the_flow_of_the_experiment_leads_back() {
    let stream = &mut Seed::new(3).at("weights", 0);
    let mut flow = scatterometry_flow(None, stream).unwrap();
    flow.to_kind(Kind::Double);
    let (x, y) = (Seed::new(3).at("x", 0).normal(&[8, 3]), Seed::new(3).at("y", 0).normal(&[8, 23]));
    let (x, y) = (x.to_kind(Kind::Double), y.to_kind(Kind::Double));
    let z = flow.to_latent(&x, &y, stream).unwrap();
    let back = flow.to_data(&z.value, &y, stream).unwrap();
    assert!((back.value - x).abs().max().double_value(&[]) < 1e-9);
    assert!(scatterometry_flow(Some(Box::new(small())), stream).is_ok());
}

#[test]
fn what_is_no_forward_model_is_refused() {
    let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, tch::Device::Cpu));
    let new = |outputs, inputs, a, b| {
        Scatterometry::new(vec![(zeros(&[outputs, inputs]), zeros(&[outputs]))], a, b)
    };
    assert!(
        new(23, 3, 0.2, 0.01).is_ok() && new(22, 3, 0.2, 0.01).is_err() && new(23, 4, 0.2, 0.01).is_err()
    );
    let line = new(23, 3, 0.2, 0.0).unwrap_err().to_string();
    assert!(line.starts_with("absolute noise level b: expected a positive number"), "{line}");
    assert!(new(23, 3, -0.2, 0.01).is_err() && Scatterometry::new(vec![], 0.2, 0.01).is_err());
    assert!(import_inn(Path::new("nowhere.pt"), ClampForm::AlphaAtan).is_err());
}

#[test]
fn the_authors_networks_know_the_posterior() {
    let Some(data) = measured(&["scatterometry/snf.pt"]) else { return };
    let folder = data.join("scatterometry");
    let model = || Scatterometry::import(&folder.join("forward_model_new.pt"), 0.2, 0.01).unwrap();
    let inn = import_inn(&folder.join("inn.pt"), ClampForm::AlphaAtan).unwrap();
    let snf = import_snf(&folder.join("snf.pt"), ClampForm::AlphaAtan, Box::new(model())).unwrap();
    let stream = &mut Seed::new(4).at("pairs", 0);
    let (x, y) = model().pairs(2000, stream).unwrap();
    let nll = |flow: &smalti_flows::stochastic::ConditionalSnf, y: &Tensor| {
        let stream = &mut Seed::new(5).at("paths", 0);
        flow.path_nll(&x, y, stream).unwrap().mean(Kind::Double).double_value(&[])
    };
    let untrained = scatterometry_flow(None, stream).unwrap();
    let (before, of_inn) = (nll(&untrained, &y), nll(&inn, &y));
    // Other observations than those of x must tell less.
    let (mixed, of_snf) = (nll(&inn, &y.roll([1], [0])), nll(&snf, &y));
    println!(
        "path NLL: untrained {before:.3}, INN {of_inn:.3} (with other observations {mixed:.3}), SNF {of_snf:.3}"
    );
    assert!(of_inn < before - 2.0 && of_inn < mixed - 5.0 && of_snf < before - 1.0);
    // The file was trained with the form that is taken here.
    let other = nll(&import_inn(&folder.join("inn.pt"), ClampForm::AtanOverAlpha).unwrap(), &y);
    println!("path NLL of the INN with the other clamp: {other:.3}");
    assert!(of_inn < other - 0.1);
    // Samples are nearly as probable as the truth.
    let energy = |x: &Tensor| model().energy(x, &y).unwrap().median().double_value(&[]);
    let truth = energy(&x);
    for (name, flow) in [("INN", &inn), ("SNF", &snf)] {
        let found = energy(&flow.sample(&y, stream).unwrap());
        println!("median energy: truth {truth:.2}, {name} {found:.2}");
        assert!(found < truth + 5.0);
    }
}
