//! Samples from the posterior of superresolution: a small WPPFlow learns from blurred stripes and one image of other
//! stripes, then draws images for an observation that it has not seen.
//!
//! `cargo run --release -p smalti-solvers --example wppflow [-- STEPS [FOLDER]]`
//!
//! With a folder, truth, observation, three samples, mean and standard deviation are written there as PNG files.

use smalti_base::image_file::save_png8;
use smalti_base::metrics::psnr;
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::{WppFlow, WppFlowShape};
use smalti_operators::{Boundary, Convolution, Operator, PixelGrid, interpolate};
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{
    AdamSettings, Iteration, RunControl, Schedule, WppFlowGenerator, WppTraining, WppTrainingData,
    WppTrainingSettings, run,
};
use std::path::Path;
use tch::{Kind, Tensor};

const FACTOR: i64 = 2;
const NOISE: f64 = 0.02;

/// Images of bright and dark stripes in random directions.
fn stripes(name: &str, n: i64, side: i64) -> Result<Tensor> {
    let mut stream = Seed::new(1).at(name, 0);
    let index = Tensor::arange(side, tch::kind::FLOAT_CPU);
    let mut images = Vec::new();
    for _ in 0..n {
        let v = Vec::<f64>::try_from(stream.uniform(&[2]))?;
        let (angle, phase) = (std::f64::consts::PI * v[0], 6.3 * v[1]);
        let t = index.unsqueeze(1) * angle.cos() + index.unsqueeze(0) * angle.sin();
        images.push((((t * 0.8 + phase).sin() * 4.0).tanh() * 0.3 + 0.5).f_reshape([1, 1, side, side])?);
    }
    Ok(Tensor::f_cat(&images, 0)?)
}

fn operator(side: i64) -> Result<Convolution> {
    Convolution::superresolution(Space::image(1, side, side), 4, 1.0, FACTOR, Boundary::Periodic)
}

fn observe(operator: &Convolution, name: &str, x: &Tensor) -> Result<Tensor> {
    let y = operator.apply(x)?;
    Ok(&y + Seed::new(2).at(name, 0).normal(&y.size()) * NOISE)
}

fn mean(t: &Tensor) -> f64 {
    t.mean(Kind::Double).double_value(&[])
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let given: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse().map_err(|_| Error::value("steps", "a whole number", text));
    let steps = given.first().map_or(Ok(300), number)?;

    // What it learns from: 40 observed crops, and one image of the same kind, which none of them belongs to.
    let small = operator(20)?;
    let crops = observe(&small, "training", &stripes("training", 40, 20)?)?;
    let reference = stripes("reference", 8, 40)?.f_reshape([1, 1, 320, 40])?;
    let prior = WppTrainingSettings::prior(true)
        .with_patch_size(4)
        .with_references(ReferencePatches::Random(500))
        .with_dual(DualMethod::AveragedSgd { steps: 3, step: 1.0 });
    let data = WppTrainingData {
        operator: &small,
        crops: &crops,
        validation: None,
        reference: &reference,
        prior: &prior,
    };
    let shape = WppFlowShape::altekrueger_2023_x4()
        .with_factor(FACTOR)
        .with_blocks(3)
        .with_hidden(16)
        .with_origin(small.grid().origin.0);
    let settings = WppTrainingSettings::altekrueger_2023_wppflow(40)
        .with_adam(AdamSettings::constant(steps, 2e-3).with_schedule(Schedule::Cosine { warmup: 5 }))
        .with_batch(4)
        .with_lambda(20.0)
        .with_validations((steps / 4).max(1));
    let flow = WppFlow::new(shape, Seed::new(3))?;
    println!("{} parameters", flow.flat_parameters().numel());
    let generator = WppFlowGenerator { noise: NOISE, ..WppFlowGenerator::altekrueger_2023(flow) };
    let mut training = WppTraining::new(generator, data, settings, Seed::new(4))?;
    let summary = run(&mut training, steps, &RunControl::default())?;
    println!("trained {} steps in {:.1} s", summary.steps, summary.elapsed.as_secs_f64());
    let trained = training.finish()?;
    for point in &trained.curve {
        println!("    step {:4}: loss {:.3}", point.step, point.train);
    }

    // An image three times as large as those of the training.
    let large = operator(60)?;
    let truth = stripes("test", 1, 60)?;
    let y = observe(&large, "test", &truth)?;
    let samples = trained.generator.flow.sample(&y, 20, &mut Seed::new(5).at("samples", 0))?;
    let (average, deviation) =
        (samples.f_mean_dim(0i64, true, None::<Kind>)?, samples.f_std_dim(0i64, false, true)?);
    let bicubic = interpolate(&y, large.grid(), large.domain(), Boundary::Periodic)?;
    let first = samples.f_narrow(0, 0, 1)?;
    // The observation wraps around: its border is not like that of an image.
    let cut = |x: &Tensor| x.narrow(2, 8, 44).narrow(3, 8, 44);
    for (name, image) in [("bicubic", &bicubic), ("one sample", &first), ("mean of 20 samples", &average)] {
        let residual = (large.apply(image)? - &y).narrow(2, 4, 22).narrow(3, 4, 22);
        let residual = mean(&residual.square()).sqrt();
        let score = psnr(&cut(image), &cut(&truth), 1.0)?;
        println!("{name}: PSNR {score:.2} dB, residual {residual:.4} (noise {NOISE})");
    }
    // Where a pixel of the truth differs from its right or lower neighbour.
    let around = |row: i64, column: i64| truth.narrow(2, 8 + row, 44).narrow(3, 8 + column, 44);
    let steps = (around(0, 1) - around(0, 0)).abs() + (around(1, 0) - around(0, 0)).abs();
    let edges = steps.f_gt(0.1)?;
    println!(
        "standard deviation: {:.4} on average, {:.4} at edges of the truth, {:.4} elsewhere",
        mean(&cut(&deviation)),
        mean(&cut(&deviation).masked_select(&edges)),
        mean(&cut(&deviation).masked_select(&edges.logical_not()))
    );
    if let Some(folder) = given.get(1) {
        let strongest = deviation.max().double_value(&[]).max(1e-6);
        for (name, image) in [
            ("truth", truth),
            ("observation", y),
            ("sample_1", first),
            ("sample_2", samples.f_narrow(0, 1, 1)?),
            ("sample_3", samples.f_narrow(0, 2, 1)?),
            ("mean", average),
            ("standard_deviation", deviation / strongest),
        ] {
            save_png8(&Path::new(folder).join(format!("{name}.png")), &image)?;
        }
    }
    Ok(())
}
