//! Criterion with the settings of this workspace.

use criterion::{BenchmarkGroup, Criterion, SamplingMode, measurement::WallTime};
use smalti_base::Result;
use smalti_base::device::prepare_process;
use std::process::ExitCode;
use std::time::Duration;

/// A group of benchmarks.
pub type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Runs the benchmarks of one file: the process set up as our programs do it, ten samples in about two seconds for
/// each benchmark, the options of the command line on top. An error ends the run with one line and exit code 1.
pub fn run(benchmarks: impl FnOnce(&mut Criterion) -> Result<()>) -> ExitCode {
    prepare_process(None);
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    match benchmarks(&mut criterion) {
        Ok(()) => {
            criterion.final_summary();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A group in which every sample has the same number of runs: right for work of milliseconds and more.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// Times `work` under the given id (name and size, e.g. `adjoint/600x600`).
///
/// # Errors
/// That of a first run of `work`, which comes before the timed ones: no error is timed in place of work.
pub fn time<T>(group: &mut Group<'_>, id: &str, mut work: impl FnMut() -> Result<T>) -> Result<()> {
    work()?;
    group.bench_function(id, |bencher| bencher.iter(&mut work));
    Ok(())
}
