//! The x4 superresolution operator on a small synthetic image: observation, adjoint, and where its pixels lie.
//!
//! `cargo run --release -p smalti-operators --example blur_and_downsample`

use smalti_base::{Result, Seed, Space};
use smalti_operators::{
    Boundary, Convolution, Gaussian, Grid, Likelihood, LinearOperator, Operator, PixelGrid, PowerIteration,
    interpolate,
};
use tch::{Device, Kind, Tensor};

fn main() -> Result<()> {
    // Waves with a period of 20 and 30 pixels.
    let image = Space::image(1, 120, 180);
    let wave = |n: i64, period: f64| {
        (Tensor::arange(n, (Kind::Float, Device::Cpu)) * (2.0 * std::f64::consts::PI / period)).sin() * 0.25
    };
    let x = (wave(120, 20.0).unsqueeze(1) + wave(180, 30.0).unsqueeze(0) + 0.5).reshape(image.batch(1));

    let a = Convolution::superresolution(image, 16, 2.0, 4, Boundary::Periodic)?;
    let clean = a.apply(&x)?;
    let noise = Seed::new(1).at("noise", 0).normal(&clean.size());
    let y = &clean + noise * 0.01;
    println!("{:?} -> {:?}, {:?}", a.domain(), a.range(), a.grid());

    let v = Seed::new(2).at("test", 0).normal(&y.size());
    let inner = |p: &Tensor, q: &Tensor| (p * q).sum(Kind::Double).double_value(&[]);
    println!("<A x, v> = {:.4}, <x, A* v> = {:.4}", inner(&clean, &v), inner(&x, &a.adjoint(&v)?));
    println!("|A| = {:.4}", PowerIteration::default().norm(&a, Seed::new(3))?.norm);

    let nll = Gaussian::new(0.01)?.nll(&clean, &y)?.double_value(&[0]);
    println!(
        "negative log-likelihood of the truth: {nll:.0}, half the number of pixels is {}",
        a.range().len() / 2
    );

    // Half a period of the grid decides whether an initial image is usable.
    let torch = Grid { origin: (1.5, 1.5), ..a.grid() };
    for (name, grid) in [("the operator's own grid", a.grid()), ("a grid that ignores the kernel", torch)] {
        let start = interpolate(&y, grid, image, Boundary::Periodic)?;
        let rms = (&start - &x).square().mean(Kind::Double).sqrt().double_value(&[]);
        println!("bicubic interpolation on {name}: rms error {rms:.3}");
    }
    Ok(())
}
