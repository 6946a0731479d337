//! The volume table: superresolution of synthetic microstructure volumes.
//!
//! There are no measured volumes: all are drawn ([`microstructure_volume`]), each
//! from a seed that its name stands for, and every row says so. The reference and the evaluated volumes come from one
//! distribution.
//!
//! Reading order: [`settings`], `methods`, [`run`].

mod methods;
pub mod settings;

use crate::data::DataSource;
use crate::experiment::{Experiment, Profile};
use crate::outcome::{Figure, Figures, Outcome, Row, Transport};
use crate::run::RunOptions;
use crate::synthetic::microstructure_volume;
use methods::{METHODS, Methods, Task};
use smalti_base::metrics::{crop, psnr, ssim};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Operator, VolumeConvolution};
use tch::Tensor;

/// The seed of the synthetic volumes; that of a run draws noise and reference patches only.
const SYNTHETIC_SEED: u64 = 1;

/// The volume that `name` stands for.
fn volume(name: &str, side: i64, grain: f64) -> Result<Tensor> {
    microstructure_volume(side, grain, Seed::new(SYNTHETIC_SEED).derive(name, 0), 0)
}

/// Observes every volume of the profile, runs every method on it and scores what comes back: PSNR over all voxels, SSIM
/// as the mean over slices, both without the outer voxels on all six sides.
///
/// # Errors
/// What the methods meet; [`Error::Value`] where the profile has no section `volume`.
pub fn run(
    experiment: &Experiment,
    profile: &Profile,
    data: &DataSource,
    options: &RunOptions,
) -> Result<Outcome> {
    let (Some(settings), Some(side)) = (&profile.volume, profile.size) else {
        return Err(Error::value("profile of a volume", "a size and a section volume", "none"));
    };
    let names = &settings.volumes;
    let reference = volume(&experiment.data.reference, settings.reference_size, settings.grain)?;
    let methods = Methods::new(settings, side, experiment, options, reference)?;
    let mut scores = vec![Vec::new(); METHODS.len()];
    let mut transports = vec![Vec::new(); METHODS.len()];
    for name in names {
        let truth = volume(name, side, settings.grain)?.to_device(options.device).f_unsqueeze(0)?;
        let operator = &experiment.operator;
        let domain = Space::of(name, &truth)?;
        let blur = VolumeConvolution::superresolution(
            domain,
            operator.kernel_size,
            operator.sigma,
            operator.stride,
        )?;
        let exact = blur.apply(&truth)?;
        let noise = options.seed.derive(name, 0).at("observation noise", 0).normal(&exact.size());
        let observation = exact + noise.to_device(options.device) * operator.noise;
        let task = Task { name, operator: &blur, observation: &observation };
        for ((method, scores), transports) in METHODS.iter().zip(&mut scores).zip(&mut transports) {
            let done = methods.reconstruct(method, &task)?;
            let (x, t) = (inner(&done.image, experiment.crop)?, inner(&truth, experiment.crop)?);
            let (psnr, ssim) = (psnr(&x, &t, 1.0)?, ssim(&x, &t, 1.0)?);
            tracing::info!("{name}: {method} {psnr:.2} dB, SSIM {ssim:.3}");
            scores.push([psnr, ssim, done.seconds]);
            transports.extend(done.transport);
        }
    }
    let mut outcome = Outcome::default();
    for ((method, scores), transports) in METHODS.iter().zip(scores).zip(transports) {
        let over = |k: usize| Figure::over(&scores.iter().map(|s| s[k]).collect::<Vec<f64>>());
        outcome.rows.push(Row {
            method: (*method).into(),
            images: scores.len(),
            ours: Figures { psnr: over(0), ssim: over(1), lpips: None },
            seconds_mean: over(2).map(|f| f.mean),
            published: Figures::default(),
            distance: None,
            data: data.label(names),
            note: note(&transports),
        });
    }
    Ok(outcome)
}

/// What readers must know about a row.
fn note(transports: &[Transport]) -> String {
    let synthetic = "synthetic volumes, all from one distribution";
    match transports.iter().filter_map(|transport| transport.gap).reduce(f64::max) {
        Some(gap) => format!(
            "{synthetic}; last dual problems on the finest scale to a relative gap of at most {gap:.1e}"
        ),
        None => synthetic.into(),
    }
}

/// A volume without its outer `border` voxels on every side, slices in the place of channels, as metrics take it.
fn inner(x: &Tensor, border: i64) -> Result<Tensor> {
    crop(&x.f_squeeze_dim(0)?.f_narrow(1, border, x.size()[2] - 2 * border)?, border)
}
