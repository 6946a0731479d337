//! patchNR flows on patches: value, and value with gradient, of the one of the paper and of a narrow one.

use criterion::{Criterion, Throughput};
use smalti_base::{Result, Space, parallel::in_operations};
use smalti_bench::{fixtures, timed};
use smalti_priors::Patches;
use std::process::ExitCode;

const PATCHES: usize = 4096;

/// Width and patches of the narrow flow: those of a shuffled grid on the image.
const NARROW: (i64, usize) = (128, 9801);

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
    let (hidden, count) = NARROW;
    let patches = Patches::random(fixtures::domain(), 6, count, &mut stream)?.rows(&fixtures::image()?)?;
    group.throughput(Throughput::Elements(count as u64));
    for (name, precision) in fixtures::PRECISIONS {
        let flow = fixtures::flow_of_width(hidden, precision)?;
        let id = format!("nll_and_grad/{name}/width {hidden}/{count}");
        timed::time(&mut group, &id, || flow.nll_and_grad(&patches))?;
    }
    group.finish();
    // What libtorch makes of the processor: figures of machines are compared as ratios to this one.
    let [a, b] = [1024, 512].map(|rows| fixtures::noise(Space::image(1, rows, 512)).view([rows, 512]));
    let mut group = timed::group(criterion, "libtorch");
    timed::time(&mut group, "product/f32/1024x512x512", || Ok(in_operations(|| a.f_matmul(&b))?))?;
    group.finish();
    Ok(())
}
