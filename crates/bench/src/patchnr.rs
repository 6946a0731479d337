//! The comparisons of patchNR with PyTorch and FrEIA: same image, same patches, same weights.

use crate::answer::Answer;
use crate::compare::Comparison;
use crate::fixtures;
use crate::peer::PeerSpec;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use smalti_flows::{PatchNr, Precision};
use smalti_priors::{PatchDensity, PatchPrior, Patches, Regularizer, Sampling};
use smalti_solvers::{AdamSettings, Iteration, PatchNrTraining, PatchNrTrainingSettings};
use std::cell::RefCell;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// The names of the comparisons.
pub const NAMES: [&str; 4] =
    ["patchnr_grad_f32_130k", "patchnr_grad_bf16_130k", "patchnr_train_32", "patchnr_train_512"];

/// Patches of the gradient in the authors' reconstruction, of 354,025.
pub const PATCHES: usize = 130_000;

/// Learning rate of the compared training steps, that of the authors.
const RATE: f64 = 1e-4;

/// The comparison of this name, with `patches` patches where it is one of gradients, for at most `rounds` rounds;
/// its inputs are written into `folder`.
///
/// # Errors
/// [`Error::Value`] for a name that is not in [`NAMES`]; where the inputs cannot be written.
pub fn comparison(name: &'static str, patches: usize, rounds: u64, folder: &Path) -> Result<Comparison> {
    let grad = |precision, tolerance| gradient(name, precision, tolerance, patches, rounds, folder);
    let train = |batch, steps, peer| training(name, batch, steps, peer, rounds, folder);
    match name {
        "patchnr_grad_f32_130k" => grad(Precision::Full, 1e-3),
        "patchnr_grad_bf16_130k" => grad(Precision::Bf16, 5e-3),
        "patchnr_train_32" => train(32, 10, "unfold"),
        "patchnr_train_512" => train(512, 5, "keep"),
        _ => Err(Error::value("name of the comparison", NAMES.join(", "), name)),
    }
}

/// Value and image gradient of the prior on fresh random patches. Our time includes drawing them; the peers find
/// theirs in a file.
fn gradient(
    name: &'static str,
    precision: Precision,
    tolerance: f64,
    patches: usize,
    rounds: u64,
    folder: &Path,
) -> Result<Comparison> {
    let (domain, image, sampling) = (fixtures::domain(), fixtures::image()?, Sampling::Random(patches));
    let mut flow = trained(&image)?;
    let mut file = flow.to_checkpoint();
    file.tensors.insert("image".into(), image.shallow_clone());
    file.tensors.insert("positions".into(), prior_positions(&flow, sampling, rounds + 1)?);
    let inputs = write(file, name, folder)?;
    flow.set_precision(precision)?;
    let mut prior = PatchPrior::new(flow, domain, sampling, fixtures::seed())?;
    let ours = move |k| {
        let start = Instant::now();
        prior.refresh(k)?;
        let (value, grad) = prior.value_and_grad(&image)?;
        let seconds = start.elapsed().as_secs_f64();
        let norm = grad.to_kind(Kind::Double).norm().double_value(&[]);
        Ok(answer(seconds, &[("value", value), ("gradient norm", norm)]))
    };
    let all = Patches::positions(domain, 6);
    let peer =
        |name, weights: &str| PeerSpec { name, script: "patchnr_grad.py", arguments: vec![weights.into()] };
    Ok(Comparison {
        name,
        size: format!("{} of {all} patches", patches.min(all as usize)),
        tolerance,
        inputs,
        ours: Box::new(ours),
        peers: vec![peer("pytorch-authors", "trainable"), peer("pytorch-frozen", "frozen")],
    })
}

/// Training steps of the flow with Adam, `steps` in every run, in the precision that the library chooses itself.
/// Our time includes drawing the batches; the peer finds its in a file.
fn training(
    name: &'static str,
    batch: usize,
    steps: u64,
    patches: &str,
    rounds: u64,
    folder: &Path,
) -> Result<Comparison> {
    let image = fixtures::image()?;
    let mut flow = trained(&image)?;
    let mut file = flow.to_checkpoint();
    file.tensors.insert("image".into(), image.shallow_clone());
    file.tensors.insert("positions".into(), training_positions(batch, steps * (rounds + 1)));
    file.set_meta("steps", steps);
    file.set_meta("rate", RATE);
    let inputs = write(file, name, folder)?;
    let precision = Precision::fastest(Device::Cpu);
    flow.set_precision(precision)?;
    let mut training =
        PatchNrTraining::new(flow, &[image], None, settings(batch, u64::MAX, RATE), fixtures::seed())?;
    let ours = move |run| {
        let (mut loss, start) = (0.0, Instant::now());
        for k in run * steps..(run + 1) * steps {
            loss += training.step(k)?.terms.iter().map(|(_, value)| value).sum::<f64>();
        }
        let seconds = start.elapsed().as_secs_f64() / steps as f64;
        Ok(answer(seconds, &[("loss", loss / steps as f64)]))
    };
    Ok(Comparison {
        name,
        size: format!("batch {batch} {}", if precision == Precision::Bf16 { "bf16" } else { "f32" }),
        // Rounding grows from step to step.
        tolerance: 5e-3,
        inputs,
        ours: Box::new(ours),
        peers: vec![PeerSpec {
            name: "pytorch",
            script: "patchnr_train.py",
            arguments: vec![patches.into()],
        }],
    })
}

/// Settings that report the loss of every step.
fn settings(batch: usize, steps: u64, rate: f64) -> PatchNrTrainingSettings {
    PatchNrTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, rate))
        .with_batch(batch as i64)
        .with_validate_every(1)
        .with_validation_patches(0)
}

/// A flow that has learned a little about the image: values and gradients then depend on all weights.
fn trained(image: &Tensor) -> Result<PatchNr> {
    const STEPS: u64 = 60;
    let flow = fixtures::flow(Precision::Full)?;
    let seed = fixtures::seed().derive("weights of the comparisons", 0);
    let images = [image.shallow_clone()];
    let mut training = PatchNrTraining::new(flow, &images, None, settings(64, STEPS, 1e-3), seed)?;
    (0..STEPS).try_for_each(|k| training.step(k).map(drop))?;
    Ok(training.finish()?.flow)
}

/// The numbers of the patches that the prior takes in runs `0..runs`, `[runs, n]`: it is asked for the patches of
/// an image whose values are the numbers of its pixels.
fn prior_positions(flow: &PatchNr, sampling: Sampling, runs: u64) -> Result<Tensor> {
    struct Recorder<'a>(&'a RefCell<Vec<Tensor>>, i64);
    impl PatchDensity for Recorder<'_> {
        fn dim(&self) -> i64 {
            self.1
        }
        fn nll(&self, patches: &Tensor) -> Result<Tensor> {
            self.0.borrow_mut().push(patches.copy());
            Ok(patches.sum_dim_intlist(1i64, false, None::<Kind>))
        }
        fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
            Ok((self.nll(patches)?, patches.zeros_like()))
        }
    }
    let (domain, seen) = (fixtures::domain(), RefCell::new(Vec::new()));
    let shape = flow.shape();
    // Float32 holds whole numbers up to 2^24 exactly.
    let numbered = Tensor::arange(domain.len(), (Kind::Float, Device::Cpu)).reshape(domain.batch(1));
    let mut prior = PatchPrior::new(Recorder(&seen, shape.dim()), domain, sampling, fixtures::seed())?;
    let mut positions = Vec::new();
    for run in 0..runs {
        prior.refresh(run)?;
        let _sum = prior.value(&numbered)?;
        let corners = Tensor::f_cat(&seen.take(), 0)?.select(1, 0).to_kind(Kind::Int64);
        let rows = corners.divide_scalar_mode(domain.width, "floor");
        positions.push(corners - rows * (shape.patch_size - 1));
    }
    Ok(Tensor::f_stack(&positions, 0)?)
}

/// The numbers of the patches in the batches of steps `0..steps`, `[steps, batch]`: drawn as
/// [`PatchNrTraining`] draws them. Should it draw otherwise, the losses of the two sides disagree.
fn training_positions(batch: usize, steps: u64) -> Tensor {
    let all = Patches::positions(fixtures::domain(), 6);
    let draw = |k| {
        let mut stream = fixtures::seed().at("training batch", k);
        let _the_only_image = stream.index(1);
        stream.indices(all, batch)
    };
    let positions: Vec<i64> = (0..steps).flat_map(draw).collect();
    Tensor::from_slice(&positions).reshape([steps as i64, batch as i64])
}

fn write(file: Checkpoint, name: &str, folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join(format!("{name}.safetensors"));
    file.save(&path)?;
    Ok(path)
}

fn answer(seconds: f64, values: &[(&str, f64)]) -> Answer {
    let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    Answer { seconds, values }
}
