//! Solvers on volumes `[1, C, D, H, W]`: what they give on images, with one axis more; what takes images only says so.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::measures::{largest, lengths, sum};
use smalti_base::{Error, Result, Seed, Space};
use smalti_flows::{ClampForm, PatchNr, PatchNrShape, Precision, SoftClamp};
use smalti_operators::{
    Boundary, Gaussian, Gradient, Identity, LinearOperator, Operator, PixelGrid, VolumeConvolution,
    interpolate,
};
use smalti_priors::wpp::{DualMethod, ReferencePatches, WassersteinPatchPrior, WppSettings};
use smalti_priors::{PatchPrior, Patches, Reflected, Regularizer, Sampling};
use smalti_solvers::langevin::{Langevin, LangevinScheme, LangevinSettings, Preconditioner, overdispersed};
use smalti_solvers::{
    AdamSettings, Dip, DipSettings, Iteration, Map, Margin, Objective, PatchNrTraining,
    PatchNrTrainingSettings, RunControl, Schedule, TvPrimalDual, UNetSettings, run,
};
use tch::{Device, Kind, Tensor};

fn draw(name: &str, space: Space) -> Tensor {
    Seed::new(6).at(name, 0).uniform(&space.batch(1)).to_kind(Kind::Double)
}

/// L2-TV, and the dual variable of the gradient.
fn denoised(y: &Tensor, alpha: f64) -> (Tensor, Tensor) {
    tch::set_num_threads(1);
    let identity = Identity::new(Space::of("y", y).unwrap());
    let mut tv = TvPrimalDual::new(&identity, y, alpha, 1e-6, &y.zeros_like()).unwrap();
    run(&mut tv, 20_000, &RunControl::default()).unwrap();
    let q = tv.save().unwrap().tensors.remove("q").unwrap();
    (tv.finish().unwrap(), q)
}

#[test]
fn total_variation_closes_its_duality_gap_on_volumes() {
    let space = Space::volume(1, 7, 10, 9);
    let (y, alpha) = (draw("noise", space), 0.05);
    let (x, q) = denoised(&y, alpha);
    let d = Gradient::new(space);
    let of_axes = |g: &Tensor| g.reshape([3, 7, 10, 9]).square().sum_dim_intlist(0i64, false, None::<Kind>);
    assert!(of_axes(&q).sqrt().max().double_value(&[]) <= alpha * (1.0 + 1e-12));
    let dual = sum(&(&q * d.apply(&y).unwrap())) - 0.5 * sum(&d.adjoint(&q).unwrap().square());
    let tv = sum(&of_axes(&d.apply(&x).unwrap()).sqrt());
    let primal = 0.5 * sum(&(&x - &y).square()) + alpha * tv;
    let gap = (primal - dual) / primal;
    assert!((-1e-12..1e-4).contains(&gap), "{gap}");
}

/// Where all slices are the same nothing changes from slice to slice: each is what it is as an image.
#[test]
fn total_variation_of_equal_slices_is_that_of_one() {
    let y = draw("slice", Space::image(1, 14, 11));
    let (image, q) = denoised(&y, 0.1);
    assert!(largest(&lengths(&q)) > 0.09, "edges are smoothed");
    let volume = denoised(&y.unsqueeze(2).repeat([1, 1, 5, 1, 1]), 0.1).0;
    let error = largest(&(volume - image.unsqueeze(2)));
    assert!(error < 1e-4, "{error}");
}

/// White noise of standard deviation 0.15, correlated along each axis, around 0.5.
fn texture(name: &str, side: i64) -> Tensor {
    let k = Tensor::from_slice(&KERNEL).to_kind(Kind::Float);
    let kernel = k.reshape([-1, 1, 1]) * k.outer(&k);
    let blur = VolumeConvolution::new(Space::volume(1, side, side, side), &kernel, 1).unwrap();
    blur.apply(&(Seed::new(3).at(name, 0).normal(&blur.domain().batch(1)) * 0.15)).unwrap() + 0.5
}

const KERNEL: [f64; 2] = [1.0, 0.6];

fn flow() -> PatchNr {
    tch::set_num_threads(1);
    let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6).unwrap();
    PatchNr::new(
        PatchNrShape::default()
            .with_patch_size(2)
            .with_axes(3)
            .with_blocks(4)
            .with_hidden(24)
            .with_clamp(clamp),
        Seed::new(1),
    )
    .unwrap()
}

fn settings(steps: u64) -> PatchNrTrainingSettings {
    PatchNrTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, 0.01).with_schedule(Schedule::Cosine { warmup: 10 }))
        .with_batch(256)
        .with_validate_every(100)
        .with_validation_patches(4000)
}

fn trained(steps: u64) -> PatchNr {
    let (volume, validation) = (texture("training", 26), texture("validation", 24));
    let training = PatchNrTraining::new(flow(), &[volume], Some(&validation), settings(steps), Seed::new(2));
    let mut training = training.unwrap();
    run(&mut training, steps, &RunControl::default()).unwrap();
    training.finish().unwrap().flow
}

/// The least loss is `d/2 + log det(C)/2`, the entropy of the texture's cubes without the constant.
#[test]
fn a_flow_of_cubes_learns_a_volume_down_to_its_entropy() {
    let test = texture("test", 24);
    let all = Patches::all(Space::of("test", &test).unwrap(), 2).unwrap().rows(&test).unwrap();
    let loss = |flow: &PatchNr| flow.nll(&all).unwrap().mean(Kind::Double).double_value(&[]);
    let (same, next) = (KERNEL[0].powi(2) + KERNEL[1].powi(2), KERNEL[0] * KERNEL[1]);
    let axis = Tensor::from_slice(&[same, next, next, same]).reshape([2, 2]);
    let covariance = axis.kron(&axis).kron(&axis) * (0.15 * 0.15);
    let entropy = 4.0 + 0.5 * covariance.logdet().double_value(&[]);
    let (before, after) = (loss(&flow()), loss(&trained(500)));
    println!("{before:.3} -> {after:.3}, entropy {entropy:.3}");
    assert!(before > entropy + 2.0 && after < entropy + 0.25 && after > entropy - 0.25);
}

#[test]
fn training_refuses_what_has_other_axes() {
    let train = |image: &Tensor| {
        PatchNrTraining::new(flow(), &[image.shallow_clone()], None, settings(1), Seed::new(2)).err()
    };
    assert!(train(&texture("training", 9)).is_none());
    let line = train(&texture("training", 9).select(2, 0)).unwrap().to_string();
    assert!(line.contains("training image") && line.contains("3 axes"), "{line}");
    assert!(train(&texture("training", 9).repeat([1, 2, 1, 1, 1])).is_some(), "two channels");
}

/// Minimises with `prior` over volumes; the objective before and after, and the result.
fn minimised(
    operator: &dyn Operator,
    y: &Tensor,
    start: &Tensor,
    prior: &mut dyn Regularizer,
) -> (f64, f64, Tensor) {
    let likelihood = Gaussian::new(0.02).unwrap();
    let settings = AdamSettings::constant(60, 0.01).with_schedule(Schedule::Cosine { warmup: 0 });
    let problem = Objective { operator, likelihood: &likelihood, observation: y, prior, weight: 0.2 };
    let mut map = Map::new(problem, start, settings).unwrap();
    let first = map.step(0).unwrap().terms[0].1;
    run(&mut map, 60, &RunControl::default()).unwrap();
    let last = map.step(60).unwrap().terms[0].1;
    (first, last, map.finish().unwrap())
}

#[test]
fn map_takes_patch_priors_of_volumes_as_they_are() {
    let truth = texture("truth", 17);
    let space = Space::of("truth", &truth).unwrap();
    let a = VolumeConvolution::superresolution(space, 2, 1.0, 2).unwrap();
    let y = a.apply(&truth).unwrap();
    let start = interpolate(&y, a.grid(), space, Boundary::Valid).unwrap();
    let flow = trained(100);
    let mut patchnr = Reflected::new(space, 1, |extended| {
        PatchPrior::new(&flow, extended, Sampling::Grid(2), Seed::new(4))
    })
    .unwrap();
    let (first, last, _) = minimised(&a, &y, &start, &mut patchnr);
    assert!(last < first - 0.1, "patchNR: {first} {last}");

    let margin = Margin::new(&a, 2).unwrap();
    let wpp = WppSettings::default()
        .with_patch_size(3)
        .with_references(ReferencePatches::Random(300))
        .with_scales(1)
        .with_dual(DualMethod::Converge { gap: 1e-2, evaluations: 100 });
    let size = margin.domain().batch(1);
    let mut wpp =
        WassersteinPatchPrior::new(&size, &[&texture("reference", 17)], &wpp, Seed::new(5)).unwrap();
    let begin = margin.start(&start, Seed::new(6)).unwrap();
    let (first, last, x) = minimised(margin.operator(), &y, &begin, &mut wpp);
    assert!(last < 0.5 * first, "Wasserstein patch prior: {first} {last}");
    assert_eq!(margin.cut(&x).unwrap().size(), space.batch(1));
    // Images are no volumes of one slice.
    let map = |initial: &Tensor| {
        let problem = Objective {
            operator: &a,
            likelihood: &Gaussian::new(0.1).unwrap(),
            observation: &y,
            prior: &mut PatchPrior::new(&flow, space, Sampling::All, Seed::new(4)).unwrap(),
            weight: 1.0,
        };
        Map::new(problem, initial, AdamSettings::constant(1, 0.1)).err()
    };
    assert!(map(&start).is_none());
    assert!(matches!(map(&start.squeeze_dim(1)), Some(Error::Shape { .. })));
}

/// `R(x) = mean (x - 0.3)^2 / 2`.
struct Quadratic;

impl Regularizer for Quadratic {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(0.5 * (x - 0.3).square().mean(Kind::Double).double_value(&[]))
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value(x)?, (x - 0.3) / x.numel() as f64))
    }
}

#[test]
fn chains_and_preconditioners_take_volumes() {
    tch::set_num_threads(1);
    let space = Space::volume(1, 3, 4, 5);
    let (y, operator, likelihood) = (draw("y", space), Identity::new(space), Gaussian::new(0.1).unwrap());
    let settings = LangevinSettings::default()
        .with_scheme(LangevinScheme::Mala { target: Some(LangevinScheme::OPTIMAL_ACCEPTANCE) })
        .with_step_size(1e-2)
        .with_burn_in(300)
        .with_draws(1000)
        .with_thin(2)
        .with_keep(50)
        .with_pixels(Vec::new());
    let chains = |settings: LangevinSettings, preconditioner: Option<&Preconditioner>| {
        let mut prior = Quadratic;
        let problem = Objective {
            operator: &operator,
            likelihood: &likelihood,
            observation: &y,
            prior: &mut prior,
            weight: 20.0,
        };
        let starts = overdispersed(&y, 4, 0.1, Seed::new(2)).unwrap();
        let steps = settings.steps();
        let mut chains = Langevin::new(problem, &starts, settings, Seed::new(3))?;
        if let Some(preconditioner) = preconditioner {
            chains = chains.with_preconditioner(preconditioner)?;
        }
        run(&mut chains, steps, &RunControl::default())?;
        chains.finish()
    };
    // Precision 1 / 0.1^2 + 20 in every voxel.
    let expected = (&y * 100.0 + 20.0 * 0.3) / 120.0;
    let plain = chains(settings.clone(), None).unwrap();
    assert_eq!(plain.samples.size(), [4, 50, 1, 3, 4, 5]);
    let preconditioner = Preconditioner::estimated(&plain.pooled()).unwrap();
    let kept = Preconditioner::from_checkpoint(preconditioner.to_checkpoint(), space).unwrap();
    let faster = settings.clone().with_step_size(1.0);
    for found in [&plain, &chains(faster, Some(&kept)).unwrap()] {
        let error = largest(&(&found.mean - &expected));
        let variance = found.variance.mean(Kind::Double).double_value(&[]);
        assert!(error < 0.02 && (variance * 120.0 - 1.0).abs() < 0.1, "{error} {variance}");
        assert!(found.converged());
    }
    let line = chains(settings.with_pixels([[0, 1, 1]]), None).unwrap_err().to_string();
    assert!(line.contains("for volumes give none"), "{line}");
    assert!(Preconditioner::diagonal(&y).is_ok() && Preconditioner::diagonal(&y.get(0).get(0)).is_err());
}

#[test]
fn the_deep_image_prior_refuses_volumes() {
    let space = Space::volume(1, 32, 32, 32);
    let y = draw("y", space).to_kind(Kind::Float);
    let problem = Objective {
        operator: &Identity::new(space),
        likelihood: &Gaussian::new(0.1).unwrap(),
        observation: &y,
        prior: &mut Quadratic,
        weight: 1.0,
    };
    let net = UNetSettings::dip().with_channels([4; 2]);
    let settings = DipSettings::baguer_2020().with_net(net).with_precision(Precision::Full);
    let line = Dip::new(problem, settings, Seed::new(1)).err().unwrap().to_string();
    assert!(line.contains("deep image prior") && line.contains("images, [B, C, H, W]"), "{line}");
    assert_eq!(y.device(), Device::Cpu);
}
