//! Times soft minima and Sinkhorn's iteration on windows of synthetic images.
//!
//! `cargo run --release -p smalti-kernels --example sinkhorn -- [SIDE]`; threads by `RAYON_NUM_THREADS`.
//!
//! Images have `SIDE` x `SIDE` pixels (35 unless told, at least 6), so `(SIDE - 5)^2` windows of 6 x 6: 105 gives the 10,000 of
//! docs/benchmarks.md.

use std::time::Instant;

use smalti_kernels::{
    error::KernelError,
    rows::Rows,
    transport::{Side, SinkhornMethod, SinkhornSolver, softmin},
};

const WINDOW: usize = 6;

fn main() -> Result<(), KernelError> {
    let side = std::env::args().nth(1).and_then(|side| side.parse().ok()).unwrap_or(35);
    let rows = |phase: f32| Rows::windows(image(side, phase), &[side; 2], &[WINDOW; 2], &[1; 2]);
    let (x, y) = (rows(0.0)?, rows(0.4)?);
    let pairs = (x.len() * y.len()) as f64;
    for eps in [2e-4, 0.05] {
        let potential = vec![0.0; y.len()];
        let target = Side { rows: &y, weights: None, potential: &potential };
        softmin(&x, target, eps)?;
        let clock = Instant::now();
        let values = softmin(&x, target, eps)?;
        let seconds = clock.elapsed().as_secs_f64();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        println!(
            "eps {eps}: soft minima of {} x {} windows in {:.0} ms, {:.2} billion pairs a second, mean {mean:.5}",
            x.len(),
            y.len(),
            1e3 * seconds,
            1e-9 * pairs / seconds
        );
    }
    for rho in [None, Some(5e-5)] {
        let mut sinkhorn =
            SinkhornSolver::new(y.clone(), SinkhornMethod { rho, ..SinkhornMethod::new(2e-4) })?;
        for start in ["cold", "warm"] {
            let clock = Instant::now();
            let found = sinkhorn.solve(&x, None)?;
            println!(
                "rho {rho:?}, {start}: value {:.5}, marginal error {:.1e} after {} iterations, {:.2} s",
                found.value,
                found.marginal_error,
                found.iterations,
                clock.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}

/// Waves with a little noise, seeded.
fn image(side: usize, phase: f32) -> Vec<f32> {
    let mut state = 1_u64 + (phase * 100.0) as u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..side * side)
        .map(|i| {
            let (r, c) = ((i / side) as f32, (i % side) as f32);
            0.5 + 0.2 * (0.31 * r + phase).sin() * (0.23 * c + 0.05 * r).cos() + 0.04 * noise()
        })
        .collect()
}
