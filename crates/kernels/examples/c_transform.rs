//! Times the exact c-transform on windows of synthetic images and on noise.
//!
//! `cargo run --release -p smalti-kernels --example c_transform [10k] [354k] [noise]`; threads by `RAYON_NUM_THREADS`.

use std::{sync::Arc, time::Instant};

use smalti_kernels::{
    error::KernelError,
    rows::Rows,
    transport::{DualMethod, DualSolver, Queries, References},
};

const SIDE: usize = 600;
const WINDOW: usize = 6;

/// Averaged steps in a solution.
const STEPS: usize = 10;

fn main() -> Result<(), KernelError> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let texture = image(1);
    let references = some_windows(texture, 10_000, 2)?;
    for (name, rows) in [
        ("10k", some_windows(image(3), 10_000, 4)?),
        ("354k", Rows::windows(image(3), &[SIDE; 2], &[WINDOW; 2], &[1; 2])?),
        ("noise", Rows::dense(normal(10_000 * 36, 5), 36)?),
    ] {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            let noise = name == "noise";
            let y = if noise { Rows::dense(normal(10_000 * 36, 6), 36)? } else { references.clone() };
            run(name, &y, rows)?;
        }
    }
    Ok(())
}

/// A first transform with its indices, then transforms under potentials that move a little, then averaged steps.
fn run(name: &str, y: &Rows, x: Rows) -> Result<(), KernelError> {
    let clock = Instant::now();
    let references = Arc::new(References::new(y)?);
    let indexed = clock.elapsed();
    let mut queries = Queries::new(&references, x)?;
    let both = clock.elapsed();
    let mut psi = vec![0.0; y.len()];
    let first = queries.c_transform(&psi)?;
    println!(
        "{name}: references {indexed:.1?}, queries {:.1?}, first {:.1?}",
        both - indexed,
        clock.elapsed() - both
    );
    let mut times = Vec::new();
    for step in 0..11 {
        psi.iter_mut().zip(normal(y.len(), step + 7)).for_each(|(psi, v)| *psi += 1e-3 * f64::from(v));
        let clock = Instant::now();
        queries.c_transform(&psi)?;
        times.push(clock.elapsed());
    }
    times.sort();
    println!("{name}: one evaluation {:.1?}, mean of the first {:.6}", times[5], first.mean());
    let mut dual = DualSolver::new(&references, DualMethod::AveragedSgd { steps: STEPS, step: 1.0 })?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let clock = Instant::now();
        dual.solve(&mut queries, None)?;
        times.push(clock.elapsed() / (STEPS + 1) as u32);
    }
    times.sort();
    println!("{name}: one of the {} evaluations of averaged steps {:.1?}", STEPS + 1, times[2]);
    Ok(())
}

/// Normal numbers.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// A texture: noise smoothed along both axes, with some noise left.
fn image(seed: u64) -> Vec<f32> {
    let (mut values, rest) = (normal(SIDE * SIDE, seed), normal(SIDE * SIDE, seed + 100));
    for (along, across) in [(1, SIDE), (SIDE, 1)] {
        for line in 0..SIDE {
            for _ in 0..2 {
                let mut last = 0.0;
                for k in 0..SIDE {
                    let value = &mut values[line * across + k * along];
                    last += 0.3 * (*value - last);
                    *value = last;
                }
            }
        }
    }
    values.iter().zip(rest).map(|(v, r)| (0.5 + 1.5 * v + 0.02 * r).clamp(0.0, 1.0)).collect()
}

/// Windows at random positions.
fn some_windows(image: Vec<f32>, count: usize, seed: u64) -> Result<Rows, KernelError> {
    let inside = (SIDE - WINDOW) as f32;
    let places: Vec<usize> =
        normal(2 * count, seed).iter().map(|v| ((v * 7.3).rem_euclid(1.0) * inside) as usize).collect();
    let bases = places.chunks(2).map(|p| p[0] * SIDE + p[1]).collect();
    let offsets = (0..WINDOW * WINDOW).map(|k| k / WINDOW * SIDE + k % WINDOW).collect();
    Rows::from_offsets(image, bases, offsets)
}
