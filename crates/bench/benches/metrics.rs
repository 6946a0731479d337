//! Quality measures of a 600 x 600 image.

use criterion::Criterion;
use smalti_base::Result;
use smalti_base::metrics::{psnr, ssim, ssim_gaussian};
use smalti_bench::{fixtures, timed};
use std::process::ExitCode;

fn main() -> ExitCode {
    timed::run(metrics)
}

fn metrics(criterion: &mut Criterion) -> Result<()> {
    let truth = fixtures::image()?;
    let image = &truth + fixtures::noise(fixtures::domain()) * 0.1;
    let mut group = timed::group(criterion, "metrics");
    timed::time(&mut group, "psnr/600x600", || psnr(&image, &truth, 1.0))?;
    timed::time(&mut group, "ssim/600x600", || ssim(&image, &truth, 1.0))?;
    timed::time(&mut group, "ssim_gaussian/600x600", || ssim_gaussian(&image, &truth, 1.0))?;
    group.finish();
    Ok(())
}
