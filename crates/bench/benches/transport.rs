//! The Wasserstein engine on patches of synthetic images: indices, the c-transform, its gradient, the dual from nothing.

use criterion::Criterion;
use smalti_base::Result;
use smalti_bench::timed::{group, run, time};
use smalti_bench::transport::{Images, patches, refused, rows};
use smalti_kernels::transport::{DualMethod, DualSolver, Queries, References};
use std::process::ExitCode;
use std::sync::Arc;

const COUNT: usize = 10_000;
/// Rows of a dual problem that is solved from nothing.
const FEW: usize = 1_000;

fn main() -> ExitCode {
    run(transport)
}

fn transport(criterion: &mut Criterion) -> Result<()> {
    let images = Images::synthetic()?;
    let x = rows(&patches(&images.image, Some(COUNT), "queries")?)?;
    let y = rows(&patches(&images.reference, Some(COUNT), "references")?)?;
    let references = Arc::new(References::new(&y).map_err(refused)?);
    let mut queries = Queries::new(&references, x.clone()).map_err(refused)?;
    let mut group = group(criterion, "transport");
    let id = |what: &str| format!("{what}/{COUNT}x{COUNT}");
    time(&mut group, &id("references"), || References::new(&y).map_err(refused))?;
    time(&mut group, &id("queries"), || Queries::new(&references, x.clone()).map_err(refused))?;
    let mut psi = vec![0.0; COUNT];
    let mut k = 0;
    time(&mut group, &id("c_transform"), || {
        // A potential that changes a little from call to call.
        k += 1;
        psi[k * 37 % COUNT] += 1e-3;
        queries.c_transform(&psi).map_err(refused)
    })?;
    let found = queries.c_transform(&psi).map_err(refused)?;
    time(&mut group, &id("gradient"), || queries.gradient(&found, None).map_err(refused))?;
    let few = |image, what| rows(&patches(image, Some(FEW), what)?);
    let references = Arc::new(References::new(&few(&images.reference, "references")?).map_err(refused)?);
    let mut queries = Queries::new(&references, few(&images.image, "queries")?).map_err(refused)?;
    time(&mut group, &format!("dual_cold/{FEW}x{FEW}"), || {
        let mut dual = DualSolver::new(&references, DualMethod::default()).map_err(refused)?;
        dual.solve(&mut queries, None).map_err(refused)
    })?;
    group.finish();
    Ok(())
}
