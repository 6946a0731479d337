//! Training of conditional flows: what it finds, and resumption.
#![allow(clippy::unwrap_used)] // in helpers, too

mod pieces;

use pieces::in_pieces;
use smalti_base::{Result, Seed};
use smalti_flows::stochastic::{
    ConditionalSnf, FlowShape, GaussianMixture, Mala, MarkovKernel, MixtureProblem,
};
use smalti_flows::{ClampForm, SoftClamp};
use smalti_solvers::{
    Budget, Iteration, Observer, Schedule, SnfTraining, SnfTrainingSettings, TrainedSnf, run,
};
use tch::{Kind, Tensor};

/// One Gaussian: its posterior is a Gaussian, too.
fn problem() -> MixtureProblem {
    let of = Tensor::from_slice::<f32>;
    let prior =
        GaussianMixture::new(&of(&[1.0]), &of(&[0.3, -0.2]).reshape([1, 2]), &of(&[0.5, 1.5])).unwrap();
    MixtureProblem::new(prior, &of(&[1.0, 0.5]), 0.4).unwrap()
}

fn flow(stochastic: bool) -> ConditionalSnf {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4).unwrap();
    let shape = FlowShape { dim: 2, condition: 2, couplings: 1, hidden: vec![32], clamp };
    if !stochastic {
        return ConditionalSnf::inn(&shape, Seed::new(1)).unwrap();
    }
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(0.05)?)) };
    ConditionalSnf::alternating(&shape, 2, kernel, 2, Box::new(problem()), Seed::new(1)).unwrap()
}

fn training(stochastic: bool, steps: u64, seed: u64) -> SnfTraining<'static> {
    let problem = problem();
    let draw = move |stream: &mut smalti_base::seed::Stream| Ok(problem.pairs(300, stream));
    let settings =
        SnfTrainingSettings { steps, rate: 5e-3, schedule: Schedule::Cosine { warmup: 0 }, report_every: 10 };
    SnfTraining::new(flow(stochastic), Box::new(draw), settings, Seed::new(seed)).unwrap()
}

#[test]
fn trained_flows_sample_the_posterior() {
    let problem = problem();
    for stochastic in [false, true] {
        let mut training = training(stochastic, 600, 2);
        run(&mut training, Budget::steps(600), &Observer::default()).unwrap();
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
                off < 0.15 && ratio < 0.25,
                "stochastic {stochastic}: mean off {off} sd, variance {ratio}"
            );
        }
    }
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
        let settings = SnfTrainingSettings { steps: 1, rate, schedule: Schedule::Constant, report_every };
        SnfTraining::new(flow(false), Box::new(draw), settings, Seed::new(1))
    };
    assert!(new(0.0, 1).is_err() && new(1e-3, 0).is_err());
    assert!(new(1e-3, 1).unwrap().step(0).unwrap_err().to_string().starts_with("pairs"));
}
