//! Training of patchNR: down to the entropy of a Gaussian texture, early stop, several images, bad settings.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
use smalti_operators::{Boundary, Convolution, Operator};
use smalti_priors::Patches;
use smalti_solvers::{
    AdamSettings, Iteration, PatchNrTraining, PatchNrTrainingSettings, RunControl, RunSummary, Schedule,
    StopReason, TrainedPatchNr, run,
};
use tch::{Device, Kind, Tensor};

const KERNEL: [f64; 3] = [0.3, 1.0, 0.6];

/// White noise of standard deviation 0.15, correlated by a separable kernel, around 0.5.
fn texture(name: &str, height: i64, width: i64) -> Tensor {
    let k = Tensor::from_slice(&KERNEL);
    let domain = Space::image(1, height, width);
    let filter = Convolution::blur(domain, &k.outer(&k), Boundary::Periodic).unwrap();
    filter.apply(&(Seed::new(3).at(name, 0).normal(&domain.batch(1)) * 0.15)).unwrap() + 0.5
}

/// The least possible loss on 2x2 patches of the texture: `d/2 + log det(C)/2`, the entropy without the constant
/// that the loss leaves out, too.
fn entropy() -> f64 {
    let k = KERNEL;
    let (same, next) = (k[0] * k[0] + k[1] * k[1] + k[2] * k[2], k[0] * k[1] + k[1] * k[2]);
    let axis = Tensor::from_slice(&[same, next, next, same]).reshape([2, 2]);
    let covariance = axis.kron(&axis) * (0.15 * 0.15);
    2.0 + 0.5 * covariance.det().double_value(&[]).ln()
}

fn flow() -> PatchNr {
    tch::set_num_threads(1);
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    PatchNr::new(
        PatchNrShape::default().with_patch_size(2).with_blocks(3).with_hidden(16).with_clamp(clamp),
        Seed::new(1),
    )
    .unwrap()
}

fn settings(steps: u64) -> PatchNrTrainingSettings {
    PatchNrTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, 0.01).with_schedule(Schedule::Cosine { warmup: 10 }))
        .with_batch(128)
        .with_validate_every(50)
        .with_validation_patches(4000)
}

fn train(
    images: &[Tensor],
    validation: Option<&Tensor>,
    settings: PatchNrTrainingSettings,
) -> Result<(TrainedPatchNr, RunSummary)> {
    let steps = settings.adam.steps;
    let mut training = PatchNrTraining::new(flow(), images, validation, settings, Seed::new(2))?;
    let summary = run(&mut training, steps, &RunControl::default())?;
    Ok((training.finish()?, summary))
}

/// Mean loss over all patches of an image.
fn loss(flow: &PatchNr, image: &Tensor) -> f64 {
    let patches = Patches::all(Space::of("image", image).unwrap(), 2).unwrap().rows(image).unwrap();
    flow.nll(&patches).unwrap().mean(Kind::Double).double_value(&[])
}

#[test]
fn the_loss_falls_to_the_entropy_of_the_texture() {
    let (image, validation) = (texture("training", 90, 70), texture("validation", 80, 80));
    let before = loss(&flow(), &validation);
    let (trained, summary) = train(&[image], Some(&validation), settings(600)).unwrap();
    let after = loss(&trained.flow, &validation);
    println!("{before:.3} -> {after:.3}, entropy {:.3}", entropy());
    assert_eq!(summary.reason, StopReason::Steps);
    assert!(before > entropy() + 2.0 && (after - entropy()).abs() < 0.1);

    // The curve: a point every 50 steps, of the same quantities.
    let steps: Vec<u64> = trained.curve.iter().map(|point| point.step).collect();
    assert_eq!(steps, (1..=12).map(|k| 50 * k).collect::<Vec<_>>());
    let last = trained.curve.last().unwrap();
    assert!((last.train - entropy()).abs() < 0.1 && (last.validation.unwrap() - after).abs() < 0.05);
    assert!(trained.curve[0].train > trained.curve[1].train && trained.curve[1].train > last.train);
    assert_eq!(trained.flow.provenance["validation_nll"], last.validation.unwrap().to_string());
    assert_eq!(trained.flow.provenance["training_data_sha256"].len(), 64);
}

#[test]
fn an_early_stop_gives_the_best_flow() {
    let (image, validation) = (texture("training", 12, 10), texture("validation", 20, 30));
    let images = std::slice::from_ref(&image);
    let patience = 4;
    // So few patches a step that bad validations come and go before they stay.
    for (batch, rate) in [(128, 0.05), (8, 0.02), (8, 0.03)] {
        let few = PatchNrTrainingSettings::default()
            .with_adam(settings(2000).adam.with_rate(rate).with_schedule(Schedule::Constant))
            .with_batch(batch)
            .with_validate_every(10)
            .with_validation_patches(i64::MAX)
            .with_early_stop(patience);
        let (trained, summary) = train(images, Some(&validation), few).unwrap();
        let values: Vec<f64> = trained.curve.iter().map(|point| point.validation.unwrap()).collect();
        let best = values.iter().copied().fold(f64::INFINITY, f64::min);
        let at = values.iter().position(|&v| v == best).unwrap();
        println!("best of {} validations: number {}", values.len(), at + 1);
        assert!(
            matches!(&summary.reason, StopReason::Done(reason) if reason.contains("4 validations")),
            "{summary:?}"
        );
        assert_eq!((values.len(), summary.steps), (at + 1 + patience as usize, 10 * values.len() as u64));
        // All patches of the validation image were used, so its loss can be had again.
        assert!((loss(&trained.flow, &validation) - best).abs() < 1e-4, "{values:?}");
        assert_eq!(trained.flow.provenance["validation_nll"], best.to_string());

        // Without early stopping the last flow is given.
        let on = few.with_adam(few.adam.with_steps(summary.steps)).with_early_stop(None);
        let (last, _) = train(images, Some(&validation), on).unwrap();
        assert!((loss(&last.flow, &validation) - values[values.len() - 1]).abs() < 1e-4);
        assert!(values[values.len() - 1] > best);
    }
}

#[test]
fn every_training_image_is_learned() {
    let flat = |name, level: f64| texture(name, 30, 20) * 0.2 + level;
    let (dark, bright) = (flat("dark", 0.0), flat("bright", 0.8));
    let both = [dark.shallow_clone(), bright.shallow_clone()];
    let (one, _) = train(&both[..1], None, settings(200)).unwrap();
    let (two, _) = train(&both, None, settings(200)).unwrap();
    let before = flow();
    for image in &both {
        assert!(loss(&two.flow, image) < loss(&before, image) - 2.0);
    }
    assert!(loss(&one.flow, &bright) > loss(&two.flow, &bright) + 10.0);
    assert!(one.curve.iter().all(|point| point.validation.is_none()));
    assert_ne!(one.flow.provenance["training_data_sha256"], two.flow.provenance["training_data_sha256"]);
}

#[test]
fn nan_is_noticed_in_its_own_step() {
    let image = texture("training", 20, 20);
    let wild = settings(1000)
        .with_adam(settings(1000).adam.with_rate(1e30).with_schedule(Schedule::Constant))
        .with_validate_every(1000);
    match train(&[image], None, wild).map(|_| ()) {
        Err(Error::NonFinite { term, iteration, .. }) => {
            assert!(term == "training NLL" && iteration <= 2, "{term} {iteration}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let image = texture("training", 20, 20);
    let line = |images: &[Tensor], validation: Option<&Tensor>, settings: PatchNrTrainingSettings| {
        let line = PatchNrTraining::new(flow(), images, validation, settings, Seed::new(2))
            .err()
            .unwrap()
            .to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let one = std::slice::from_ref(&image);
    let good = || settings(10);
    for rate in [0.0, -1.0, f64::NAN] {
        assert!(line(one, None, good().with_adam(good().adam.with_rate(rate))).contains("learning rate"));
    }
    for batch in [0, -3] {
        assert_eq!(
            line(one, None, good().with_batch(batch)),
            format!("batch: expected at least 1, got {batch}")
        );
    }
    assert!(line(one, None, good().with_validate_every(0)).starts_with("validation interval"));
    let none = good().with_validation_patches(0);
    assert!(line(one, Some(&image), none).starts_with("validation patches"));
    let early = |n| good().with_early_stop(n);
    assert!(line(one, None, early(3)).contains("a validation image"));
    assert!(line(one, Some(&image), early(0)).contains("early stop"));

    assert!(line(&[], None, good()).starts_with("training images: expected at least 1"));
    let space = (Kind::Float, Device::Cpu);
    for shape in [vec![20, 20], vec![1, 3, 20, 20], vec![2, 1, 20, 20], vec![1, 1, 20, 1]] {
        let wrong = Tensor::zeros(&shape[..], space);
        line(&[image.shallow_clone(), wrong.shallow_clone()], None, good());
        line(one, Some(&wrong), good());
    }
    let hole = image.copy();
    let _ = hole.narrow(2, 3, 1).fill_(f64::NAN);
    assert!(line(std::slice::from_ref(&hole), None, good()).starts_with("training image: expected finite"));
    assert!(line(one, Some(&hole), good()).starts_with("validation image: expected finite"));
    let bytes = (image * 255.0).to_kind(Kind::Uint8);
    assert!(line(&[bytes], None, good()).contains("floating-point"));
}
