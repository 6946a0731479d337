//! Superresolution by a patchNR prior learned from one image, from the first line to the last.
//!
//! `cargo run --release -p smalti-solvers --example superresolve`
//!
//! A synthetic material, dark blobs on a bright ground, is blurred, sampled at every third pixel and made noisy.
//! A small flow learns the patches of another image of the same material; the reconstruction is the image that
//! explains the observation and has likely patches.

use smalti_base::metrics::{crop, psnr};
use smalti_base::{Result, Seed, Space};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
use smalti_operators::{Boundary, Convolution, Gaussian, Operator, PixelGrid, interpolate, kernel};
use smalti_priors::{PatchPrior, Sampling};
use smalti_solvers::{
    AdamSettings, Iteration, Map, Objective, PatchNrTraining, PatchNrTrainingSettings, RunControl, Schedule,
    run,
};
use tch::{Kind, Tensor};

/// Blobs with sharp edges: smoothed noise, passed through a steep step.
fn material(domain: Space, seed: Seed) -> Result<Tensor> {
    let smooth = Convolution::blur(domain, &kernel::gaussian(15, 2.5)?, Boundary::Periodic)?;
    let noise = smooth.apply(&seed.at("material", 0).normal(&domain.batch(1)))?;
    let steep: Tensor = &noise * 4.0 / noise.std(true);
    Ok(steep.sigmoid() * 0.7 + 0.15)
}

fn train(image: &Tensor, validation: &Tensor) -> Result<PatchNr> {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6)?;
    let flow = PatchNr::new(
        PatchNrShape::default().with_patch_size(4).with_blocks(3).with_hidden(64).with_clamp(clamp),
        Seed::new(3),
    )?;
    let settings = PatchNrTrainingSettings::default()
        .with_adam(AdamSettings::constant(500, 5e-3).with_schedule(Schedule::Cosine { warmup: 20 }))
        .with_batch(128)
        .with_validate_every(100)
        .with_validation_patches(1000);
    let images = std::slice::from_ref(image);
    let mut training = PatchNrTraining::new(flow, images, Some(validation), settings, Seed::new(4))?;
    let summary = run(&mut training, 500, &RunControl::default())?;
    let trained = training.finish()?;
    println!("trained {} steps in {:.1} s", summary.steps, summary.elapsed.as_secs_f64());
    for point in &trained.curve {
        let validation = point.validation.unwrap_or(f64::NAN);
        println!(
            "    step {:4}: training NLL {:7.2}, validation NLL {validation:7.2}",
            point.step, point.train
        );
    }
    Ok(trained.flow)
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let domain = Space::image(1, 72, 96);
    let truth = material(domain, Seed::new(1))?;
    let operator = Convolution::superresolution(domain, 8, 1.5, 3, Boundary::Periodic)?;
    let sigma = 0.01;
    let clean = operator.apply(&truth)?;
    let observation = &clean + Seed::new(2).at("noise", 0).normal(&clean.size()) * sigma;
    println!("observation {:?} of an image {:?}", observation.size(), truth.size());

    let other = Space::image(1, 96, 96);
    let flow = train(&material(other, Seed::new(10))?, &material(other, Seed::new(11))?)?;

    // J(x) = 1/n nll(F(x), y) + w R(x), from the interpolated observation.
    let start = interpolate(&observation, operator.grid(), domain, Boundary::Periodic)?;
    let mut prior = PatchPrior::new(&flow, domain, Sampling::Grid(2), Seed::new(5))?;
    let problem = Objective {
        operator: &operator,
        likelihood: &Gaussian::new(sigma)?,
        observation: &observation,
        prior: &mut prior,
        weight: 0.3,
    };
    let settings = AdamSettings::constant(200, 0.02).with_schedule(Schedule::Cosine { warmup: 0 });
    let mut map = Map::new(problem, &start, settings)?;
    let summary = run(&mut map, 200, &RunControl::default())?;
    let result = map.finish()?;
    println!("reconstructed in {:.1} s", summary.elapsed.as_secs_f64());

    let quality = |x: &Tensor| psnr(&crop(x, 8)?, &crop(&truth, 8)?, 1.0);
    let (before, after) = (quality(&start)?, quality(&result)?);
    let misfit =
        (operator.apply(&result)? - &observation).square().mean(Kind::Double).sqrt().double_value(&[]);
    println!("PSNR {before:.2} dB by bicubic interpolation, {after:.2} dB by the patch prior");
    println!("the result explains the observation up to {misfit:.4} (noise {sigma})");
    assert!(after > before + 1.0, "the patch prior must beat interpolation by more than 1 dB");
    Ok(())
}
