//! A conditional flow whose stochastic layers know the posterior of a patch density: extension of WPPFlow by patchNR.
//!
//! `cargo run --release -p smalti-methods --example posterior_flow -- [steps] [observations]`
//!
//! Images of 6 x 6 pixels of the synthetic microstructure are blurred, seen at every second pixel, with noise. Two conditional flows
//! of eight couplings learn from pairs. Between the couplings of the second one are steps of MALA in the posterior of a patchNR
//! that was learned on another image. Compared are their draws given new observations.

use smalti_base::seed::Stream;
use smalti_base::{Result, Seed, Space, device};
use smalti_flows::stochastic::{ConditionalEnergy, ConditionalSnf, FlowShape, Mala, MarkovKernel};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
use smalti_methods::synthetic::microstructure;
use smalti_operators::{Boundary, Convolution, Gaussian, Operator};
use smalti_priors::{PatchPrior, Patches, Sampling};
use smalti_solvers::calibration::calibration;
use smalti_solvers::{
    AdamSettings, Iteration, PatchNrTraining, PatchNrTrainingSettings, PosteriorEnergy, RunControl, Schedule,
    SnfTraining, SnfTrainingSettings, run,
};
use tch::{Kind, Tensor};

const SIDE: i64 = 6;
const PATCH: i64 = 4;
const NOISE: f64 = 0.05;
const BATCH: usize = 64;
const DRAWS: i64 = 50;

fn domain() -> Space {
    Space::image(1, SIDE, SIDE)
}

fn operator() -> Result<Convolution> {
    Convolution::superresolution(domain(), 3, 1.0, 2, Boundary::Periodic)
}

/// `n` images, as rows, with what is observed of them.
fn pairs(image: &Tensor, n: usize, stream: &mut Stream) -> Result<(Tensor, Tensor)> {
    let x = Patches::random(Space::of("image", image)?, SIDE, n, stream)?.rows(image)?;
    let y = operator()?.apply(&x.reshape(domain().batch(n as i64)))?;
    let y = &y + stream.normal(&y.size()) * NOISE;
    Ok((x, y.flatten(1, -1)))
}

/// The posterior of a patch density that counts every pixel once: `lambda = pixels / pixels of a patch`.
fn posterior(flow: &PatchNr) -> Result<PosteriorEnergy> {
    let copy = PatchNr::from_checkpoint(flow.to_checkpoint(), "patchNR".as_ref())?;
    let prior = PatchPrior::new(copy, domain(), Sampling::All, Seed::new(0))?;
    let operator = operator()?;
    let lambda = (SIDE * SIDE) as f64 / (PATCH * PATCH) as f64;
    let weight = smalti_priors::weight::from_likelihood_sum(lambda, operator.range().len())?;
    PosteriorEnergy::new(Box::new(operator), Box::new(Gaussian::new(NOISE)?), Box::new(prior), weight)
}

fn trained(flow: ConditionalSnf, image: &Tensor, steps: u64) -> Result<ConditionalSnf> {
    let draw = Box::new(|stream: &mut Stream| pairs(image, BATCH, stream));
    let schedule = Schedule::Cosine { warmup: 0 };
    let settings = SnfTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, 2e-3).with_schedule(schedule))
        .with_report_every(steps.div_ceil(4));
    let mut training = SnfTraining::new(flow, draw, settings, Seed::new(3))?;
    run(&mut training, steps, &RunControl::default())?;
    Ok(training.finish()?.flow)
}

fn main() -> Result<()> {
    device::prepare_process(None);
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<u64>().ok());
    let mut next = |default: u64| numbers.next().flatten().unwrap_or(default);
    let (steps, observations) = (next(40), next(3));
    let image = |index| microstructure(200, 200, Seed::new(1), index);
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.4)?;
    let patches =
        PatchNrShape::default().with_patch_size(PATCH).with_blocks(3).with_hidden(32).with_clamp(clamp);
    let settings = PatchNrTrainingSettings::default()
        .with_adam(AdamSettings::constant(10 * steps, 2e-3).with_schedule(Schedule::Cosine { warmup: 0 }))
        .with_batch(128)
        .with_validate_every(10 * steps)
        .with_validation_patches(1000);
    let references = vec![image(0)?];
    let mut training = PatchNrTraining::new(
        PatchNr::new(patches, Seed::new(2))?,
        &references,
        None,
        settings,
        Seed::new(2),
    )?;
    run(&mut training, 10 * steps, &RunControl::default())?;
    let prior = training.finish()?.flow;

    let condition = operator()?.range().len();
    let shape = |couplings| {
        FlowShape::new(SIDE * SIDE, condition)
            .with_couplings(couplings)
            .with_hidden([64, 64])
            .with_clamp(clamp)
    };
    let kernel = || -> Result<Box<dyn MarkovKernel>> { Ok(Box::new(Mala::new(1e-4)?)) };
    let snf =
        ConditionalSnf::alternating(&shape(4), 2, kernel, 3, Box::new(posterior(&prior)?), Seed::new(4))?;
    let flows = [("INN", ConditionalSnf::inn(&shape(8), Seed::new(4))?), ("SNF", snf)];
    let energy = posterior(&prior)?;
    let learned_from = image(1)?;
    let (truths, seen) = pairs(&image(2)?, observations as usize, &mut Seed::new(5).at("tests", 0))?;
    println!("{steps} steps; {DRAWS} draws for each of {observations} observations");
    for (name, flow) in flows {
        let flow = trained(flow, &learned_from, steps)?;
        let (mut energies, mut errors, mut samples) = (0.0, 0.0, Vec::new());
        for k in 0..observations as i64 {
            let y = seen.narrow(0, k, 1).expand([DRAWS, condition], false).contiguous();
            let x = flow.sample(&y, &mut Seed::new(6).at("draws", k as u64))?;
            energies += energy.energy(&x, &y)?.mean(Kind::Double).double_value(&[]);
            let off = x.mean_dim(0i64, true, Kind::Float) - truths.narrow(0, k, 1);
            errors += off.square().mean(Kind::Double).double_value(&[]);
            samples.push(x.reshape(domain().batch(DRAWS)));
        }
        let n = observations as f64;
        let images: Vec<Tensor> =
            (0..observations as i64).map(|k| truths.narrow(0, k, 1).reshape(domain().batch(1))).collect();
        let covered = calibration(&images, &samples, &[0.5, 0.9], 2)?;
        println!(
            "  {name}: energy {:.1}, PSNR of the mean {:.2} dB, intervals of 50 / 90 % cover {:.0} / {:.0} % of pixels",
            energies / n,
            -10.0 * (errors / n).log10(),
            100.0 * covered.pixels[0].empirical,
            100.0 * covered.pixels[1].empirical
        );
    }
    Ok(())
}
