//! A stochastic flow against a flow without stochastic layers, on inverse problems whose posteriors are known: Gaussian
//! mixtures (Hagemann, Hertrich and Steidl 2022, section 6.1, in a lower dimension).
//!
//! `cargo run --release -p smalti-solvers --example mixture_flows -- [dimension] [steps] [problems] [samples]`
//!
//! Both have eight couplings and the same training. Compared are samples of `p(x | y)` with exact ones, by the exact
//! `W_1` of 1000 samples each (or as many as given), over ten observations.

use smalti_base::{Result, Seed, device};
use smalti_flows::stochastic::{ConditionalSnf, FlowShape, Mala, MarkovKernel, MixtureProblem};
use smalti_flows::{ClampForm, SoftClamp};
use smalti_solvers::distances::wasserstein1;
use smalti_solvers::{AdamSettings, Iteration, RunControl, Schedule, SnfTraining, SnfTrainingSettings, run};
use tch::{Kind, Tensor};

const BATCH: i64 = 512;
const OBSERVATIONS: u64 = 10;

fn trained(flow: ConditionalSnf, problem: &MixtureProblem, steps: u64, seed: Seed) -> Result<ConditionalSnf> {
    let draw = Box::new(|stream: &mut smalti_base::seed::Stream| Ok(problem.pairs(BATCH, stream)));
    let schedule = Schedule::Cosine { warmup: 0 };
    let settings = SnfTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, 2e-3).with_schedule(schedule))
        .with_report_every(steps.div_ceil(4));
    let mut training = SnfTraining::new(flow, draw, settings, seed)?;
    run(&mut training, steps, &RunControl::default())?;
    let trained = training.finish()?;
    let curve: Vec<String> = trained.curve.iter().map(|c| format!("{:.2}", c.train)).collect();
    println!("    training path NLL {}", curve.join(", "));
    Ok(trained.flow)
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n * (n - 1.0))).sqrt())
}

fn main() -> Result<()> {
    device::prepare_process(None);
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<u64>().ok());
    let mut next = |default: u64| numbers.next().flatten().unwrap_or(default);
    let (dim, steps, problems, samples) = (next(5) as i64, next(80), next(2), next(1000) as i64);
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4)?;
    let shape = |couplings| {
        FlowShape::new(dim, dim).with_couplings(couplings).with_hidden([64, 64]).with_clamp(clamp)
    };
    let names = ["INN", "SNF", "exact"];
    let mut all: [Vec<f64>; 3] = Default::default();
    for p in 0..problems {
        let seed = Seed::new(p);
        let problem = || MixtureProblem::published(dim, seed);
        let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(5e-5)?)) };
        println!("problem {p}");
        let inn = ConditionalSnf::inn(&shape(8), seed)?;
        let inn = trained(inn, &problem()?, steps, seed)?;
        let snf = ConditionalSnf::alternating(&shape(4), 2, kernel, 3, Box::new(problem()?), seed)?;
        let snf = trained(snf, &problem()?, steps, seed)?;
        let exact = problem()?;
        let mut found: [Vec<f64>; 3] = Default::default();
        for k in 0..OBSERVATIONS {
            let (_, y) = exact.pairs(1, &mut seed.at("observations", k));
            let posterior = exact.posterior(&y.squeeze_dim(0))?;
            let conditions = y.expand([samples, dim], false).contiguous();
            let stream = &mut seed.at("samples", k);
            let truth = posterior.sample(samples, stream);
            let drawn: [Tensor; 3] = [
                inn.sample(&conditions, stream)?,
                snf.sample(&conditions, stream)?,
                posterior.sample(samples, stream),
            ];
            for (found, drawn) in found.iter_mut().zip(&drawn) {
                found.push(wasserstein1(&drawn.to_kind(Kind::Float), &truth)?);
            }
        }
        for ((name, found), all) in names.iter().zip(&found).zip(&mut all) {
            let (w, error) = mean(found);
            println!("  {name:5} W1 {w:.4} +- {error:.4} (over {OBSERVATIONS} observations)");
            all.push(w);
        }
    }
    println!("dimension {dim}, {steps} steps, {problems} problems:");
    for (name, of) in names.iter().zip(&all) {
        let (w, error) = mean(of);
        println!("  {name:5} W1 {w:.4} +- {error:.4}");
    }
    let gains: Vec<f64> = all[0].iter().zip(&all[1]).map(|(inn, snf)| inn - snf).collect();
    let (gain, error) = mean(&gains);
    println!("  INN less SNF, problem by problem: {gain:.4} +- {error:.4}");
    Ok(())
}
