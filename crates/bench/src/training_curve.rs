//! The validation loss of patchNR over the seconds of its training, ours and PyTorch's.

use crate::fixtures;
use crate::peer::{Host, Peer, PeerSpec};
use smalti_base::{Error, Result, Space, files, image_file::load_gray};
use smalti_flows::Precision;
use smalti_priors::Patches;
use smalti_solvers::{AdamSettings, Iteration, PatchNrTraining, PatchNrTrainingSettings, Schedule};
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Tensor};

/// A training: Adam with a warm-up of 200 steps and cosine decay.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Steps in all.
    pub steps: u64,
    /// Patches a step.
    pub batch: usize,
    /// Largest learning rate.
    pub rate: f64,
}

/// One point of a curve: seconds of training, steps, validation loss.
pub type Point = (f64, u64, f64);

const WARMUP: u64 = 200;
/// Points of a curve.
const PIECES: u64 = 20;
/// Patches of the validation image, the same on both sides.
const VALIDATION: i64 = 10_000;

/// The two images, `[1, 1, H, W]`: from files, or synthetic ones.
///
/// # Errors
/// Those of the files.
pub fn images(files: Option<[&Path; 2]>) -> Result<[Tensor; 2]> {
    let Some([reference, validation]) = files else {
        let side = fixtures::SIDE;
        let other = smalti_methods::synthetic::microstructure(side, side, fixtures::seed(), 1)?;
        return Ok([fixtures::image()?, other]);
    };
    Ok([load_gray(reference)?, load_gray(validation)?])
}

/// Our curve; seconds hold the validations, too.
///
/// # Errors
/// Those of the training.
pub fn ours(plan: Plan, [reference, validation]: &[Tensor; 2]) -> Result<Vec<Point>> {
    let flow = fixtures::flow(Precision::fastest(Device::Cpu))?;
    let settings = PatchNrTrainingSettings::default()
        .with_adam(
            AdamSettings::constant(plan.steps, plan.rate).with_schedule(Schedule::Cosine { warmup: WARMUP }),
        )
        .with_batch(plan.batch as i64)
        .with_validate_every((plan.steps / PIECES).max(1))
        .with_validation_patches(VALIDATION);
    let images = [reference.shallow_clone()];
    let mut training = PatchNrTraining::new(flow, &images, Some(validation), settings, fixtures::seed())?;
    let (mut points, begin) = (Vec::new(), Instant::now());
    for k in 0..plan.steps {
        let step = training.step(k)?;
        if let Some((_, value)) = step.terms.iter().find(|(name, _)| *name == "validation NLL") {
            points.push((begin.elapsed().as_secs_f64(), k + 1, *value));
            eprintln!(
                "ours: step {}, {:.0} s, validation NLL {value:.2}",
                k + 1,
                begin.elapsed().as_secs_f64()
            );
        }
    }
    Ok(points)
}

/// PyTorch's curve, from the same weights, with the same validation patches.
///
/// # Errors
/// [`Error::Value`] with the reason where the peer cannot run.
pub fn theirs(plan: Plan, [reference, validation]: &[Tensor; 2], host: &Host) -> Result<Vec<Point>> {
    let mut file = fixtures::flow(Precision::Full)?.to_checkpoint();
    let space = Space::of("validation image", validation)?;
    let mut stream = fixtures::seed().at("validation patches", 0);
    let patches = Patches::random(space, 6, VALIDATION as usize, &mut stream)?.rows(validation)?;
    file.tensors.insert("image".into(), reference.shallow_clone());
    file.tensors.insert("validation patches".into(), patches);
    let inputs = host.folder.join("patchnr_curve.safetensors");
    file.save(&inputs)?;
    let arguments = [plan.steps, PIECES, plan.batch as u64].map(|n| n.to_string());
    let arguments = arguments.into_iter().chain([plan.rate.to_string(), WARMUP.to_string()]).collect();
    let spec = PeerSpec { name: "pytorch", script: "patchnr_curve.py", arguments };
    let no = |reason: String| Error::value("peer pytorch", "one that runs", reason);
    let mut peer = Peer::start(host, &spec, &inputs).map_err(no)?;
    let (mut points, mut seconds) = (Vec::new(), 0.0);
    for piece in 1..=PIECES {
        let answer = peer.run().map_err(no)?;
        seconds += answer.seconds;
        let value = answer.values.get("validation NLL").copied().unwrap_or(f64::NAN);
        points.push((seconds, piece * plan.steps / PIECES, value));
        eprintln!("pytorch: step {}, {seconds:.0} s, validation NLL {value:.2}", piece * plan.steps / PIECES);
    }
    Ok(points)
}

/// Writes both curves as CSV: side, seconds, step, validation NLL.
///
/// # Errors
/// Those of the file.
pub fn write_csv(sides: &[(&str, Vec<Point>)], path: &Path) -> Result<()> {
    let mut text = String::from("side,seconds,step,validation_nll\n");
    for (side, points) in sides {
        for (seconds, step, value) in points {
            let _ = writeln!(text, "{side},{seconds:.1},{step},{value:.3}");
        }
    }
    files::write_atomically(path, text.as_bytes())
}
