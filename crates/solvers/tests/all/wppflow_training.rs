//! WPPFlows learn to sample from observations and a reference image alone.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use crate::stripes::texture;
use smalti_base::metrics::psnr;
use smalti_base::tensorboard::EventFile;
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::{Bijection, WppFlow, WppFlowShape};
use smalti_operators::{Boundary, Convolution, Operator, PixelGrid, interpolate};
use smalti_priors::WppSettings;
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_solvers::{
    AdamSettings, CurvePoint, Iteration, RunControl, Schedule, TrainedGenerator, WppFlowGenerator,
    WppTraining, WppTrainingData, WppTrainingSettings, flow_residual, run,
};
use tch::{Kind, Tensor};

const FACTOR: i64 = 2;
const SIDE: i64 = 10;
const NOISE: f64 = 0.02;

fn operator(side: i64) -> Convolution {
    let domain = Space::image(1, FACTOR * side, FACTOR * side);
    Convolution::superresolution(domain, 4, 1.0, FACTOR, Boundary::Periodic).unwrap()
}

fn settings(steps: u64) -> WppTrainingSettings {
    WppTrainingSettings::altekrueger_2023_wppflow(40)
        .with_adam(AdamSettings::constant(steps, 2e-3).with_schedule(Schedule::Cosine { warmup: 5 }))
        .with_batch(4)
        .with_lambda(20.0)
        .with_validations(20)
}

fn generator() -> WppFlowGenerator {
    WppFlowGenerator { noise: NOISE, ..WppFlowGenerator::altekrueger_2023(flow()) }
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

fn observe(operator: &Convolution, name: &str, x: &Tensor) -> Tensor {
    let y = operator.apply(x).unwrap();
    &y + Seed::new(8).at(name, 0).normal(&y.size()) * NOISE
}

fn set() -> Set {
    let operator = operator(SIDE);
    let observed = |name, n| observe(&operator, name, &texture(name, n, FACTOR * SIDE));
    let (crops, validation) = (observed("training", 40), observed("validation", 6));
    let reference = texture("reference", 8, 40).reshape([1, 1, 320, 40]);
    Set { crops, validation, reference, operator }
}

fn flow() -> WppFlow {
    let shape = WppFlowShape::altekrueger_2023_x4()
        .with_factor(FACTOR)
        .with_blocks(3)
        .with_hidden(16)
        .with_origin(operator(SIDE).grid().origin.0);
    WppFlow::new(shape, Seed::new(1)).unwrap()
}

fn training<'a>(
    set: &'a Set,
    prior: &'a WppSettings,
    settings: WppTrainingSettings,
    generator: WppFlowGenerator,
) -> Result<WppTraining<'a, WppFlowGenerator>> {
    let Set { operator, crops, validation, reference } = set;
    let data = WppTrainingData { operator, crops, validation: Some(validation), reference, prior };
    WppTraining::new(generator, data, settings, Seed::new(2))
}

fn trained(
    set: &Set,
    settings: WppTrainingSettings,
    generator: WppFlowGenerator,
) -> Result<(WppFlow, Vec<CurvePoint>)> {
    let (prior, steps) = (prior(), settings.adam.steps);
    let mut iteration = training(set, &prior, settings, generator)?;
    run(&mut iteration, steps, &RunControl::default())?;
    let trained = iteration.finish()?;
    Ok((trained.generator.flow, trained.curve))
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

#[test]
fn samples_fit_the_data_differ_and_have_a_good_mean() {
    let set = set();
    let (flow, curve) = trained(&set, settings(200), generator()).unwrap();
    let losses: Vec<f64> = curve.iter().map(|point| point.validation.unwrap()).collect();
    println!("{losses:?}");
    assert!(losses[9] < 0.7 * losses[0], "{losses:?}");
    assert_eq!(flow.provenance["validation_loss"], losses[9].to_string());
    assert_eq!(flow.provenance["training_data_sha256"].len(), 64);

    // On images three times as large as those of the training.
    let side = 30;
    let operator = operator(side);
    let truth = texture("test", 2, FACTOR * side);
    let y = observe(&operator, "test", &truth);
    let (mut ours, mut bicubic, mut misfit, mut spread) = (0.0, 0.0, 0.0, 0.0);
    for k in 0..2 {
        let (truth, y) = (truth.narrow(0, k, 1), y.narrow(0, k, 1));
        let samples = flow.sample(&y, 10, &mut Seed::new(5).at("samples", k as u64)).unwrap();
        let average = samples.mean_dim(0i64, true, None::<Kind>);
        let cut = |x: &Tensor| x.narrow(2, 8, 44).narrow(3, 8, 44);
        let score = |x: &Tensor| psnr(&cut(x), &cut(&truth), 1.0).unwrap() / 2.0;
        ours += score(&average);
        bicubic += score(&interpolate(&y, operator.grid(), operator.domain(), Boundary::Periodic).unwrap());
        let residual = operator.apply(&samples).unwrap() - &y;
        misfit += mean(&residual.square()).sqrt() / 2.0;
        spread += mean(&samples.std_dim(0i64, false, true)) / 2.0;
    }
    println!("mean {ours:.2} dB, bicubic {bicubic:.2} dB, misfit {misfit:.4}, spread {spread:.4}");
    assert!(ours > bicubic + 0.5, "mean {ours:.2} dB, bicubic {bicubic:.2} dB");
    assert!(misfit < 2.0 * NOISE, "residual {misfit}");
    assert!(spread > 0.1 * NOISE, "samples collapse: {spread}");
}

/// The distance of the loss may also be that of a converged dual solver, which is larger than what few averaged steps find.
#[test]
fn a_converged_dual_solver_trains_as_well() {
    let set = set();
    let trace = |dual| {
        let prior = prior().with_dual(dual);
        let mut iteration = training(&set, &prior, settings(20), generator()).unwrap();
        let term = |step: &smalti_solvers::Step, name| step.terms.iter().find(|t| t.0 == name).unwrap().1;
        let steps: Vec<_> = (0..20).map(|k| iteration.step(k).unwrap()).collect();
        let of = |name| steps.iter().map(|step| term(step, name)).collect::<Vec<f64>>();
        (of("loss"), of("W2^2"))
    };
    let (loss, distance) = trace(DualMethod::Converge { gap: 1e-2, evaluations: 60 });
    let few = trace(DualMethod::AveragedSgd { steps: 1, step: 1.0 }).1;
    println!("{loss:?} {} {}", distance[0], few[0]);
    assert!(distance[0] > few[0], "{} {}", distance[0], few[0]);
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    assert!(mean(&loss[17..]) < 0.9 * mean(&loss[..3]), "{loss:?}");
}

#[test]
fn the_log_determinant_keeps_samples_apart() {
    let set = set();
    let spread = |noise| {
        let flow = trained(&set, settings(40), WppFlowGenerator { noise, ..generator() }).unwrap().0;
        let y = set.validation.narrow(0, 0, 1);
        let samples = flow.sample(&y, 10, &mut Seed::new(5).at("samples", 0)).unwrap();
        mean(&samples.std_dim(0i64, false, true))
    };
    let (little, much) = (spread(1e-3), spread(0.2));
    println!("{little} {much}");
    assert!(much > 2.0 * little, "{little} {much}");
}

#[test]
fn resumed_training_ends_with_the_same_bits() {
    let (set, prior) = (set(), prior());
    let make = || training(&set, &prior, settings(12).with_validations(4), generator()).unwrap();
    let (whole, pieces) = (in_pieces(12, &[], make).0, in_pieces(12, &[1, 6, 11], make).0);
    let flat = |trained: &TrainedGenerator<WppFlowGenerator>| trained.generator.flow.flat_parameters().copy();
    assert!(flat(&whole).equal(&flat(&pieces)) && whole.curve == pieces.curve && whole.curve.len() == 3);
    assert_eq!(whole.generator.flow.provenance, pieces.generator.flow.provenance);
    // Moments and potentials matter: with forgotten ones the result is another.
    for forgotten in ["adam.first", "training.psi"] {
        let mut forgetful = make();
        run(&mut forgetful, 6, &RunControl::default()).unwrap();
        let mut file = forgetful.save().unwrap();
        for (_, tensor) in file.tensors.iter_mut().filter(|(name, _)| name.starts_with(forgotten)) {
            *tensor = tensor.zeros_like();
        }
        let mut again = make();
        again.restore(file).unwrap();
        (6..12).for_each(|k| drop(again.step(k).unwrap()));
        assert!(!flat(&again.finish().unwrap()).equal(&flat(&whole)), "{forgotten}");
    }
    // A state of a flow with other permutations is refused.
    let mut file = make().save().unwrap();
    let other = file.tensors["permutation.0"].flip([0]);
    file.tensors.insert("permutation.0".into(), other);
    let line = make().restore(file).unwrap_err().to_string();
    assert!(line.contains("permutations") && line.lines().count() == 1, "{line}");
}

#[test]
fn gradients_are_clipped_after_they_are_computed() {
    // A bound that no gradient reaches changes nothing; one that all reach changes their share in Adam's moments.
    let (set, prior) = (set(), prior());
    let flat = |clip| {
        let mut iteration =
            training(&set, &prior, settings(10), WppFlowGenerator { clip, ..generator() }).unwrap();
        let norms: Vec<f64> = (0..3)
            .map(|k| iteration.step(k).unwrap().terms.iter().find(|t| t.0 == "gradient norm").unwrap().1)
            .collect();
        (iteration.finish().unwrap().generator.flow.flat_parameters().copy(), norms)
    };
    let ((none, norms), (wide, _), (tight, _)) = (flat(None), flat(Some(1e9)), flat(Some(1e-2)));
    println!("{norms:?}");
    assert!(none.equal(&wide) && !none.equal(&tight) && norms.iter().all(|n| *n > 1e-2));
}

#[test]
fn steps_and_validations_are_logged() {
    let (set, prior) = (set(), prior());
    let folder = tempfile::tempdir().unwrap();
    let events = EventFile::create(folder.path()).unwrap();
    let path = events.path().to_owned();
    let mut iteration = training(&set, &prior, settings(2), generator()).unwrap().with_events(events);
    run(&mut iteration, 2, &RunControl::default()).unwrap();
    let log = std::fs::read(path).unwrap();
    let count = |tag: &str| log.windows(tag.len()).filter(|w| *w == tag.as_bytes()).count();
    for (tag, times) in [
        ("loss/training", 2),
        ("loss/data", 2),
        ("loss/W2^2", 2),
        ("loss/log det", 2),
        ("gradient norm", 2),
        ("learning rate", 2),
        ("loss/validation", 1),
        ("validation/sample", 1),
        ("validation/observation", 1),
    ] {
        assert_eq!(count(tag), times, "{tag}");
    }
}

#[test]
fn nan_is_noticed_in_its_own_step() {
    let set = set();
    let wild = settings(20).with_adam(AdamSettings::constant(20, 1e30));
    let error = trained(&set, wild, generator()).err().unwrap();
    assert!(matches!(error, Error::NonFinite { iteration: 0..=2, .. }), "{error}");
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let prior = prior();
    let line_of = |change: &dyn Fn(&mut Set), settings: WppTrainingSettings, generator: WppFlowGenerator| {
        let mut set = set();
        change(&mut set);
        let line = training(&set, &prior, settings, generator).err().unwrap().to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let line = |change: &dyn Fn(&mut Set), settings| line_of(change, settings, generator());
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
        assert!(
            line_of(&none, good(), WppFlowGenerator { noise: value, ..generator() }).starts_with("noise")
        );
        assert!(
            line_of(&none, good(), WppFlowGenerator { clip: Some(value), ..generator() })
                .contains("norm of a gradient")
        );
    }
    assert!(line_of(&none, good(), WppFlowGenerator { noise: 0.0, ..generator() }).starts_with("noise"));
    assert!(line(&|s| s.crops = s.crops.narrow(3, 0, 9), good()).starts_with("domain of the operator"));
    assert!(line(&|s| s.crops = s.crops.get(0), good()).starts_with("training crops"));
    assert!(line(&|s| s.validation = s.validation.narrow(2, 0, 9), good()).starts_with("validation crops"));
    assert!(line(&|s| drop(s.crops.narrow(0, 3, 1).fill_(f64::NAN)), good()).contains("NaN"));
    assert!(line(&|s| s.reference = s.reference.narrow(2, 0, 3), good()).contains("reference image"));
}

/// The residual of samples is that of the definition, over what an operator without a border has of an observation.
#[test]
fn the_residual_is_that_of_the_definition() {
    let flow = flow();
    let y = Seed::new(4).at("y", 0).uniform(&[2, 1, SIDE, SIDE]);
    let domain = Space::image(1, FACTOR * SIDE, FACTOR * SIDE);
    let valid = Convolution::superresolution(domain, 4, 1.0, FACTOR, Boundary::Valid).unwrap();
    let (range, seed) = (valid.range(), Seed::new(5));
    assert!(range.height < SIDE);
    let mut squares = Vec::new();
    for i in 0..2 {
        let z = seed.at("latents of a residual", i).normal(&domain.batch(1));
        let y = y.narrow(0, i as i64, 1);
        let x = flow.to_data(&z, Some(&y)).unwrap().value;
        let residual = valid.apply(&x).unwrap() - y.narrow(2, 0, range.height).narrow(3, 0, range.width);
        squares.push(residual.square().mean(Kind::Double).double_value(&[]));
    }
    let expected = (squares.iter().sum::<f64>() / 2.0).sqrt();
    let found = flow_residual(&flow, &valid, &y, seed).unwrap();
    assert!((found / expected - 1.0).abs() < 1e-6 && expected > 0.01, "{found} {expected}");
    assert!(flow_residual(&flow, &operator(SIDE + 2), &y, seed).is_err());
    assert!(flow_residual(&flow, &valid, &(&y * f64::NAN), seed).is_err());
}
