//! The dual solver from nothing and after small steps of the image: time, evaluations, certified gap.
//!
//! `cargo run --release -p smalti-bench --example warm_dual -- [COUNT]... [NxM]... [DIR]`: COUNT patches of 6 x 6 on either side
//! (2,000 and 5,000 where none is given), or N and M, of `DIR/sic/test.png` and `DIR/sic/ref.png`, or of synthetic images. In
//! a step every value of every patch gets Gaussian noise of standard deviation 0.002.

use smalti_base::device::prepare_process;
use smalti_base::image_file::load_gray;
use smalti_base::{Error, Result};
use smalti_bench::fixtures;
use smalti_bench::transport::{Images, patches, refused, rows};
use smalti_kernels::transport::{DualMethod, DualSolver, Queries, References};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const STEPS: u64 = 7;
const NOISE: f64 = 0.002;

fn main() -> Result<()> {
    prepare_process(None);
    let (mut counts, mut images) = (Vec::new(), Images::synthetic()?);
    for argument in std::env::args().skip(1) {
        match sizes(&argument) {
            Some(sizes) => counts.push(sizes),
            None => {
                let load = |name| load_gray(&Path::new(&argument).join(name));
                images =
                    Images { reference: load("sic/ref.png")?, image: load("sic/test.png")?, what: "SiC" };
            }
        }
    }
    if counts.is_empty() {
        counts = vec![(2_000, 2_000), (5_000, 5_000)];
    }
    counts.into_iter().try_for_each(|sizes| solve(&images, sizes))
}

/// `COUNT` or `NxM`.
fn sizes(argument: &str) -> Option<(usize, usize)> {
    let (n, m) = argument.split_once('x').unwrap_or((argument, argument));
    n.parse().ok().zip(m.parse().ok())
}

fn solve(images: &Images, (n, m): (usize, usize)) -> Result<()> {
    let mut x = patches(&images.image, Some(n), "queries")?;
    let y = rows(&patches(&images.reference, Some(m), "references")?)?;
    let references = Arc::new(References::new(&y).map_err(refused)?);
    let mut queries = Queries::new(&references, rows(&x)?).map_err(refused)?;
    let method = DualMethod::Converge { gap: 1e-3, evaluations: 400 };
    let mut dual = DualSolver::new(&references, method).map_err(refused)?;
    for step in 0..=STEPS {
        if step > 0 {
            x += fixtures::seed().at("steps of the image", step).normal(&x.size()) * NOISE;
            let flat = Vec::<f32>::try_from(x.reshape(-1)).map_err(Error::from)?;
            queries.update(&flat).map_err(refused)?;
        }
        let start = Instant::now();
        let solution = dual.solve(&mut queries, None).map_err(refused)?;
        let seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        queries.c_transform(dual.potential()).map_err(refused)?;
        println!(
            "{n} x {m} {}, step {step}: W2^2 in {:.8} .. {:.8}, gap {:.1e}, {} evaluations in {:.1} ms (a c-transform: {:.1} ms)",
            images.what,
            solution.value,
            solution.upper.unwrap_or(f64::INFINITY),
            solution.gap().unwrap_or(f64::NAN),
            solution.evaluations,
            1e3 * seconds,
            1e3 * start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
