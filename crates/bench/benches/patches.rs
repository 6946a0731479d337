//! Patches taken from an image and added back.

use criterion::{Criterion, Throughput};
use smalti_base::Result;
use smalti_bench::{fixtures, timed};
use smalti_priors::Patches;
use std::process::ExitCode;

const SIZE: i64 = 6;

fn main() -> ExitCode {
    timed::run(patches)
}

fn patches(criterion: &mut Criterion) -> Result<()> {
    let (domain, image) = (fixtures::domain(), fixtures::image()?);
    let mut stream = fixtures::seed().at("benchmark patches", 0);
    let selections = [
        ("all", Patches::all(domain, SIZE)?),
        ("stride_6", Patches::grid(domain, SIZE, 6, &[3, 2])?),
        ("random", Patches::random(domain, SIZE, 20_000, &mut stream)?),
    ];
    let mut group = timed::group(criterion, "patches_of_600x600");
    for (name, selection) in &selections {
        let rows = selection.rows(&image)?;
        group.throughput(Throughput::Elements(selection.count() as u64));
        let count = selection.count();
        timed::time(&mut group, &format!("{name}/gather/{count}"), || selection.rows(&image))?;
        timed::time(&mut group, &format!("{name}/scatter/{count}"), || selection.rows_adjoint(&rows))?;
    }
    group.finish();
    Ok(())
}
