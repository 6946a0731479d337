//! Times the projector, its transpose and back projection in the geometry of LoDoPaB-CT.
//!
//! `cargo run --release -p smalti-kernels --example radon`; threads by `RAYON_NUM_THREADS`.

use smalti_kernels::{
    error::KernelError,
    radon::{Beam, ParallelBeam},
};
use std::time::Instant;

fn main() -> Result<(), KernelError> {
    let beam = ParallelBeam::lodopab();
    let value = |i: usize| ((i * 37) % 199) as f32 / 199.0;
    let mut image: Vec<f32> = (0..beam.image_len()).map(value).collect();
    let mut sinogram: Vec<f32> = vec![0.0; beam.sinogram_len()];
    time("forward", || beam.forward(&image, &mut sinogram))?;
    time("adjoint", || beam.adjoint(&sinogram, &mut image))?;
    time("back projection", || beam.back_project(&sinogram, &mut image))
}

/// The median of 15 runs after a first one.
fn time(name: &str, mut run: impl FnMut() -> Result<(), KernelError>) -> Result<(), KernelError> {
    run()?;
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    println!("{name}: {:.2?}", times[7]);
    Ok(())
}
