//! Training of conditional flows: what it finds, and resumption.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Result, Seed, Space};
use smalti_flows::stochastic::{
    ConditionalEnergy, ConditionalSnf, DiagonalMixture, FlowShape, Mala, MarkovKernel, MixtureProblem,
};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
use smalti_operators::{Boundary, Convolution, Gaussian};
use smalti_priors::{PatchPrior, Sampling};
use smalti_solvers::{
    AdamSettings, Iteration, PosteriorEnergy, RunControl, Schedule, SnfTraining, SnfTrainingSettings,
    TrainedSnf, run,
};
use tch::{Kind, Tensor};

/// One Gaussian: its posterior is a Gaussian, too.
fn problem() -> MixtureProblem {
    let of = Tensor::from_slice::<f32>;
    let prior =
        DiagonalMixture::new(&of(&[1.0]), &of(&[0.3, -0.2]).reshape([1, 2]), &of(&[0.5, 1.5])).unwrap();
    MixtureProblem::new(prior, &of(&[1.0, 0.5]), 0.4).unwrap()
}

fn flow(stochastic: bool) -> ConditionalSnf {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4).unwrap();
    let shape = FlowShape::new(2, 2).with_couplings(1).with_hidden([32]).with_clamp(clamp);
    if !stochastic {
        return ConditionalSnf::inn(&shape, Seed::new(1)).unwrap();
    }
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(0.05)?)) };
    ConditionalSnf::alternating(&shape, 2, kernel, 2, Box::new(problem()), Seed::new(1)).unwrap()
}

fn training(stochastic: bool, steps: u64, seed: u64) -> SnfTraining<'static> {
    let problem = problem();
    let draw = move |stream: &mut smalti_base::seed::Stream| Ok(problem.pairs(300, stream));
    let settings = SnfTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, 5e-3).with_schedule(Schedule::Cosine { warmup: 0 }))
        .with_report_every(10);
    SnfTraining::new(flow(stochastic), Box::new(draw), settings, Seed::new(seed)).unwrap()
}

#[test]
fn trained_flows_sample_the_posterior() {
    let problem = problem();
    for stochastic in [false, true] {
        let mut training = training(stochastic, 600, 2);
        run(&mut training, 600, &RunControl::default()).unwrap();
        let TrainedSnf { flow, curve } = training.finish().unwrap();
        assert!(curve.len() == 60 && curve[59].train < curve[0].train);
        for y in [[0.0, 0.0], [1.0, -0.7]] {
            let y = Tensor::from_slice(&y).to_kind(Kind::Float);
            let posterior = problem.posterior(&y).unwrap();
            let (_, mean, variance) = posterior.parts();
            let all = y.unsqueeze(0).expand([20_000, 2], false).contiguous();
            let x = flow.sample(&all, &mut Seed::new(3).at("samples", 0)).unwrap();
            let over = Some([0i64].as_slice());
            let off = (x.mean_dim(over, true, Kind::Float) - mean) / variance.sqrt();
            let ratio = x.var_dim(over, true, true) / variance - 1.0;
            let worst = |t: Tensor| t.abs().max().double_value(&[]);
            let (off, ratio) = (worst(off), worst(ratio));
            assert!(
                off < 0.06 && ratio < 0.1,
                "stochastic {stochastic}: mean off {off} sd, variance {ratio}"
            );
        }
    }
}

/// The posterior of a patchNR on images of 4 x 6 pixels that are seen at every second pixel.
fn patch_posterior() -> PosteriorEnergy {
    let domain = Space::image(1, 4, 6);
    let operator = Convolution::superresolution(domain, 3, 0.8, 2, Boundary::Periodic).unwrap();
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let shape = PatchNrShape::default().with_patch_size(3).with_blocks(2).with_hidden(8).with_clamp(clamp);
    let flow = PatchNr::new(shape, Seed::new(1)).unwrap();
    let prior = PatchPrior::new(flow, domain, Sampling::All, Seed::new(2)).unwrap();
    let likelihood = Box::new(Gaussian::new(0.2).unwrap());
    PosteriorEnergy::new(Box::new(operator), likelihood, Box::new(prior), 1.0).unwrap()
}

#[test]
fn stochastic_layers_know_the_posterior_of_a_patch_density() {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4).unwrap();
    let shape = FlowShape::new(24, 6).with_couplings(2).with_hidden([16]).with_clamp(clamp);
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(2e-3)?)) };
    let snf = || {
        ConditionalSnf::alternating(&shape, 2, kernel, 20, Box::new(patch_posterior()), Seed::new(1)).unwrap()
    };
    let y = Seed::new(4).at("observations", 0).uniform(&[40, 6]);
    let energy = |flow: &ConditionalSnf| {
        let x = flow.sample(&y, &mut Seed::new(5).at("samples", 0)).unwrap();
        patch_posterior().energy(&x, &y).unwrap().mean(Kind::Double).double_value(&[])
    };
    let without = ConditionalSnf::inn(&shape.clone().with_couplings(4), Seed::new(1)).unwrap();
    let (with, without) = (energy(&snf()), energy(&without));
    assert!(with < 0.6 * without, "{with} {without}");
    // It trains on pairs, through the kernels.
    let draw =
        |stream: &mut smalti_base::seed::Stream| Ok((stream.uniform(&[20, 24]), stream.uniform(&[20, 6])));
    let schedule = Schedule::Cosine { warmup: 0 };
    let settings = SnfTrainingSettings::default()
        .with_adam(AdamSettings::constant(24, 1e-2).with_schedule(schedule))
        .with_report_every(6);
    let mut training = SnfTraining::new(snf(), Box::new(draw), settings, Seed::new(6)).unwrap();
    run(&mut training, 24, &RunControl::default()).unwrap();
    let curve = training.finish().unwrap().curve;
    assert!(curve[3].train < curve[0].train - 5.0, "{curve:?}");
}

#[test]
fn a_resumed_training_gives_the_same_bits() {
    for stochastic in [false, true] {
        let result = |seed, stops: &[u64]| {
            let TrainedSnf { flow, curve } = in_pieces(30, stops, || training(stochastic, 30, seed)).0;
            let all: Vec<Tensor> = flow.parameters().into_iter().map(|(_, t)| t.flatten(0, -1)).collect();
            (Tensor::cat(&all, 0), curve)
        };
        let whole = result(4, &[]);
        assert_eq!(result(4, &[3, 14, 27]), whole);
        assert_ne!(result(5, &[]).0, whole.0);
    }
}

#[test]
fn bad_settings_are_refused() {
    let new = |rate, report_every| {
        let draw =
            |_: &mut smalti_base::seed::Stream| Err(smalti_base::Error::value("pairs", "some", "none"));
        let settings = SnfTrainingSettings::default()
            .with_adam(AdamSettings::constant(1, rate))
            .with_report_every(report_every);
        SnfTraining::new(flow(false), Box::new(draw), settings, Seed::new(1))
    };
    let line = |rate, report_every| new(rate, report_every).err().unwrap().to_string();
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(line(rate, 1).starts_with("learning rate"), "{}", line(rate, 1));
    }
    assert!(line(1e-3, 0).starts_with("steps between two reports: expected at least 1"), "{}", line(1e-3, 0));
    assert!(new(1e-3, 1).unwrap().step(0).unwrap_err().to_string().starts_with("pairs"));
}
