//! What the scanner does to a scene: blur and noise.

use rand::Rng;
use rand_distr::StandardNormal;
use smalti_base::seed::Stream;

/// Standard deviation of the scanner's blur, in pixels.
pub const SCANNER_SIGMA: f64 = 0.8;

/// Standard deviation of the scanner's white noise, in units of the value range `[0, 1]`.
pub const SCANNER_NOISE: f64 = 0.008;

/// Convolves the `height` x `width` image with a Gaussian of standard deviation `sigma` pixels, separably and
/// with its border pixels repeated.
pub(super) fn blur(pixels: &mut [f32], height: usize, width: usize, sigma: f64) {
    let radius = (3.5 * sigma).ceil() as isize;
    let weight = |k: isize| (-0.5 * (k as f64 / sigma).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let taps: Vec<(isize, f32)> = (-radius..=radius).map(|k| (k, (weight(k) / total) as f32)).collect();
    let inside = |i: usize, k: isize, side: usize| (i as isize + k).clamp(0, side as isize - 1) as usize;

    let mut rows = vec![0.0; pixels.len()];
    for y in 0..height {
        let line = &pixels[y * width..(y + 1) * width];
        for x in 0..width {
            rows[y * width + x] = taps.iter().map(|&(k, t)| t * line[inside(x, k, width)]).sum();
        }
    }
    for y in 0..height {
        for x in 0..width {
            pixels[y * width + x] =
                taps.iter().map(|&(k, t)| t * rows[inside(y, k, height) * width + x]).sum();
        }
    }
}

/// Adds white Gaussian noise of standard deviation `sigma` and cuts the values to `[0, 1]`.
pub(super) fn add_noise(pixels: &mut [f32], sigma: f64, stream: &mut Stream) {
    for pixel in pixels {
        let noise: f32 = stream.sample(StandardNormal);
        *pixel = (*pixel + sigma as f32 * noise).clamp(0.0, 1.0);
    }
}
