//! A run that is cancelled and resumed ends with the very bits of an uninterrupted one.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Seed, Space};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
use smalti_operators::{Boundary, Convolution, Gaussian, Operator, Poisson};
use smalti_priors::wpp::{DualMethod, ReferencePatches};
use smalti_priors::{PatchPrior, Regularizer, Sampling, WassersteinPatchPrior, WppSettings};
use smalti_solvers::{
    AcNet, AdamSettings, Iteration, Map, Margin, Objective, PatchNrTraining, PatchNrTrainingSettings,
    RunControl, Schedule, TrainedPatchNr, TvPrimalDual, WppNetGenerator, WppTraining, WppTrainingData,
    WppTrainingSettings, run,
};
use tch::{Device, Kind, Tensor};

fn flow(kind: Kind) -> PatchNr {
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    let shape = PatchNrShape::default().with_patch_size(3).with_blocks(2).with_hidden(16).with_clamp(clamp);
    let mut flow = PatchNr::new(shape, Seed::new(1)).unwrap();
    flow.to(Device::Cpu, kind).unwrap();
    flow
}

fn image(name: &str, domain: Space) -> Tensor {
    Seed::new(2).at(name, 0).uniform(&domain.batch(1))
}

#[test]
fn map_estimation_with_a_fresh_sample_of_patches_every_step() {
    let domain = Space::image(1, 20, 24);
    let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let y = operator.apply(&image("truth", domain)).unwrap();
    let start = image("start", domain);
    let likelihood = Gaussian::new(0.05).unwrap();
    let flow = flow(Kind::Float);
    let settings = AdamSettings::constant(20, 0.03).with_schedule(Schedule::Cosine { warmup: 3 });
    for sampling in [Sampling::Random(60), Sampling::Grid(3)] {
        let result = |seed, stops: &[u64]| {
            let prior = || PatchPrior::new(&flow, domain, sampling, Seed::new(seed)).unwrap();
            let mut priors: Vec<_> = (0..=stops.len()).map(|_| prior()).collect();
            let mut priors = priors.iter_mut();
            let make = || {
                let prior = priors.next().unwrap();
                let (operator, likelihood, observation) = (&operator, &likelihood, &y);
                Map::new(
                    Objective { operator, likelihood, observation, prior, weight: 0.1 },
                    &start,
                    settings,
                )
                .unwrap()
            };
            in_pieces(20, stops, make).0
        };
        let whole = result(3, &[]);
        assert!(result(3, &[1, 7, 13]).equal(&whole), "{sampling:?}");
        // Another seed leads elsewhere: the comparison could fail.
        assert!(!result(4, &[]).equal(&whole) && !whole.equal(&start), "{sampling:?}");
    }
}

/// What a MAP estimation with the Wasserstein patch prior is made of.
struct WppProblem {
    margin: Margin<Convolution>,
    observation: Tensor,
    start: Tensor,
    likelihood: Gaussian,
    reference: Tensor,
}

impl WppProblem {
    fn new() -> Self {
        let domain = Space::image(1, 20, 24);
        let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
        let observation = operator.apply(&image("truth", domain)).unwrap();
        let margin = Margin::new(operator, 3).unwrap();
        let start = margin.start(&image("start", domain), Seed::new(8)).unwrap();
        let reference = image("reference", Space::image(1, 40, 30));
        Self { margin, observation, start, likelihood: Gaussian::new(0.05).unwrap(), reference }
    }

    fn prior(&self, dual: DualMethod) -> WassersteinPatchPrior {
        self.prior_on(dual, 1)
    }

    /// On patches so far apart, which start at another pixel in each step where that is more than 1.
    fn prior_on(&self, dual: DualMethod, stride: i64) -> WassersteinPatchPrior {
        let references = ReferencePatches::Random(80);
        let settings = WppSettings::default().with_patch_size(3).with_references(references).with_dual(dual);
        let settings = settings.with_stride(stride).with_shuffled(stride > 1);
        let size = self.margin.domain().batch(1);
        WassersteinPatchPrior::new(&size, &[&self.reference], &settings, Seed::new(3)).unwrap()
    }

    fn map<'a>(&'a self, prior: &'a mut WassersteinPatchPrior) -> Map<'a> {
        let (operator, observation) = (self.margin.operator(), &self.observation);
        let problem = Objective { operator, likelihood: &self.likelihood, observation, prior, weight: 5.0 };
        let settings = AdamSettings::constant(20, 0.03).with_schedule(Schedule::Cosine { warmup: 3 });
        Map::new(problem, &self.start, settings).unwrap()
    }
}

/// The image after 20 steps of a run that is cancelled and resumed so often.
fn wpp_in_pieces(problem: &WppProblem, dual: DualMethod, stops: &[u64]) -> Tensor {
    let mut priors: Vec<_> = (0..=stops.len()).map(|_| problem.prior(dual)).collect();
    let mut priors = priors.iter_mut();
    in_pieces(20, stops, || problem.map(priors.next().unwrap())).0
}

#[test]
fn map_estimation_with_potentials_that_go_on_from_step_to_step() {
    let problem = WppProblem::new();
    let dual = DualMethod::AveragedSgd { steps: 4, step: 1.0 };
    let whole = wpp_in_pieces(&problem, dual, &[]);
    assert!(wpp_in_pieces(&problem, dual, &[1, 7, 13]).equal(&whole));
    // Potentials matter: with forgotten ones the result is another.
    let mut first = problem.prior(dual);
    let mut stopped = problem.map(&mut first);
    (0..13).for_each(|k| drop(stopped.step(k).unwrap()));
    let mut file = stopped.save().unwrap();
    for name in ["prior.potential.0", "prior.potential.1"] {
        let forgotten = file.tensors[name].zeros_like();
        assert!(!forgotten.equal(&file.tensors[name]) && forgotten.size() == [80], "{name}");
        file.tensors.insert(name.into(), forgotten);
    }
    let mut second = problem.prior(dual);
    let mut forgetful = problem.map(&mut second);
    forgetful.restore(file).unwrap();
    (13..20).for_each(|k| drop(forgetful.step(k).unwrap()));
    assert!(!forgetful.finish().unwrap().equal(&whole));
    // A state without them is none of this computation.
    let mut file = stopped.save().unwrap();
    file.take_part("prior");
    let mut third = problem.prior(dual);
    let line = problem.map(&mut third).restore(file).unwrap_err().to_string();
    assert!(line.contains("no tensor potential.0") && line.lines().count() == 1, "{line}");
}

#[test]
fn shuffled_grids_of_patches_go_on_in_their_order() {
    let problem = WppProblem::new();
    let dual = DualMethod::AveragedSgd { steps: 4, step: 1.0 };
    let in_steps = |stops: &[u64]| {
        let mut priors: Vec<_> = (0..=stops.len()).map(|_| problem.prior_on(dual, 2)).collect();
        let mut priors = priors.iter_mut();
        in_pieces(20, stops, || problem.map(priors.next().unwrap())).0
    };
    let whole = in_steps(&[]);
    assert!(in_steps(&[1, 6, 13]).equal(&whole));
    // The mean of a round of grids is close to what all patches together give, which a single grid is not.
    let x = &problem.start;
    let exact = DualMethod::Converge { gap: 1e-4, evaluations: 500 };
    let gradient = |prior: &WassersteinPatchPrior| prior.value_and_grad(x).unwrap().1;
    let all = gradient(&problem.prior_on(exact, 1));
    let mut shuffled = problem.prior_on(exact, 2);
    let mut mean = x.zeros_like();
    let mut apart = Vec::new();
    for step in 0..4 {
        shuffled.refresh(step).unwrap();
        let one = gradient(&shuffled);
        apart.push((&one - &all).norm().double_value(&[]));
        mean += one / 4.0;
    }
    let left = (&mean - &all).norm().double_value(&[]);
    assert!(apart.iter().all(|one| left < 0.7 * one), "{left} beside {apart:?}");
}

/// Solvers with a gap also go on from plans, which no state keeps: the resumed run is another one, equally good.
#[test]
fn map_estimation_with_converged_potentials_ends_equally_well() {
    let problem = WppProblem::new();
    let dual = DualMethod::Converge { gap: 1e-3, evaluations: 200 };
    let score = |x: &Tensor| {
        let misfit = problem.margin.operator().apply(x).unwrap() - &problem.observation;
        (problem.prior(dual).value(x).unwrap(), misfit.square().mean(Kind::Double).double_value(&[]))
    };
    let start = score(&problem.start);
    let (whole, pieces) =
        [&[][..], &[1, 7, 13]].map(|stops| score(&wpp_in_pieces(&problem, dual, stops))).into();
    for (start, whole, pieces) in [(start.0, whole.0, pieces.0), (start.1, whole.1, pieces.1)] {
        assert!(whole < 0.95 * start, "{whole} {start}");
        assert!((pieces / whole - 1.0).abs() < 0.02, "{pieces} {whole}");
    }
}

fn training(kind: Kind, rate: f64, early_stop: Option<u32>) -> PatchNrTraining {
    let settings = PatchNrTrainingSettings::default()
        .with_adam(AdamSettings::constant(60, rate))
        .with_batch(32)
        .with_validate_every(5)
        .with_validation_patches(50)
        .with_early_stop(early_stop);
    let images = [image("first", Space::image(1, 20, 24)), image("second", Space::image(1, 15, 12))];
    let validation = image("validation", Space::image(1, 18, 16));
    PatchNrTraining::new(flow(kind), &images, Some(&validation), settings, Seed::new(5)).unwrap()
}

fn same(a: &TrainedPatchNr, b: &TrainedPatchNr) -> bool {
    a.flow.flat_parameters().equal(b.flow.flat_parameters())
        && a.curve == b.curve
        && a.flow.provenance == b.flow.provenance
}

#[test]
fn training_with_its_curve_and_moments() {
    for kind in [Kind::Float, Kind::Double] {
        let make = || training(kind, 0.01, None);
        let (whole, steps) = in_pieces(60, &[], make);
        assert_eq!((steps, whole.curve.len()), (60, 12));
        let (pieces, steps) = in_pieces(60, &[3, 5, 28, 59], make);
        assert!(same(&whole, &pieces) && steps == 60, "{kind:?}");
        // Moments matter: with forgotten ones the result is another.
        let mut forgetful = make();
        run(&mut forgetful, 28, &RunControl::default()).unwrap();
        let mut file = forgetful.save().unwrap();
        for (name, tensor) in &mut file.tensors {
            if name.starts_with("adam.") {
                *tensor = tensor.zeros_like();
            }
        }
        let mut again = make();
        again.restore(file).unwrap();
        (28..60).for_each(|k| drop(again.step(k).unwrap()));
        assert!(!same(&whole, &again.finish().unwrap()));
    }
}

#[test]
fn training_with_its_count_towards_an_early_stop_and_its_best_flow() {
    // So high a rate that the validation loss soon goes up again.
    let make = || training(Kind::Float, 0.1, Some(3));
    let (whole, steps) = in_pieces(60, &[], make);
    let best = whole.curve.iter().map(|point| point.validation.unwrap()).fold(f64::INFINITY, f64::min);
    assert!(steps < 60 && whole.curve.last().unwrap().validation.unwrap() > best, "{:?}", whole.curve);
    // In the middle of the bad validations, and between two of them.
    let (pieces, again) = in_pieces(60, &[steps - 10, steps - 7, steps - 5, steps - 1], make);
    assert_eq!(again, steps);
    assert!(same(&whole, &pieces));
}

#[test]
fn wppnet_training_with_its_moments_and_potentials() {
    let domain = Space::image(1, 16, 20);
    let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Valid).unwrap();
    let crops = Seed::new(2).at("crops", 0).uniform(&[7, 1, 8, 10]);
    let reference = image("reference", Space::image(1, 30, 25));
    let prior = WppTrainingSettings::prior(false)
        .with_patch_size(3)
        .with_references(ReferencePatches::Random(60))
        .with_dual(DualMethod::AveragedSgd { steps: 4, step: 1.0 });
    let settings = WppTrainingSettings::altekrueger_2023_wppnet(8)
        .with_adam(AdamSettings::constant(12, 1e-3).with_schedule(Schedule::Cosine { warmup: 2 }))
        .with_batch(3)
        .with_lambda(1.0)
        .with_validations(4);
    let make = || {
        let validation = Some(&crops);
        let data = WppTrainingData {
            operator: &operator,
            crops: &crops,
            validation,
            reference: &reference,
            prior: &prior,
        };
        let net = AcNet::new(2, Seed::new(3)).unwrap();
        let generator = WppNetGenerator { net, precision: smalti_flows::Precision::Full };
        WppTraining::new(generator, data, settings, Seed::new(4)).unwrap()
    };
    let (whole, steps) = in_pieces(12, &[], make);
    let (pieces, again) = in_pieces(12, &[1, 5, 8, 11], make);
    assert_eq!((steps, again, whole.curve.len()), (12, 12, 3));
    let all = |trained: &smalti_solvers::TrainedGenerator<WppNetGenerator>| {
        Tensor::cat(
            &trained.generator.net.parameters().iter().map(|(_, t)| t.reshape([-1])).collect::<Vec<_>>(),
            0,
        )
    };
    assert!(all(&whole).equal(&all(&pieces)) && whole.curve == pieces.curve);
    // Potentials and moments matter: with forgotten ones the result is another.
    for forgotten in ["training.psi", "adam.first"] {
        let mut forgetful = make();
        run(&mut forgetful, 5, &RunControl::default()).unwrap();
        let mut file = forgetful.save().unwrap();
        for (_, tensor) in file.tensors.iter_mut().filter(|(name, _)| name.starts_with(forgotten)) {
            *tensor = tensor.zeros_like();
        }
        let mut again = make();
        again.restore(file).unwrap();
        (5..12).for_each(|k| drop(again.step(k).unwrap()));
        assert!(!all(&again.finish().unwrap()).equal(&all(&whole)), "{forgotten}");
    }
}

#[test]
fn primal_dual_total_variation() {
    let domain = Space::image(1, 20, 24);
    let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    for kind in [Kind::Float, Kind::Double] {
        let y = operator.apply(&image("truth", domain).to_kind(kind)).unwrap();
        let start = image("start", domain).to_kind(kind);
        let make = || TvPrimalDual::new(&operator, &y, 0.05, 1e-4, &start).unwrap();
        let (whole, steps) = in_pieces(1000, &[], make);
        assert!((50..1000).contains(&steps), "{steps}");
        let (pieces, again) = in_pieces(1000, &[1, 10, 37, steps - 1], make);
        assert!(pieces.equal(&whole) && again == steps);
        let noise = Poisson::new(50.0, 2.0).unwrap();
        let make = || TvPrimalDual::poisson(&operator, noise, &y, 0.3, 1e-4, &start).unwrap().nonnegative();
        let (whole, steps) = in_pieces(1000, &[], make);
        let (pieces, again) = in_pieces(1000, &[1, 10, 37, steps - 1], make);
        assert!(pieces.equal(&whole) && again == steps && steps > 50, "{steps}");
    }
}

#[test]
fn a_state_of_another_computation_is_refused_in_one_line() {
    let state = training(Kind::Float, 0.01, None).save().unwrap();
    let line = training(Kind::Double, 0.01, None).restore(state).unwrap_err().to_string();
    assert!(line.contains("Float") && line.contains("Double") && line.lines().count() == 1, "{line}");
    let domain = Space::image(1, 20, 24);
    let operator = Convolution::superresolution(domain, 4, 1.0, 2, Boundary::Periodic).unwrap();
    let (x, y) = (image("x", domain), image("y", operator.range()));
    let mut tv = TvPrimalDual::new(&operator, &y, 0.05, 1e-4, &x).unwrap();
    let state = training(Kind::Float, 0.01, None).save().unwrap();
    assert!(tv.restore(state).unwrap_err().to_string().contains("no tensor x"));
}
