//! One training step of the patchNR flow of the paper.

use criterion::{Criterion, Throughput};
use smalti_base::Result;
use smalti_bench::{fixtures, timed};
use smalti_solvers::{AdamSettings, Iteration, PatchNrTraining, PatchNrTrainingSettings};
use std::process::ExitCode;

fn main() -> ExitCode {
    timed::run(training)
}

fn training(criterion: &mut Criterion) -> Result<()> {
    let images = [fixtures::image()?];
    let mut group = timed::group(criterion, "patchnr_training_step");
    for (name, precision) in fixtures::PRECISIONS {
        for batch in [32, 256, 512] {
            let settings = PatchNrTrainingSettings::default()
                .with_adam(AdamSettings::constant(u64::MAX, 1e-4))
                .with_batch(batch)
                .with_validate_every(u64::MAX)
                .with_validation_patches(0);
            let flow = fixtures::flow(precision)?;
            let mut training = PatchNrTraining::new(flow, &images, None, settings, fixtures::seed())?;
            let mut steps = 0..;
            group.throughput(Throughput::Elements(batch as u64));
            timed::time(&mut group, &format!("{name}/{batch}"), || training.step(steps.next().unwrap_or(0)))?;
        }
    }
    group.finish();
    Ok(())
}
