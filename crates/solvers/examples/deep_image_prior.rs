//! Deblurring by an untrained network (DIP+TV), and what a step costs.
//!
//! `cargo run --release -p smalti-solvers --example deep_image_prior`
//!
//! With `-- SIDE CHANNELS SCALES STEPS [bf16]` it measures that many steps on a square image of that side, e.g.
//! `-- 362 128 5 3`.

use smalti_base::metrics::psnr;
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::Precision;
use smalti_operators::{Boundary, Convolution, Gaussian, Operator, kernel};
use smalti_priors::TotalVariation;
use smalti_solvers::{Dip, DipSettings, Iteration, Objective, RunControl, UNetSettings, run};
use tch::{Kind, Tensor};

const SIGMA: f64 = 0.1;

/// A disc and a bar on a dark ground.
fn image(side: i64) -> Tensor {
    let at = Tensor::arange(side, (Kind::Float, tch::Device::Cpu)) / side as f64;
    let distance: Tensor = (at.unsqueeze(1) - 0.45).square() + (at.unsqueeze(0) - 0.35).square();
    let image = (distance.lt(0.06).to_kind(Kind::Float) * 0.6 + 0.2).view([1, 1, side, side]);
    let _ = image.narrow(3, side * 3 / 4, side / 8).fill_(0.9);
    image
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let bf16 = arguments.last().is_some_and(|last| last == "bf16");
    arguments.truncate(arguments.len() - usize::from(bf16));
    let number = |(i, default): (usize, i64)| match arguments.get(i) {
        Some(text) => text.parse().map_err(|e| Error::value("argument", "a number", format!("{text} ({e})"))),
        None => Ok(default),
    };
    let all = [48, 16, 3, 300].into_iter().enumerate().map(number).collect::<Result<Vec<i64>>>()?;
    let (side, channels, scales, steps) = (all[0], all[1], all[2].max(0) as usize, all[3].max(0) as u64);

    let truth = image(side);
    let form = Boundary::ReflectBy(2);
    let operator = Convolution::blur(Space::image(1, side, side), &kernel::gaussian(5, 0.8)?, form)?;
    let clean = operator.apply(&truth)?;
    let observation = &clean + Seed::new(2).at("noise", 0).normal(&clean.size()) * SIGMA;
    let problem = Objective {
        operator: &operator,
        likelihood: &Gaussian::new(SIGMA)?,
        observation: &observation,
        prior: &mut TotalVariation::new(operator.domain(), 1e-3)?,
        weight: 5.0,
    };
    let settings = DipSettings::baguer_2020()
        .with_net(UNetSettings::dip().with_channels(vec![channels; scales]))
        .with_steps(steps)
        .with_rate(5e-3)
        .with_precision(if bf16 { Precision::Bf16 } else { Precision::Full });
    let mut dip = Dip::new(problem, settings, Seed::new(3))?;
    // The first step is slower: libtorch prepares its kernels.
    run(&mut dip, 1, &RunControl::default())?;
    let start = std::time::Instant::now();
    for k in 1..steps {
        let step = dip.step(k)?;
        if k % (steps / 5).max(1) == 0 {
            println!("step {k:5}: {} {:.4}", step.terms[0].0, step.terms[0].1);
        }
    }
    let seconds = start.elapsed().as_secs_f64() / steps.saturating_sub(1).max(1) as f64;
    println!("{seconds:.4} s a step: {side} x {side}, {scales} scales of {channels} channels, bf16 {bf16}");
    let result = dip.finish()?;
    let (before, after) = (psnr(&observation, &truth, 1.0)?, psnr(&result.image, &truth, 1.0)?);
    println!("PSNR {before:.2} dB of the observation, {after:.2} dB of the image of step {}", result.step);
    Ok(())
}
