//! The patchNR flow of the paper on patches: value, and value with gradient.

use criterion::{Criterion, Throughput};
use smalti_base::Result;
use smalti_bench::{fixtures, timed};
use smalti_priors::Patches;
use std::process::ExitCode;

const PATCHES: usize = 4096;

fn main() -> ExitCode {
    timed::run(flow)
}

fn flow(criterion: &mut Criterion) -> Result<()> {
    let mut stream = fixtures::seed().at("benchmark patches", 0);
    let patches = Patches::random(fixtures::domain(), 6, PATCHES, &mut stream)?.rows(&fixtures::image()?)?;
    let mut group = timed::group(criterion, "patchnr");
    group.throughput(Throughput::Elements(PATCHES as u64));
    for (name, precision) in fixtures::PRECISIONS {
        let flow = fixtures::flow(precision)?;
        timed::time(&mut group, &format!("nll/{name}/{PATCHES}"), || flow.nll(&patches))?;
        timed::time(&mut group, &format!("nll_and_grad/{name}/{PATCHES}"), || flow.nll_and_grad(&patches))?;
    }
    group.finish();
    Ok(())
}
