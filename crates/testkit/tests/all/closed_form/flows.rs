//! The laws of bijections accept flows known in closed form and reject their broken twins.

use super::reference::{Conditional, Curved};
use smalti_base::Seed;
use smalti_flows::Bijection;
use smalti_testkit::{broken, laws, rejected};
use tch::{Kind, Tensor};

fn seed() -> Seed {
    Seed::new(77)
}

fn batch(shape: &[i64]) -> Tensor {
    seed().at("batch", 0).normal(shape).to_kind(Kind::Double)
}

fn curved() -> Box<dyn Bijection> {
    Box::new(Curved::new(5))
}

#[test]
fn a_curved_map_obeys_every_law() {
    let (flow, x) = (Curved::new(5), batch(&[4, 5]));
    laws::inverse("curved", &flow, &x, None, 1e-10, seed()).unwrap();
    laws::log_det("curved", &flow, &x, None, 1e-9, seed()).unwrap();
    laws::bijection_rows("curved", &flow, &x, None, seed()).unwrap();
    laws::flow_integrates("curved", &Curved::new(2), 400, 1e-3).unwrap();
}

#[test]
fn a_conditional_map_of_images_obeys_every_law() {
    let (x, cond) = (batch(&[3, 2, 2, 3]), batch(&[3, 2, 2, 3]).flip([0]));
    laws::inverse("conditional", &Conditional, &x, Some(&cond), 1e-10, seed()).unwrap();
    laws::log_det("conditional", &Conditional, &x, Some(&cond), 1e-9, seed()).unwrap();
    laws::bijection_rows("conditional", &Conditional, &x, Some(&cond), seed()).unwrap();
    laws::flow_integrates("unconditional", &Conditional, 300, 1e-6).unwrap();
}

#[test]
fn a_flipped_log_det_is_rejected() {
    let (twin, x) = (broken::FlippedLogDet(curved()), batch(&[4, 5]));
    let law = laws::log_det("flipped", &twin, &x, None, 1e-9, seed());
    rejected(law, "the log-determinant", "data to latent, log_det", 1.99..2.01);
    let twin = broken::FlippedLogDet(Box::new(Curved::new(2)));
    let law = laws::flow_integrates("flipped", &twin, 400, 1e-3);
    rejected(law, "the unit integral", "the density integrates to", 0.1..1e3);
    // Both directions are flipped, so they still cancel: only the Jacobian shows it.
    laws::inverse("flipped", &broken::FlippedLogDet(curved()), &x, None, 1e-10, seed()).unwrap();
}

#[test]
fn an_inexact_inverse_is_rejected() {
    let twin = broken::InexactInverse(curved());
    let law = laws::inverse("inexact", &twin, &batch(&[4, 5]), None, 1e-10, seed());
    rejected(law, "the inverse", "T(T^-1(x)) from its start", 1e-4..1.01e-3);
}

#[test]
fn a_log_det_of_the_whole_batch_is_rejected() {
    let (twin, x) = (broken::SummedLogDet(curved()), batch(&[4, 5]));
    let law = laws::log_det("summed", &twin, &x, None, 1e-9, seed());
    rejected(law, "the log-determinant", "data to latent, log_det", 1.0..10.0);
    let law = laws::bijection_rows("summed", &twin, &x, None, seed());
    rejected(law, "separate elements", "data to latent, log_det depends on the batch", 0.1..10.0);
}

#[test]
fn parameters_without_a_gradient_are_named() {
    let parameter = |value: f64| Tensor::from_slice(&[value]).set_requires_grad(true);
    let (trained, detached) = (parameter(1.0), parameter(2.0));
    let named = |name: &str, t: &Tensor| (name.to_owned(), t.shallow_clone());
    let both = [named("scale", &trained), named("forgotten", &detached)];
    laws::trainable("a product", &both, || Ok(&trained * &detached)).unwrap();
    let law = laws::trainable("a product", &both, || Ok(&trained * detached.detach()));
    rejected(law, "trained parameters", "forgotten has gradient 0e0", 1.0..=1.0);
    let law = laws::trainable("nothing", &[], || Ok(trained.shallow_clone()));
    rejected(law, "trained parameters", "there are no parameters", 1.0..=1.0);
}
