//! A patchNR flow: samples, their density, and log-determinants in both directions.
//!
//! `cargo run --release -p smalti-flows --example sample_and_score`

use smalti_base::{Result, Seed};
use smalti_flows::{Bijection, ClampForm, PatchNr, PatchNrShape, SoftClamp};
use tch::{Device, Kind, Tensor};

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

fn main() -> Result<()> {
    smalti_base::device::prepare_process(None);
    // A flow on 4x4 patches with random weights; training would fit them to the patches of an image.
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6)?;
    let shape = PatchNrShape::default().with_patch_size(4).with_blocks(3).with_hidden(64).with_clamp(clamp);
    let mut flow = PatchNr::new(shape, Seed::new(1))?;
    flow.to(Device::Cpu, Kind::Double)?;
    println!("{} parameters, patches of {} pixels", flow.flat_parameters().numel(), shape.dim());

    // Patches are T(z) of standard normal latents z.
    let patches = flow.sample(2000, &mut Seed::new(2).at("samples", 0))?;
    let latent = flow.to_latent(&patches, None)?;
    let mean_square = latent.value.square().mean(Kind::Double).double_value(&[]);
    println!("latents of {} samples: mean square {mean_square:.3} (1 in theory)", patches.size()[0]);

    // log p(x) = log N(T^-1(x); 0, I) + log |det J_{T^-1}(x)|, here put together by hand.
    let constant = 0.5 * shape.dim() as f64 * (2.0 * std::f64::consts::PI).ln();
    let normal = latent.value.square().sum_dim_intlist(1i64, false, None::<Kind>) * -0.5 - constant;
    let log_density = flow.log_density(&patches)?;
    let gap = largest(&(&log_density - (normal + &latent.log_det)));
    println!(
        "log-density of the samples: {:.2} on average",
        log_density.mean(Kind::Double).double_value(&[])
    );
    println!("    against its formula: difference {gap:.1e}");

    // There and back: the same patch, and log-determinants of opposite sign.
    let data = flow.to_data(&latent.value, None)?;
    let (there, turned) = (largest(&(&data.value - &patches)), largest(&(&data.log_det + &latent.log_det)));
    println!("there and back: patches differ by {there:.1e}, log-determinants add up to {turned:.1e}");

    // Uphill in density, by the analytic gradient of the negative log-likelihood.
    let (nll, grad) = flow.nll_and_grad(&patches)?;
    let moved = flow.nll(&(&patches - &grad * 0.01))?;
    let better = moved.lt_tensor(&nll).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    println!("a small step against the gradient makes {:.1} % of the patches likelier", 100.0 * better);

    assert!(gap < 1e-9 && there < 1e-9 && turned < 1e-9, "the flow does not keep its contracts");
    assert!((mean_square - 1.0).abs() < 0.05 && better > 0.99, "density and samples do not belong together");
    Ok(())
}
