//! PSNR and SSIM of two image files.
//!
//! `cargo run --release --example compare_images -- RECONSTRUCTION TRUTH [BORDER]` prints the figures of two PNG
//! or TIFF files, a border of BORDER pixels (default 0) left out. Without arguments it makes two images itself.

use smalti_base::image_file::{load_gray, save_png16, save_tiff_f32};
use smalti_base::metrics::{crop, psnr, ssim, ssim_gaussian};
use smalti_base::{Error, Result, Seed};
use std::path::Path;
use std::process::ExitCode;
use tch::{Device, Kind, Tensor};

fn compare(reconstruction: &Path, truth: &Path, border: i64) -> Result<()> {
    let x = crop(&load_gray(reconstruction)?, border)?;
    let truth = crop(&load_gray(truth)?, border)?;
    println!("PSNR            {:8.4} dB", psnr(&x, &truth, 1.0)?);
    println!("SSIM            {:8.4}", ssim(&x, &truth, 1.0)?);
    println!("SSIM (Gaussian) {:8.4}", ssim_gaussian(&x, &truth, 1.0)?);
    Ok(())
}

/// Stripes, and the same with noise of standard deviation 0.1: about 20 dB.
fn synthetic() -> Result<()> {
    let folder = std::env::temp_dir();
    let folder = tempfile::tempdir_in(&folder).map_err(|e| Error::file(&folder, "writing", e))?;
    let (truth_file, noisy_file) = (folder.path().join("truth.png"), folder.path().join("noisy.tif"));
    let columns = Tensor::arange(96, (Kind::Float, Device::Cpu)).view([1, 1, 1, 96]);
    let truth = ((columns * 0.2).sin() * 0.5 + 0.5).repeat([1, 1, 64, 1]);
    let noisy = &truth + Seed::new(1).at("noise", 0).normal(&truth.size()) * 0.1;
    save_png16(&truth_file, &truth)?;
    save_tiff_f32(&noisy_file, &noisy)?;
    println!("stripes of 64 x 96 pixels with noise of standard deviation 0.1, without a border of 4 pixels");
    compare(&noisy_file, &truth_file, 4)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match &arguments[..] {
        [] => synthetic(),
        [x, truth] => compare(x.as_ref(), truth.as_ref(), 0),
        [x, truth, border] if border.parse::<i64>().is_ok() => {
            compare(x.as_ref(), truth.as_ref(), border.parse().unwrap_or(0))
        }
        _ => {
            eprintln!("usage: compare_images RECONSTRUCTION TRUTH [BORDER]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
