//! The Wasserstein patch prior: how far the patches of an image are from those of a reference, and steps
//! towards it.
//!
//! `cargo run --release -p smalti-priors --example wasserstein_patches`
//!
//! Diagonal stripes are the reference. A blurred image of stripes has other patches; steps against the
//! gradient of the prior, with no observation at all, give it back its contrast. The same is done for a small
//! volume.

use smalti_base::{Result, Seed};
use smalti_priors::Regularizer;
use smalti_priors::wpp::{ReferencePatches, WassersteinPatchPrior, WppSettings};
use tch::{Device, Kind, Tensor};

/// Waves along the diagonal, `[1, 1, H, W]` or `[1, 1, D, H, W]`, of this contrast, with some noise.
fn stripes(size: &[i64], phase: f64, contrast: f64) -> Tensor {
    let axes = size.len() - 2;
    let mut angle = Tensor::full(size, phase, (Kind::Float, Device::Cpu));
    for axis in 0..axes {
        let mut line = vec![1; size.len()];
        line[2 + axis] = size[2 + axis];
        angle += Tensor::arange(size[2 + axis], (Kind::Float, Device::Cpu)).reshape(&line[..]) * 0.4;
    }
    let noise = Seed::new(1).at("noise", phase.to_bits()).normal(size) * 0.02;
    (angle.sin() * contrast + 0.5) + noise
}

/// The same by a few steps of gradient descent of the prior alone.
fn sharpened(prior: &mut dyn Regularizer, image: &Tensor, steps: u64) -> Result<Tensor> {
    let mut x = image.copy();
    // A mean over patches has small gradients: a step of that many pixels moves each a tenth of the way or so.
    let rate = image.numel() as f64 / 400.0;
    for step in 0..steps {
        prior.refresh(step)?;
        x -= prior.value_and_grad(&x)?.1 * rate;
    }
    Ok(x)
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    for size in [vec![1, 1, 60, 70], vec![1, 1, 16, 18, 20]] {
        // 4x4x4 pixels blurred to one leave little of a small volume.
        let (count, scales) = if size.len() == 4 { (800, 2) } else { (300, 1) };
        let settings = WppSettings::default()
            .with_patch_size(4)
            .with_references(ReferencePatches::Random(count))
            .with_scales(scales);
        let reference = stripes(&size, 0.0, 0.4);
        let mut prior = WassersteinPatchPrior::new(&size, &[&reference], &settings, Seed::new(2))?;
        println!("images of {size:?}");

        let blurred = stripes(&size, 1.0, 0.2);
        let before = prior.value(&blurred)?;
        for (scale, report) in prior.reports().iter().enumerate() {
            let (value, upper) = (report.value.full(), report.upper.map_or(f64::NAN, |u| u.full()));
            println!(
                "  scale {scale}: W2^2 of {value:.4} to {upper:.4} for |p - q|^2, {:.4} for half of it; {} evaluations",
                report.value.half(),
                report.evaluations
            );
        }
        let sharp = sharpened(&mut prior, &blurred, 15)?;
        let after = prior.value(&sharp)?;
        let contrast = |x: &Tensor| x.std(true).double_value(&[]);
        println!("  R = {before:.4} before and {after:.4} after 15 steps");
        println!("  contrast {:.3} before, {:.3} after", contrast(&blurred), contrast(&sharp));
        assert!(after < 0.2 * before, "the gradient does not lead to the reference");
        assert!((contrast(&sharp) / contrast(&reference) - 1.0).abs() < 0.2, "not the reference's contrast");
    }
    Ok(())
}
