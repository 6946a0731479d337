//! Seconds for the Wasserstein patch prior on tensors: as many patches of 6 x 6 against as many references.
//!
//! `cargo run --release -p smalti-priors --example tensor_c_transform -- [DEVICE [POSITIONS]]`, for instance `cuda:0 100` or `cpu 30`
//!
//! There are `POSITIONS^2` patches (30 unless told: 900; 100 gives 10,000).
//! A c-transform, one with the gradient in the pixels, and ten averaged steps with the gradient, each the median of
//! some runs. Nothing is skipped, so that the values of the patches do not matter: uniform noise.

use smalti_base::device::DeviceChoice;
use smalti_base::{Result, Seed};
use smalti_priors::Regularizer;
use smalti_priors::wpp::{ReferencePatches, WassersteinPatchPrior, WppSettings, c_transform};
use std::time::Instant;
use tch::{Cuda, Device, Kind, Tensor};

const RUNS: usize = 5;

/// Waits until the device has done all it was asked to.
fn synchronised(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Median seconds of a run, after one that is not counted.
fn seconds(device: Device, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut all = Vec::new();
    for _ in 0..RUNS {
        synchronised(device);
        let start = Instant::now();
        run()?;
        synchronised(device);
        all.push(start.elapsed().as_secs_f64());
    }
    all.sort_by(f64::total_cmp);
    Ok(all[RUNS / 2])
}

fn main() -> Result<()> {
    let asked = std::env::args().nth(1).unwrap_or_else(|| "auto".to_owned());
    let positions: i64 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(30);
    let count = positions * positions;
    let device = asked.parse::<DeviceChoice>()?.resolve()?;
    let draw = |name, size: &[i64]| Seed::new(1).at(name, 0).uniform(size);
    println!("{count} patches of 36 against {count}, float32, on {device:?}");

    let [x, y] = ["x", "y"].map(|name| draw(name, &[count, 36]).to_device(device));
    let psi = Tensor::zeros([count], (Kind::Double, device));
    let time = seconds(device, || c_transform(&x, &y, &psi).map(drop))?;
    let rate = 2.0 * 36.0 * (count * count) as f64 / time / 1e9;
    println!("c-transform                       {time:.5} s, {rate:.0} GFLOP/s");

    let size = [1, 1, positions + 5, positions + 5];
    let settings =
        WppSettings::hertrich_2022().with_references(ReferencePatches::Random(count as usize)).with_scales(1);
    let reference = draw("reference", &[1, 1, 2 * positions, 2 * positions]);
    let prior = WassersteinPatchPrior::new(&size, &[&reference], &settings, Seed::new(2))?;
    let mut prior = prior.with_tensor_search();
    let image = draw("image", &size).to_device(device);
    let mut step = 0;
    let time = seconds(device, || {
        // Without a refresh, the solution for an image is known.
        prior.refresh(step)?;
        step += 1;
        prior.value_and_grad(&image).map(drop)
    })?;
    println!("value and gradient after 10 steps {time:.5} s");
    let fixed = prior.at_fixed_potentials();
    let other = &image * 0.9;
    let mut turn = 0;
    let time = seconds(device, || {
        turn += 1;
        fixed.value_and_grad(if turn % 2 == 0 { &image } else { &other }).map(drop)
    })?;
    println!("the same at fixed potentials      {time:.5} s");
    Ok(())
}
