//! WPPNets learn superresolution from observations and a reference image alone.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::stripes::texture;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use smalti_base::metrics::psnr;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::Precision;
use smalti_operators::{Boundary, Convolution, Operator, PixelGrid, interpolate};
use smalti_priors::WppSettings;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{
    AcNet, AdamSettings, CurvePoint, Iteration, RunControl, Schedule, WppNetGenerator, WppTraining,
    WppTrainingData, WppTrainingSettings, run,
};
use tch::Tensor;

const FACTOR: i64 = 2;
const SIDE: i64 = 12;

fn operator(side: i64) -> Convolution {
    let domain = Space::image(1, FACTOR * side, FACTOR * side);
    Convolution::superresolution(domain, 4, 1.0, FACTOR, Boundary::Valid).unwrap()
}

fn settings(steps: u64) -> WppTrainingSettings {
    WppTrainingSettings::altekrueger_2023_wppnet(40)
        .with_adam(AdamSettings::constant(steps, 2e-3).with_schedule(Schedule::Cosine { warmup: 5 }))
        .with_batch(4)
        .with_validations(20)
}

fn prior() -> WppSettings {
    WppTrainingSettings::prior(true)
        .with_patch_size(4)
        .with_references(ReferencePatches::Random(500))
        .with_dual(DualMethod::AveragedSgd { steps: 3, step: 1.0 })
}

struct Set {
    operator: Convolution,
    crops: Tensor,
    validation: Tensor,
    reference: Tensor,
}

fn set() -> Set {
    // The last row and column of a crop lie beyond what the valid operator sees of a result.
    let wide = operator(SIDE + 1);
    let observe = |x: &Tensor| wide.apply(x).unwrap();
    let truth = |name, n| texture(name, n, FACTOR * (SIDE + 1));
    Set {
        operator: operator(SIDE),
        crops: observe(&truth("training", 40)),
        validation: observe(&truth("validation", 6)),
        reference: texture("reference", 8, 40).reshape([1, 1, 320, 40]),
    }
}

fn training<'a>(
    set: &'a Set,
    prior: &'a WppSettings,
    (settings, precision): (WppTrainingSettings, Precision),
) -> Result<WppTraining<'a, WppNetGenerator>> {
    let Set { operator, crops, validation, reference } = set;
    let data = WppTrainingData { operator, crops, validation: Some(validation), reference, prior };
    let net = AcNet::new(FACTOR, Seed::new(1)).unwrap();
    WppTraining::new(WppNetGenerator { net, precision }, data, settings, Seed::new(2))
}

fn trained(
    set: &Set,
    settings: WppTrainingSettings,
    precision: Precision,
) -> Result<(AcNet, Vec<CurvePoint>)> {
    let (prior, steps) = (prior(), settings.adam.steps);
    let mut iteration = training(set, &prior, (settings, precision))?;
    run(&mut iteration, steps, &RunControl::default())?;
    let trained = iteration.finish()?;
    Ok((trained.generator.net, trained.curve))
}

#[test]
fn it_beats_interpolation_without_having_seen_an_image() {
    let set = set();
    let (net, curve) = trained(&set, settings(160), Precision::Full).unwrap();
    let steps: Vec<u64> = curve.iter().map(|point| point.step).collect();
    assert_eq!(steps, (1..=8).map(|k| 20 * k).collect::<Vec<_>>());
    let losses: Vec<f64> = curve.iter().map(|point| point.validation.unwrap()).collect();
    assert!(losses[7] < 0.5 * losses[0], "{losses:?}");
    assert_eq!(net.provenance["validation_loss"], losses[7].to_string());
    assert_eq!(net.provenance["training_data_sha256"].len(), 64);

    let side = 48;
    let (truth, wide) = (texture("test", 2, FACTOR * side), operator(side));
    let (mut ours, mut bicubic) = (0.0, 0.0);
    for k in 0..2 {
        let truth = truth.narrow(0, k, 1);
        let y = wide.apply(&truth).unwrap();
        let cut = |x: &Tensor| x.narrow(2, 20, 50).narrow(3, 20, 50);
        let score = |x: &Tensor| psnr(&cut(x), &cut(&truth), 1.0).unwrap();
        ours += score(&net.infer(&y, 1 << 30).unwrap()) / 2.0;
        bicubic += score(&interpolate(&y, wide.grid(), wide.domain(), Boundary::Valid).unwrap()) / 2.0;
    }
    println!("{losses:?}");
    println!("WPPNet {ours:.2} dB, bicubic {bicubic:.2} dB");
    // About 1 dB, which depends on the rounding of the machine's convolutions.
    assert!(ours > bicubic + 0.5, "{ours:.2} against {bicubic:.2} dB");
}

#[test]
fn both_terms_count() {
    let set = set();
    let data = |lambda| {
        let (net, curve) = trained(&set, settings(25).with_lambda(lambda), Precision::Full).unwrap();
        let x = net.infer(&set.validation, 1 << 30).unwrap();
        let y = set.validation.narrow(2, 0, set.operator.range().height);
        let residual = set.operator.apply(&x).unwrap() - y.narrow(3, 0, set.operator.range().width);
        (residual.square().mean(tch::Kind::Double).double_value(&[]), curve)
    };
    let ((without, curve), (with, _)) = (data(0.0), data(20.0));
    assert!(with > 2.0 * without, "the distance pulls results away from the data: {without} {with}");
    // Without the distance, the loss is the data term.
    assert!((curve.last().unwrap().validation.unwrap() - without).abs() < 1e-6);
}

#[test]
fn bfloat16_learns_as_well() {
    let set = set();
    let losses = |precision| {
        let curve = trained(&set, settings(20).with_validations(5), precision).unwrap().1;
        (curve[0].validation.unwrap(), curve.last().unwrap().validation.unwrap())
    };
    let ((first, full), (_, half)) = (losses(Precision::Full), losses(Precision::Bf16));
    println!("{first} after 5 steps, {full} and in bfloat16 {half} after 20");
    // Not by learning nothing.
    assert!(full < 0.4 * first, "{first} {full}");
    assert!(half != full && half < 1.5 * full, "float32 {full}, bfloat16 {half}");
}

#[test]
fn steps_and_validations_are_logged() {
    let (set, prior) = (set(), prior());
    let folder = tempfile::tempdir().unwrap();
    let events = EventFile::create(folder.path()).unwrap();
    let path = events.path().to_owned();
    let mut iteration = training(&set, &prior, (settings(2), Precision::Full)).unwrap().with_events(events);
    run(&mut iteration, 2, &RunControl::default()).unwrap();
    let log = std::fs::read(path).unwrap();
    let count = |tag: &str| log.windows(tag.len()).filter(|w| *w == tag.as_bytes()).count();
    for (tag, times) in [
        ("loss/training", 2),
        ("loss/data", 2),
        ("loss/W2^2", 2),
        ("learning rate", 2),
        ("loss/validation", 1),
        ("validation/result", 1),
        ("validation/observation", 1),
    ] {
        assert_eq!(count(tag), times, "{tag}");
    }
}

#[test]
fn nan_is_noticed_in_its_own_step() {
    let set = set();
    let wild = settings(20).with_adam(AdamSettings::constant(20, 1e30));
    let error = trained(&set, wild, Precision::Full).unwrap_err();
    assert!(matches!(error, Error::NonFinite { iteration: 0..=2, .. }), "{error}");
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let prior = prior();
    let line = |change: &dyn Fn(&mut Set), settings: WppTrainingSettings| {
        let mut set = set();
        change(&mut set);
        let line = training(&set, &prior, (settings, Precision::Full)).err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let good = || settings(10);
    let none = |_: &mut Set| {};
    for batch in [0, -3] {
        assert!(line(&none, good().with_batch(batch)).ends_with(&format!("got {batch}")));
    }
    assert!(line(&none, good().with_batch(41)).contains("at least the 41 of a batch, got 40"));
    assert!(line(&none, good().with_validations(0)).starts_with("validation interval"));
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(line(&none, good().with_lambda(value)).contains("Wasserstein"));
        assert!(line(&none, good().with_adam(AdamSettings::constant(10, value))).contains("learning rate"));
    }
    assert!(line(&|s| s.crops = s.crops.narrow(3, 0, 11), good()).starts_with("domain of the operator"));
    assert!(line(&|s| s.crops = s.crops.get(0), good()).starts_with("training crops"));
    assert!(line(&|s| s.validation = s.validation.narrow(2, 0, 11), good()).starts_with("validation crops"));
    assert!(line(&|s| drop(s.crops.narrow(0, 3, 1).fill_(f64::NAN)), good()).contains("NaN"));
    assert!(line(&|s| s.reference = s.reference.narrow(2, 0, 3), good()).contains("reference image"));
    let wide = |s: &mut Set| {
        // An operator whose observations are larger than the crops.
        let domain = s.operator.domain();
        s.operator = Convolution::superresolution(domain, 1, 1.0, 1, Boundary::Valid).unwrap();
    };
    assert!(line(&wide, good()).starts_with("range of the operator"));
}

/// What a file of crops may hold: images of any number and size.
#[test]
fn crops_of_any_shape_are_taken_or_refused() {
    let (set, prior) = (set(), prior());
    let shape = |most: i64| {
        let right = (1..most).prop_map(|n| vec![n, 1, SIDE, SIDE]);
        let other =
            prop::collection::vec(prop_oneof![2 => 1..4_i64, 3 => SIDE - 1..SIDE + 2, 1 => Just(0)], 0..6);
        prop_oneof![3 => right.boxed(), 1 => other.boxed()]
    };
    let taken = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let law = |(crops, validation): (Vec<i64>, Vec<i64>)| {
        let grey = |size: &[i64]| Tensor::full(size, 0.5, tch::kind::FLOAT_CPU);
        let of_one = |size: &[i64]| matches!(*size, [n, 1, SIDE, SIDE] if n > 0);
        let fits = of_one(&crops) && crops[0] >= 4 && of_one(&validation);
        let set = Set {
            operator: operator(SIDE),
            crops: grey(&crops),
            validation: grey(&validation),
            reference: set.reference.shallow_clone(),
        };
        match training(&set, &prior, (settings(1), Precision::Full)) {
            Ok(_) => {
                taken.set(taken.get() + 1);
                prop_assert!(fits, "{crops:?} {validation:?}");
            }
            Err(e) => {
                prop_assert!(!fits && e.to_string().lines().count() == 1, "{crops:?} {validation:?}: {e}")
            }
        }
        Ok(())
    };
    TestRunner::new(config).run(&(shape(9), shape(4)), law).unwrap();
    assert!(taken.get() > 5, "{} of 60 were taken", taken.get());
}
