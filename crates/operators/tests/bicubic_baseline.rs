//! The published bicubic row of the SiC x4 table depends on aligned pixel centres: on the 50 slices measured
//! with torch and scikit-image as 25.49 +- 0.68 dB, SSIM 0.702 +- 0.013 (40 px crop), and 18.7 dB where the shift
//! is forgotten.

use smalti_base::image_file::load_gray;
use smalti_base::metrics::{crop, psnr, ssim};
use smalti_base::{Result, Seed, Space};
use smalti_operators::{Boundary, Convolution, Grid, Operator, PixelGrid, interpolate};
use smalti_testkit::measured;
use tch::Tensor;

/// The bicubic interpolation of a noisy observation of `x`, cropped: PSNR and SSIM of the aligned one, and PSNR
/// of the one with torch's centres.
fn scores(x: &Tensor, seed: Seed) -> Result<[f64; 3]> {
    let image = Space::of("image", x)?;
    let a = Convolution::superresolution(image, 16, 2.0, 4, Boundary::Periodic)?;
    let y = a.apply(x)?;
    let y = &y + seed.at("noise", 0).normal(&y.size()) * 0.01;
    let unshifted = Grid { origin: (1.5, 1.5), ..a.grid() };
    let truth = crop(x, 40)?;
    let bicubic = |grid, border| crop(&interpolate(&y, grid, image, border)?, 40);
    let aligned = bicubic(a.grid(), Boundary::Periodic)?;
    let wrong = bicubic(unshifted, Boundary::Valid)?;
    Ok([psnr(&aligned, &truth, 1.0)?, ssim(&aligned, &truth, 1.0)?, psnr(&wrong, &truth, 1.0)?])
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[test]
fn the_aligned_baseline_on_the_sic_slices_is_the_measured_one() -> Result<()> {
    let Some(data) = measured(&["sic/testset"]) else { return Ok(()) };
    // Small images: threads that wait for each other on a busy machine cost more than they gain.
    tch::set_num_threads(1);
    let mut columns: [Vec<f64>; 3] = Default::default();
    for i in 1..=50 {
        let x = load_gray(&data.join(format!("sic/testset/img{i}.png")))?;
        for (column, score) in columns.iter_mut().zip(scores(&x, Seed::new(i))?) {
            column.push(score);
        }
    }
    let [psnr, ssim, unshifted] = columns.map(|column| mean_and_deviation(&column));
    println!("50 SiC slices: {psnr:.3?} dB, SSIM {ssim:.4?}, unshifted {unshifted:.3?} dB");
    let near = |(mean, deviation): (f64, f64), expected: (f64, f64), tolerance: f64| {
        (mean - expected.0).abs() < tolerance && (deviation - expected.1).abs() < tolerance
    };
    assert!(near(psnr, (25.49, 0.68), 0.02), "{psnr:.3?}");
    assert!(near(ssim, (0.702, 0.013), 0.001), "{ssim:.4?}");
    assert!((unshifted.0 - 18.7).abs() < 0.1, "{unshifted:.3?}");
    Ok(())
}

#[test]
fn alignment_decides_on_a_synthetic_texture_too() -> Result<()> {
    // Noise blurred by a Gaussian of 3 pixels: structure that the operator can still see.
    let image = Space::image(1, 240, 280);
    let noise = Seed::new(7).at("texture", 0).normal(&image.batch(1));
    let reflect = Boundary::ReflectBy(9);
    let blur = Convolution::superresolution(image, 19, 3.0, 1, reflect)?;
    let texture = blur.apply(&noise)? * 1.5 + 0.5;
    let [aligned, _, unshifted] = scores(&texture, Seed::new(8))?;
    println!("synthetic texture: aligned {aligned:.2} dB, unshifted {unshifted:.2} dB");
    assert!(aligned > 24.0 && aligned > unshifted + 6.0);
    Ok(())
}
