//! A U-Net learns from pairs.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed};
use smalti_flows::Precision;
use smalti_solvers::{
    Iteration, Pair, PixelLoss, RateRule, ResidualNet, ResidualNetSettings, RunControl, StopReason,
    SupervisedTraining, SupervisedTrainingSettings, TrainedNetwork, UNet, UNetSettings, run,
};
use tch::Tensor;

/// Noisy squares; the target has no noise.
fn pairs(name: &str, n: i64, h: i64, w: i64) -> Vec<Pair> {
    let mut stream = Seed::new(7).at(name, 0);
    let pair = |_| {
        let target = Tensor::full([1, 1, h, w], 0.2, tch::kind::FLOAT_CPU);
        let (top, left) = (stream.index(h - 8), stream.index(w - 8));
        let _ = target.narrow(2, top, 8).narrow(3, left, 8).fill_(0.8);
        Pair { input: &target + stream.normal(&[1, 1, h, w]) * 0.2, target }
    };
    (0..n).map(pair).collect()
}

fn settings(steps: u64) -> SupervisedTrainingSettings {
    SupervisedTrainingSettings::fbp_unet(steps, 4)
        .with_crop(16)
        .with_rate(1e-2)
        .with_last_rate(1e-3)
        .with_validate_every(20)
}

fn net() -> UNet {
    UNet::new(UNetSettings::fbp_unet().with_channels([8, 8, 8]), Seed::new(1)).unwrap()
}

fn trained(
    pairs: &Vec<Pair>,
    validation: Option<&Vec<Pair>>,
    settings: SupervisedTrainingSettings,
) -> Result<TrainedNetwork<UNet>> {
    let steps = settings.steps;
    let validation = validation.map(|v| v as &dyn smalti_solvers::PairedDataset);
    let mut training = SupervisedTraining::new(net(), pairs, validation, settings, Seed::new(2))?;
    run(&mut training, steps, &RunControl::default())?;
    training.finish()
}

fn error(net: &UNet, pairs: &[Pair]) -> f64 {
    let square = |p: &Pair| (net.infer(&p.input).unwrap() - &p.target).square().mean(tch::Kind::Double);
    pairs.iter().map(|p| square(p).double_value(&[])).sum::<f64>() / pairs.len() as f64
}

#[test]
fn the_validation_error_goes_down_and_the_best_network_is_kept() {
    // Validation images of another size than the training's.
    let (train, validation) = (pairs("training", 12, 24, 24), pairs("validation", 3, 33, 26));
    let TrainedNetwork { net, curve } = trained(&train, Some(&validation), settings(120)).unwrap();
    let errors: Vec<f64> = curve.iter().map(|p| p.validation.unwrap()).collect();
    assert_eq!(curve.iter().map(|p| p.step).collect::<Vec<_>>(), (1..=6).map(|k| 20 * k).collect::<Vec<_>>());
    println!("{errors:?}");
    // The noise of the inputs has a mean square of 0.04.
    let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best < 0.25 * errors[0] && best < 0.01, "{errors:?}");
    assert!((error(&net, &validation) / best - 1.0).abs() < 1e-5);
    assert_eq!(net.provenance["validation_error"], best.to_string());
    assert!(net.provenance["validation_psnr"].parse::<f64>().unwrap() > 18.0);
    let half = settings(120).with_precision(Precision::Bf16);
    let half = error(&trained(&train, Some(&validation), half).unwrap().net, &validation);
    assert!(half != best && half < 2.0 * best, "float32 {best}, bfloat16 {half}");
}

#[test]
fn validations_leave_the_border_out_as_the_loss_does() {
    let (train, validation) = (pairs("training", 4, 24, 24), pairs("validation", 1, 30, 30));
    // Only the border is wrong, by far more than all else.
    for (axis, from) in [(2, 0), (2, 26), (3, 0), (3, 26)] {
        let _ = validation[0].target.narrow(axis, from, 4).fill_(50.0);
    }
    let best = |border| {
        let wanted = settings(20).with_border(border);
        trained(&train, Some(&validation), wanted).unwrap().curve[0].validation.unwrap()
    };
    assert!(best(4) < 1.0 && best(3) > 10.0, "{} {}", best(4), best(3));
}

/// Of 0.2, 0.2 and 0.8 the squares have the mean 0.4, the absolute differences the median 0.2.
#[test]
fn absolute_differences_lead_to_the_median() {
    let image = |value: f64| Tensor::full([1, 1, 8, 8], value, tch::kind::FLOAT_CPU);
    let pairs: Vec<Pair> =
        [0.2, 0.8, 0.2].map(|value| Pair { input: image(0.0), target: image(value) }).into();
    let reached = |loss| {
        let net =
            ResidualNet::new(ResidualNetSettings::default().with_channels(4).with_blocks(1), Seed::new(1));
        let settings =
            SupervisedTrainingSettings::fbp_unet(400, 3).with_loss(loss).with_rate(1e-2).with_last_rate(1e-4);
        let mut training =
            SupervisedTraining::new(net.unwrap(), &pairs, None, settings, Seed::new(2)).unwrap();
        run(&mut training, 400, &RunControl::default()).unwrap();
        training.finish().unwrap().net.infer(&image(0.0)).unwrap().mean(tch::Kind::Double).double_value(&[])
    };
    let reached = [PixelLoss::Squared, PixelLoss::Absolute].map(reached);
    assert!((reached[0] - 0.4).abs() < 0.01 && (reached[1] - 0.2).abs() < 0.01, "{reached:?}");
}

/// The rate follows from the curve, so that a training in pieces drops it where the whole one does.
#[test]
fn a_rate_that_drops_ends_the_training_where_errors_no_longer_fall() {
    let (train, validation) = (pairs("training", 8, 16, 16), pairs("validation", 1, 16, 16));
    let wanted = settings(1000).with_rate_rule(RateRule::Drops).with_last_rate(1e-3).with_validate_every(2);
    let make = |validation| {
        let net =
            ResidualNet::new(ResidualNetSettings::default().with_channels(4).with_blocks(1), Seed::new(1));
        SupervisedTraining::new(net.unwrap(), &train, validation, wanted, Seed::new(2))
    };
    let mut training = make(Some(&validation as &dyn smalti_solvers::PairedDataset)).unwrap();
    let summary = run(&mut training, 1000, &RunControl::default()).unwrap();
    let StopReason::Done(why) = &summary.reason else { panic!("{:?}", summary.reason) };
    assert!(why.contains("at a learning rate of 1e-3"), "{why}");
    // Two drops, of six validations each at least.
    assert!((24..1000).contains(&summary.steps), "{summary:?}");
    let curve = training.finish().unwrap().curve;
    let (pieces, steps) = in_pieces(1000, &[1, 13, 22], || make(Some(&validation)).unwrap());
    assert!(steps == summary.steps && pieces.curve == curve);
    let line = make(None).unwrap_err().to_string();
    assert!(line.starts_with("validation pairs: expected at least 1, for a learning rate"), "{line}");
}

#[test]
fn steps_and_validations_are_logged() {
    let (train, folder) = (pairs("training", 4, 20, 20), tempfile::tempdir().unwrap());
    let events = EventFile::create(folder.path()).unwrap();
    let path = events.path().to_owned();
    let mut training = SupervisedTraining::new(net(), &train, Some(&train), settings(2), Seed::new(2))
        .unwrap()
        .with_events(events);
    run(&mut training, 2, &RunControl::default()).unwrap();
    let log = std::fs::read(path).unwrap();
    for (tag, times) in [
        ("error/training", 2),
        ("learning rate", 2),
        ("error/validation", 1),
        ("PSNR/validation", 1),
        ("validation/result", 1),
    ] {
        assert_eq!(log.windows(tag.len()).filter(|w| *w == tag.as_bytes()).count(), times, "{tag}");
    }
}

#[test]
fn nan_is_noticed_and_bad_input_is_refused_in_one_line() {
    let train = pairs("training", 4, 20, 20);
    let wild = settings(20).with_rate(1e38);
    assert!(matches!(trained(&train, None, wild).unwrap_err(), Error::NonFinite { .. }));
    let line = |validation: Option<&Vec<Pair>>, settings: SupervisedTrainingSettings| {
        let line = trained(&train, validation, settings).unwrap_err().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    assert!(line(None, settings(0)).starts_with("steps of a training: expected at least 1"));
    assert!(line(None, settings(2).with_validate_every(0)).starts_with("validation interval"));
    assert!(line(None, settings(2).with_batch(5)).contains("at least the 5 of a batch, got 4"));
    assert!(line(None, settings(2).with_crop(4)).contains("at least 5 x 5 pixels"));
    assert!(line(None, settings(2).with_crop(21)).contains("21 x 21 pixels of a crop"));
    for rate in [0.0, f64::NAN] {
        assert!(line(None, settings(2).with_rate(rate)).starts_with("learning rate"));
        assert!(line(None, settings(2).with_last_rate(rate)).starts_with("learning rate"));
    }
    assert!(line(Some(&vec![]), settings(2)).starts_with("validation pairs"));
    let mut wrong = pairs("validation", 1, 20, 20);
    wrong[0].target = wrong[0].target.narrow(2, 0, 19);
    assert!(line(Some(&wrong), settings(2)).starts_with("target of validation pair 0"));
}
