//! Training of a critic: the penalty is differentiated through, noise is told from texture, a cancelled run goes on.
#![allow(clippy::unwrap_used)] // in helpers, too

use crate::pieces::in_pieces;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Boundary, Convolution, Operator};
use smalti_priors::{PatchCritic, PatchCriticShape, PatchDensity, Patches};
use smalti_solvers::{
    AdamSettings, CriticTraining, CriticTrainingSettings, Iteration, RunControl, TrainedCritic,
    gradient_penalty, run,
};
use tch::{Kind, Tensor};

/// The gradient in `w` of ten times the penalty of the critic `<w, x>`.
fn penalty_gradient(
    penalty: impl Fn(&dyn Fn(&Tensor) -> Result<Tensor>, &Tensor) -> Result<Tensor>,
) -> [Tensor; 2] {
    let w = (Seed::new(1).at("w", 0).normal(&[36]) * 0.3).to_kind(Kind::Double).set_requires_grad(true);
    let x = Seed::new(1).at("x", 0).uniform(&[8, 36]).to_kind(Kind::Double);
    let critic = |x: &Tensor| Ok(x.f_mv(&w)?);
    let loss = penalty(&critic, &x).unwrap() * 10.0;
    // A term that depends on w in any case, so that there is a gradient.
    let total = loss + w.sum(Kind::Double) * 0.0;
    let found = Tensor::run_backward(&[total], &[&w], false, false);
    let norm = w.detach().norm();
    [found[0].copy(), w.detach() * ((&norm - 1.0) * 20.0 / &norm)]
}

#[test]
fn the_penalty_of_a_linear_critic_has_its_gradient() {
    let [found, expected] = penalty_gradient(|critic, x| gradient_penalty(critic, x));
    assert!((&found - &expected).norm().double_value(&[]) < 1e-12 * expected.norm().double_value(&[]));
    // The gradient as a constant, as of a program that does not differentiate through it.
    let [found, expected] = penalty_gradient(|critic, x| {
        let x = x.detach().set_requires_grad(true);
        let gradient = Tensor::run_backward(&[critic(&x)?.sum(Kind::Double)], &[&x], true, false);
        Ok((gradient[0].norm_scalaropt_dim(2.0, 1i64, false) - 1.0).square().mean(Kind::Double))
    });
    assert_eq!(found.norm().double_value(&[]), 0.0);
    assert!(expected.norm().double_value(&[]) > 1.0);
}

fn critic() -> PatchCritic {
    tch::set_num_threads(1);
    PatchCritic::new(PatchCriticShape::default().with_widths([8, 16]), Seed::new(4)).unwrap()
}

/// Along its own gradient the penalty of a network grows as that says.
#[test]
fn the_penalty_of_a_network_has_its_gradient() {
    let critic = critic();
    let x = Seed::new(1).at("x", 0).uniform(&[4, 36]).to_kind(Kind::Double);
    let parameters: Vec<Tensor> = critic.parameters().into_iter().map(|(_, t)| t).collect();
    let penalty = || gradient_penalty(|x| critic.forward(x), &x).unwrap();
    let gradients = Tensor::run_backward(&[penalty()], &parameters, false, false);
    let length = gradients.iter().map(|g| g.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt();
    let moved = |h: f64| {
        tch::no_grad(|| {
            for (parameter, gradient) in parameters.iter().zip(&gradients) {
                let _ = parameter.shallow_clone().g_add_(&(gradient * (h / length)));
            }
        });
        penalty().double_value(&[])
    };
    // So small that hardly a rectifier changes its side, where the gradient of the network jumps.
    let h = 3e-5;
    let up = moved(h);
    let slope = (up - moved(-2.0 * h)) / (2.0 * h);
    assert!((slope / length - 1.0).abs() < 0.02, "{slope} {length}");
}

/// Noise, smoothed over a few pixels.
fn texture(name: &str, domain: Space) -> Tensor {
    let k = Tensor::from_slice(&[0.2, 0.5, 1.0, 0.5, 0.2]);
    let k = &k / k.sum(Kind::Double);
    let filter = Convolution::blur(domain, &k.outer(&k), Boundary::Periodic).unwrap();
    filter.apply(&(Seed::new(3).at(name, 0).normal(&domain.batch(1)) * 0.3)).unwrap() + 0.5
}

fn settings(steps: u64) -> CriticTrainingSettings {
    CriticTrainingSettings::default()
        .with_adam(AdamSettings::constant(steps, 1e-3))
        .with_batch(32)
        .with_validate_every(20)
        .with_validation_patches(300)
}

fn training(steps: u64, seed: u64) -> CriticTraining {
    let images = [texture("first", Space::image(1, 40, 44)), texture("second", Space::image(1, 30, 50))];
    let validation = texture("validation", Space::image(1, 32, 36));
    CriticTraining::new(critic(), &images, Some(&validation), settings(steps), Seed::new(seed)).unwrap()
}

fn trained(steps: u64) -> TrainedCritic {
    let mut training = training(steps, 5);
    run(&mut training, steps, &RunControl::default()).unwrap();
    training.finish().unwrap()
}

#[test]
fn a_critic_learns_to_tell_noise_from_texture() {
    let TrainedCritic { critic, curve } = trained(300);
    let losses: Vec<f64> = curve.iter().map(|point| point.validation.unwrap()).collect();
    assert_eq!((curve.len(), curve[0].step), (15, 20));
    assert!(losses[14] < 0.5 * losses[0], "{losses:?}");
    let image = texture("test", Space::image(1, 60, 60));
    let noisy = &image + Seed::new(6).at("noise", 0).normal(&image.size()) * 0.1;
    let r = |image: &Tensor| {
        let patches = Patches::all(Space::of("image", image).unwrap(), 6).unwrap().rows(image).unwrap();
        critic.nll(&patches).unwrap().mean(Kind::Double).double_value(&[])
    };
    assert!(r(&noisy) > r(&image), "{} {}", r(&noisy), r(&image));
    // The penalty keeps it from growing: gradients are about one.
    let patches = Patches::all(Space::of("image", &noisy).unwrap(), 6).unwrap().rows(&noisy).unwrap();
    let slopes = critic.nll_and_grad(&patches).unwrap().1.norm_scalaropt_dim(2.0, 1i64, false);
    let mean = slopes.mean(Kind::Double).double_value(&[]);
    assert!((0.3..1.5).contains(&mean), "{mean}");
}

#[test]
fn a_training_that_is_resumed_ends_with_the_same_bits() {
    let whole = in_pieces(50, &[], || training(50, 5)).0;
    let pieces = in_pieces(50, &[1, 20, 33], || training(50, 5)).0;
    let other = in_pieces(50, &[], || training(50, 6)).0;
    assert_eq!(pieces.critic.hash().unwrap(), whole.critic.hash().unwrap());
    assert_eq!(pieces.curve, whole.curve);
    assert_ne!(other.critic.hash().unwrap(), whole.critic.hash().unwrap());
    assert!(whole.critic.provenance["validation_loss"].parse::<f64>().unwrap().is_finite());
}

#[test]
fn colour_and_cubes() {
    for (domain, shape) in [
        (Space::image(3, 12, 14), PatchCriticShape::default().with_channels(3)),
        (Space::volume(1, 8, 9, 7), PatchCriticShape::default().with_axes(3).with_patch_size(5)),
    ] {
        let critic = PatchCritic::new(shape.with_widths([3, 4]), Seed::new(1)).unwrap();
        let before = critic.hash().unwrap();
        let image = Seed::new(2).at("image", 0).uniform(&domain.batch(1));
        let settings = settings(3).with_batch(4);
        let mut training = CriticTraining::new(critic, &[image], None, settings, Seed::new(3)).unwrap();
        run(&mut training, 3, &RunControl::default()).unwrap();
        assert_ne!(training.finish().unwrap().critic.hash().unwrap(), before);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let image = texture("first", Space::image(1, 40, 44));
    let refused = |images: &[Tensor], settings: CriticTrainingSettings| -> String {
        let error: Error = CriticTraining::new(critic(), images, None, settings, Seed::new(1)).unwrap_err();
        error.to_string()
    };
    let good = settings(5);
    let one = [image.shallow_clone()];
    assert!(refused(&[], good).starts_with("training images: expected at least 1"));
    assert!(refused(&[image.repeat([1, 3, 1, 1])], good).contains("[1, 1, ...] with 2 axes"));
    assert!(refused(&[&image / 0.0], good).contains("finite values"));
    assert!(refused(&one, good.with_batch(0)).starts_with("batch: expected at least 1"));
    assert!(refused(&one, good.with_penalty(-1.0)).starts_with("penalty on gradients"));
    assert!(refused(&one, good.with_damage((0.3, 0.1), 0.2)).starts_with("blur of damaged patches"));
    assert!(refused(&one, good.with_damage((0.1, 0.3), f64::NAN)).starts_with("noise of damaged patches"));
    assert!(refused(&one, good.with_betas((1.0, 0.9))).starts_with("beta of Adam"));
    assert!(refused(&one, good.with_adam(AdamSettings::constant(5, 0.0))).contains("rate"));
}
