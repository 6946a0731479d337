//! Patches of an image, scored by a density: the patch prior, its gradient, and samples of the patches.
//!
//! `cargo run --release -p smalti-priors --example score_patches`
//!
//! The density is a Gaussian fitted to the patches of a striped image: an example of how to give a density of
//! one's own to the prior. Where it finds a patch unlikely, something is wrong with the image.

use smalti_base::{Error, Result, Seed, Space};
use smalti_priors::{PatchDensity, PatchPrior, Patches, Regularizer, Sampling};
use tch::{Device, Kind, Tensor};

/// `nll = (x - m)^T P (x - m) / 2`, without its constant.
struct GaussianPatches {
    mean: Tensor,
    precision: Tensor,
}

impl GaussianPatches {
    /// Fitted to patches `[N, d]`; `ridge` is added to the diagonal of the covariance.
    fn fit(patches: &Tensor, ridge: f64) -> Result<Self> {
        let mean = patches.f_mean_dim(0i64, true, None::<Kind>)?;
        let centred = patches.f_sub(&mean)?;
        let covariance = centred.tr().f_matmul(&centred)? / patches.size()[0] as f64;
        let ridge = Tensor::eye(patches.size()[1], (patches.kind(), patches.device())) * ridge;
        Ok(Self { mean, precision: (covariance + ridge).f_inverse()? })
    }
}

impl PatchDensity for GaussianPatches {
    fn dim(&self) -> i64 {
        self.mean.size()[1]
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        Ok(self.nll_and_grad(patches)?.0)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        if patches.dim() != 2 || patches.size()[1] != self.dim() {
            return Err(Error::shape("patches", ["N", "d"], patches.size()));
        }
        let centred = patches.f_sub(&self.mean)?;
        let grad = centred.f_matmul(&self.precision)?;
        Ok(((&grad * centred).f_sum_dim_intlist(1i64, false, None::<Kind>)? * 0.5, grad))
    }
}

/// Diagonal stripes of 12 pixels, with some noise.
fn stripes(domain: Space, seed: u64) -> Tensor {
    let axis = |n: i64| Tensor::arange(n, (Kind::Float, Device::Cpu));
    let phase = axis(domain.height).unsqueeze(1) * 0.4 + axis(domain.width).unsqueeze(0) * 0.3;
    let noise = Seed::new(seed).at("noise", 0).normal(&domain.batch(1)) * 0.02;
    (phase.sin() * 0.3 + 0.5).reshape(domain.batch(1)) + noise
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    let domain = Space::image(1, 60, 80);
    let patches = Patches::all(domain, 5)?;
    let rows = patches.rows(&stripes(domain, 1))?;
    println!("{} patches of 5x5 pixels: {:?}", patches.count(), rows.size());
    let density = GaussianPatches::fit(&rows, 1e-4)?;

    // Another striped image with a scratch in it: its patches stand out.
    let image = stripes(domain, 2);
    let _ = image.narrow(2, 30, 2).narrow(3, 20, 30).f_fill_(0.9)?;
    let scores = density.nll(&patches.rows(&image)?)?;
    let worst = scores.argmax(None, false).int64_value(&[]);
    let (row, column) = (worst / (domain.width - 4), worst % (domain.width - 4));
    let usual = scores.median().double_value(&[]);
    let highest = scores.double_value(&[worst]);
    println!("the usual nll is {usual:.1}; the highest, {highest:.1}, is at row {row}, column {column}");

    // As a prior: the mean over all patches, and estimates of it from samples.
    let prior = |sampling| PatchPrior::new(&density, domain, sampling, Seed::new(3));
    let (all, grad) = prior(Sampling::All)?.value_and_grad(&image)?;
    println!("R(x) = {all:.3} over all patches; gradient {:?}", grad.size());
    for sampling in [Sampling::Random(300), Sampling::Grid(4)] {
        let mut prior = prior(sampling)?;
        let mut mean = 0.0;
        for step in 0..16 {
            prior.refresh(step)?;
            mean += prior.value(&image)? / 16.0;
        }
        println!("{sampling:?}: mean of 16 samples {mean:.3}, {} patches in the last", prior.sampled());
        assert!((mean / all - 1.0).abs() < 0.1, "the samples are not those of the image");
    }

    // Some steps against the gradient heal the scratch.
    let mut healed = image.copy();
    let prior = prior(Sampling::All)?;
    for _ in 0..100 {
        healed -= prior.value_and_grad(&healed)?.1 * (0.02 * domain.len() as f64 / 1e3);
    }
    let after = prior.value(&healed)?;
    println!("R(x) = {after:.3} after 100 steps against the gradient");
    assert!((26..=31).contains(&row) && highest > 5.0 * usual, "the scratch was not found");
    assert!(after < 0.5 * all, "the gradient does not lead downhill");
    Ok(())
}
