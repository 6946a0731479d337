//! The authors' flows for scatterometry (Hagemann, Hertrich and Steidl 2022, section 6.2), compared with long Metropolis
//! runs: KL divergence on 75^3 bins, SNF against INN.
//!
//! `cargo run --release -p smalti-solvers --example scatterometry -- FOLDER [observations] [samples]`
//!
//! FOLDER holds `forward_model_new.pt`, `inn.pt` and `snf.pt`; without it nothing runs.

use smalti_base::{Result, Seed, device, parallel};
use smalti_flows::ClampForm;
use smalti_flows::stochastic::scatterometry::{Scatterometry, import_inn, import_snf};
use smalti_flows::stochastic::{ConditionalSnf, Interpolated, MarkovKernel, Metropolis};
use smalti_solvers::distances::Histogram;
use std::path::Path;
use tch::Tensor;

const BINS: i64 = 75;
/// Chains of the reference, and flows' samples at a time.
const BATCH: i64 = 4000;
const BURN_IN: u32 = 400;
const BETWEEN: u32 = 20;

fn model(folder: &Path) -> Result<Scatterometry> {
    Scatterometry::import(&folder.join("forward_model_new.pt"), 0.2, 0.01)
}

/// Metropolis chains from the prior, each counted again and again after burn-in.
fn reference(model: &Scatterometry, y: &Tensor, samples: u64, seed: Seed) -> Result<Histogram> {
    let kernel = Metropolis::new(0.25)?;
    let condition = y.repeat([BATCH, 1]);
    let energy = Interpolated { posterior: Some(model), condition: &condition, lambda: 1.0 };
    let stream = &mut seed.at("reference", 0);
    let start = stream.uniform(&[BATCH, 3]) * 2.0 - 1.0;
    // Long jumps first, to find all modes.
    let found = Metropolis::new(0.5)?.walk(&energy, &start, BURN_IN / 2, stream)?.value;
    let mut x = kernel.walk(&energy, &found, BURN_IN / 2, stream)?.value;
    let mut histogram = Histogram::new(3, BINS)?;
    for _ in 0..samples.div_ceil(BATCH as u64) {
        x = kernel.walk(&energy, &x, BETWEEN, stream)?.value;
        histogram.add(&x)?;
    }
    Ok(histogram)
}

fn of_flow(flow: &ConditionalSnf, y: &Tensor, samples: u64, seed: Seed) -> Result<Histogram> {
    let (condition, stream) = (y.repeat([BATCH, 1]), &mut seed.at("flow", 0));
    let mut histogram = Histogram::new(3, BINS)?;
    for _ in 0..samples.div_ceil(BATCH as u64) {
        histogram.add(&flow.sample(&condition, stream)?)?;
    }
    Ok(histogram)
}

fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n * (n - 1.0))).sqrt())
}

fn compared(folder: &Path, observations: u64, samples: u64) -> Result<()> {
    let inn = import_inn(&folder.join("inn.pt"), ClampForm::AlphaAtan)?;
    let snf = import_snf(&folder.join("snf.pt"), ClampForm::AlphaAtan, Box::new(model(folder)?))?;
    let model = model(folder)?;
    let mut all: [Vec<f64>; 3] = Default::default();
    for k in 0..observations {
        let seed = Seed::new(22).derive("observation", k);
        let (_, y) = model.pairs(1, &mut seed.at("pair", 0))?;
        let truth = reference(&model, &y, samples, seed)?;
        // Another reference: what is left by the number of samples alone.
        let again = reference(&model, &y, samples, seed.derive("again", 0))?;
        let found = [of_flow(&snf, &y, samples, seed)?, of_flow(&inn, &y, samples, seed)?, again];
        for (all, histogram) in all.iter_mut().zip(&found) {
            all.push(truth.divergence(histogram)?);
        }
        let last = all.each_ref().map(|v| v.last().copied().unwrap_or(f64::NAN));
        println!(
            "observation {k}: KL of SNF {:.4}, INN {:.4}, another reference {:.4}",
            last[0], last[1], last[2]
        );
    }
    println!("{observations} observations, {samples} samples, {BINS}^3 bins:");
    for (name, values) in ["SNF", "INN", "reference"].iter().zip(&all) {
        let (kl, error) = mean(values);
        println!("  {name:9} KL {kl:.4} +- {error:.4}");
    }
    Ok(())
}

fn main() -> Result<()> {
    device::prepare_process(None);
    let _no_grad = tch::no_grad_guard();
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        println!("skipped: give the folder of the authors' networks");
        return Ok(());
    };
    let mut number = |default: u64| arguments.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (observations, samples) = (number(5), number(40_000));
    parallel::in_operations(|| compared(Path::new(&folder), observations, samples))
}
