//! Regularizers that are no flows.

use criterion::Criterion;
use smalti_base::Result;
use smalti_bench::{fixtures, timed};
use smalti_priors::{Regularizer, TotalVariation};
use std::process::ExitCode;

fn main() -> ExitCode {
    timed::run(priors)
}

fn priors(criterion: &mut Criterion) -> Result<()> {
    let image = fixtures::image()?;
    let tv = TotalVariation::new(fixtures::domain(), 1e-3)?;
    let mut group = timed::group(criterion, "total_variation");
    timed::time(&mut group, "value/600x600", || tv.value(&image))?;
    timed::time(&mut group, "value_and_grad/600x600", || tv.value_and_grad(&image))?;
    group.finish();
    Ok(())
}
