//! Zero-shot superresolution: the Wasserstein patch prior with no other reference than the observation.
//!
//! `cargo run --release -p smalti-tables --example zero_shot_wpp -- --factor 2 IMAGE...` observes every image (PNG or
//! TIFF, grey values in `[0, 1]`), reconstructs it and prints how the result scores beside bicubic interpolation. Without
//! images it draws a synthetic material.
//!
//! The observation is blurred by a 16 x 16 Gaussian of standard deviation `factor / 2`, taken at every `factor`-th pixel
//! of the reflected image, with white noise of 0.01: the protocol of zero-shot superresolution with patchNRs (Altekrüger
//! et al. 2023). The patches of the reconstruction are compared with those of the observation, coarser details with
//! finer ones: what repeats itself across scales, straight edges above all, gets sharp.

use clap::Parser;
use smalti_base::image_file::load_gray;
use smalti_base::{Error, Result, Seed, Space, device};
use smalti_operators::{Border, Convolution, Extension, Gaussian, Operator, interpolate};
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_priors::{WassersteinPatchPrior, WppSettings};
use smalti_solvers::{AdamSettings, Budget, Cancel, Ended, Iteration, Map, Observer, Problem, Schedule, run};
use smalti_tables::superres::Score;
use smalti_tables::synthetic::microstructure;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Tensor;

const NOISE: f64 = 0.01;

/// Zero-shot superresolution of images, each simulated from itself, by the Wasserstein patch prior.
#[derive(Debug, Parser)]
struct Arguments {
    /// Images to observe and to reconstruct [default: a synthetic material]
    images: Vec<PathBuf>,
    /// Factor of the superresolution
    #[arg(long, default_value = "2", value_parser = ["2", "4"])]
    factor: String,
    /// Weights `w` of `J(x) = 1/n nll(A x, y) + w W2^2`, one result each
    #[arg(long, value_name = "W,W,...", value_delimiter = ',', default_value = "10")]
    weight: Vec<f64>,
    /// Scales that patches are compared on
    #[arg(long, default_value_t = 1)]
    scales: usize,
    /// Side of a patch in pixels
    #[arg(long, default_value_t = 6)]
    patch_size: i64,
    /// Random patches of the observation that are taken; it must have as many
    #[arg(long, default_value_t = 10_000)]
    references: usize,
    /// Iterations
    #[arg(long, default_value_t = 100)]
    iterations: u64,
    /// Cut every image to its central square of so many pixels
    #[arg(long)]
    size: Option<i64>,
    /// Seed of noise and reference patches
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> std::process::ExitCode {
    device::prepare_process(None);
    match reconstruct_all(Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn reconstruct_all(mut arguments: Arguments) -> Result<()> {
    let cancel = Cancel::on_ctrl_c()?;
    println!("image                 weight  bicubic [dB]  SSIM     WPP [dB]  SSIM   blur (truth)  seconds");
    if arguments.images.is_empty() {
        arguments.references = arguments.references.min(1_000);
        return reconstruct("synthetic", &microstructure(96, 96, Seed::new(1), 0)?, &arguments, &cancel);
    }
    for path in &arguments.images {
        if cancel.requested() {
            break;
        }
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        reconstruct(&name, &image(path, arguments.size)?, &arguments, &cancel)?;
    }
    Ok(())
}

/// The image of a file, `[1, 1, H, W]`, or its middle.
fn image(path: &Path, size: Option<i64>) -> Result<Tensor> {
    let whole = load_gray(path)?;
    let (height, width) = (whole.size()[2], whole.size()[3]);
    match size.unwrap_or(height.min(width)) {
        n if n < 16 || n > height.min(width) => {
            Err(Error::value("--size", format!("16 to {} pixels", height.min(width)), n))
        }
        n if size.is_some() => {
            Ok(whole.f_narrow(2, (height - n) / 2, n)?.f_narrow(3, (width - n) / 2, n)?.f_contiguous()?)
        }
        _ => Ok(whole),
    }
}

fn reconstruct(name: &str, truth: &Tensor, arguments: &Arguments, cancel: &Cancel) -> Result<()> {
    let seed = Seed::new(arguments.seed).derive(name, 0);
    let factor: i64 = if arguments.factor == "4" { 4 } else { 2 };
    // As published: 7 pixels are reflected for factor 2, 6 for factor 4, and as many are left out of the score.
    let edge = 8 - factor / 2;
    let domain = Space::of(name, truth)?;
    let form = Extension::Reflect { before: edge, after: edge };
    let operator = Convolution::superresolution(domain, 16, factor as f64 / 2.0, factor, form)?;
    let exact = operator.apply(truth)?;
    let observation = &exact + seed.at("observation noise", 0).normal(&exact.size()) * NOISE;
    let start = interpolate(&observation, operator.grid(), domain, Border::Clamp)?;
    let bicubic = Score::of(&start, truth, edge)?;

    let settings = WppSettings {
        patch_size: arguments.patch_size,
        references: ReferencePatches::Random(arguments.references),
        scales: arguments.scales,
        dual: DualMethod::Converge { gap: 1e-3, evaluations: 5 }, // each iteration goes on where the last one ended
        ..WppSettings::default()
    };
    for &weight in &arguments.weight {
        let begun = Instant::now();
        let size = domain.batch(1);
        let mut prior = WassersteinPatchPrior::zero_shot(&size, &observation, &settings, seed)?;
        let problem = Problem {
            operator: &operator,
            likelihood: &Gaussian::new(NOISE)?,
            observation: &observation,
            prior: &mut prior,
            weight,
        };
        let schedule = Schedule::Cosine { warmup: 0 };
        let adam = AdamSettings { steps: arguments.iterations, rate: 0.015, schedule };
        let mut map = Map::new(problem, &start, adam)?;
        let observer = Observer { cancel: cancel.clone(), ..Observer::default() };
        let summary = run(&mut map, Budget::steps(arguments.iterations), &observer)?;
        if let Ended::Cancelled(_) = summary.ended {
            println!("{name}: stopped after {} iterations", summary.steps);
            return Ok(());
        }
        let score = Score::of(&map.finish()?, truth, edge)?;
        println!(
            "{name:20} {weight:7.1} {:10.2} {:8.3} {:11.2} {:7.3} {:6.3} ({:.3}) {:8.1}",
            bicubic.psnr,
            bicubic.ssim,
            score.psnr,
            score.ssim,
            score.blur,
            score.blur_of_truth,
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
