//! Layers on images and conditional flows obey the laws, and their broken twins are rejected.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::{Error, Result, Seed};
use smalti_flows::{Bijection, ImageLayer, PulledBack, WppFlow};
use smalti_testkit::broken::{BrokenImageLayer, FlippedLogDet, InexactInverse, Mistake, SummedLogDet};
use smalti_testkit::registry::images::{consistency, image_layers, wppflow};
use smalti_testkit::{Violation, laws, rejected};
use tch::{Kind, Tensor};

fn seed() -> Seed {
    Seed::new(51)
}

fn named(parameters: Vec<(String, &Tensor)>) -> Vec<(String, Tensor)> {
    parameters.into_iter().map(|(name, t)| (name, t.shallow_clone())).collect()
}

fn recomputed(
    name: &str,
    layer: &dyn ImageLayer,
    x: &Tensor,
    cond: Option<&Tensor>,
) -> Result<(), Violation> {
    let z = &layer.to_latent(x, cond).unwrap().value.detach();
    let parameters = named(layer.parameters());
    let pull_back = |g: &Tensor, c: f64| layer.pull_back(z, cond, g, c);
    laws::recomputation(name, layer, &parameters, (z, cond), 1e-10, seed(), pull_back)
}

#[test]
fn layers_are_bijections_with_these_log_determinants() {
    for case in image_layers().unwrap() {
        let (name, x, cond) = (case.layer.name, case.batch, case.cond.as_ref());
        let flow: Box<dyn Bijection> = case.layer.subject;
        laws::inverse(&name, flow.as_ref(), &x, cond, 1e-9, seed()).unwrap();
        laws::log_det(&name, flow.as_ref(), &x, cond, 1e-9, seed()).unwrap();
        laws::bijection_rows(&name, flow.as_ref(), &x, cond, seed()).unwrap();
    }
}

#[test]
fn layers_recompute_the_gradients_of_autograd() {
    for case in image_layers().unwrap() {
        recomputed(&case.layer.name, case.layer.subject.as_ref(), &case.batch, case.cond.as_ref()).unwrap();
    }
}

#[test]
fn conditions_matter() {
    for case in image_layers().unwrap() {
        let layer = case.layer.subject;
        assert_eq!(layer.conditional(), case.cond.is_some());
        let Some(cond) = &case.cond else { continue };
        let value = |cond: &Tensor| layer.to_latent(&case.batch, Some(cond)).unwrap().value;
        assert!((value(cond) - value(&(cond + 0.1))).abs().max().double_value(&[]) > 1e-4);
        let refused = |cond: Option<&Tensor>| match layer.to_latent(&case.batch, cond) {
            Err(Error::Shape { what, .. } | Error::Value { what, .. }) => what,
            other => panic!("{}: {:?}", case.layer.name, other.err()),
        };
        for cond in [None, Some(&cond.narrow(3, 0, 1))] {
            assert!(refused(cond).contains("condition"), "{}: {}", case.layer.name, refused(cond));
        }
    }
}

/// [`WppFlow::pull_back`] from the pass at `z`, parameter by parameter.
fn pulled(flow: &WppFlow, z: &Tensor, y: &Tensor, g: &Tensor, c: f64) -> Result<PulledBack> {
    let gradient = flow.pull_back(&flow.pass(z, y)?, g, c)?;
    let mut at = 0;
    let cut = |(_, t): &(String, &Tensor)| {
        let n = t.numel() as i64;
        at += n;
        gradient.weights.narrow(0, at - n, n).reshape(t.size())
    };
    Ok(PulledBack { weights: flow.parameters().iter().map(cut).collect(), latent: gradient.latent })
}

#[test]
fn wppflows_obey_all_laws() {
    for factor in [2, 4, 8] {
        let (flow, z, y) = wppflow(factor).unwrap();
        let name = format!("WPPFlow x{factor}");
        let cond = Some(&y);
        laws::inverse(&name, &flow, &z, cond, 1e-8, seed()).unwrap();
        if factor < 8 {
            laws::log_det(&name, &flow, &z, cond, 1e-8, seed()).unwrap();
        }
        laws::bijection_rows(&name, &flow, &z, cond, seed()).unwrap();
        let parameters = named(flow.parameters());
        laws::recomputation(&name, &flow, &parameters, (&z, cond), 1e-9, seed(), |g, c| {
            pulled(&flow, &z, &y, g, c)
        })
        .unwrap();
        laws::trainable(&name, &parameters, || {
            let mapped = flow.to_data(&z, cond)?;
            Ok(mapped.value.square().sum(Kind::Double) - mapped.log_det.sum(Kind::Double))
        })
        .unwrap();
    }
}

#[test]
fn data_consistency_obeys_the_laws_and_its_twins_do_not() {
    for (k, case) in consistency().unwrap().into_iter().enumerate() {
        let again = || consistency().unwrap().swap_remove(k).layer.subject;
        let (name, layer, x, cond) = (&case.layer.name, &case.layer.subject, &case.batch, Some(&case.cond));
        laws::inverse(name, layer.as_ref(), x, cond, 1e-9, seed()).unwrap();
        laws::log_det(name, layer.as_ref(), x, cond, 1e-8, seed()).unwrap();
        laws::bijection_rows(name, layer.as_ref(), x, cond, seed()).unwrap();
        let law = laws::inverse(name, &InexactInverse(again()), x, cond, 1e-9, seed());
        rejected(law, "the inverse", "T(T^-1(x)) from its start", 1e-4..1.01e-3);
        let law = laws::log_det(name, &FlippedLogDet(again()), x, cond, 1e-8, seed());
        rejected(law, "the log-determinant", "data to latent, log_det", 1.99..2.01);
        let law = laws::bijection_rows(name, &SummedLogDet(again()), x, cond, seed());
        rejected(law, "separate elements", "data to latent, log_det depends on the batch", 0.1..10.0);
    }
}

#[test]
fn broken_twins_are_rejected() {
    for (k, case) in image_layers().unwrap().into_iter().enumerate() {
        let again = || image_layers().unwrap().swap_remove(k).layer.subject;
        let bijection = || -> Box<dyn Bijection> { again() };
        let (name, x, cond) = (&case.layer.name, &case.batch, case.cond.as_ref());
        let law = laws::inverse(name, &InexactInverse(bijection()), x, cond, 1e-9, seed());
        rejected(law, "the inverse", "T(T^-1(x)) from its start", 1e-4..1.01e-3);
        let mut mistakes = vec![Mistake::ScaledInput];
        if case.changes_volume() {
            let law = laws::log_det(name, &FlippedLogDet(bijection()), x, cond, 1e-9, seed());
            rejected(law, "the log-determinant", "data to latent, log_det", 0.1..2.01);
            let law = laws::bijection_rows(name, &SummedLogDet(bijection()), x, cond, seed());
            rejected(law, "separate elements", "data to latent, log_det depends on the batch", 1e-2..10.0);
            mistakes.extend([Mistake::ScaledParameter, Mistake::NoLogDet]);
        }
        for mistake in mistakes {
            let twin = BrokenImageLayer { layer: again(), mistake };
            let last =
                case.layer.subject.parameters().last().map(|(name, _)| name.clone()).unwrap_or_default();
            let (said, sizes) = match mistake {
                Mistake::ScaledInput => ("in the latent".to_owned(), 0.0099..0.0101),
                Mistake::ScaledParameter => (format!("in {last}"), 0.0099..0.0101),
                Mistake::NoLogDet => (String::new(), 1e-4..2.0),
            };
            let said = format!("relative error of the gradient {said}");
            rejected(recomputed(name, &twin, x, cond), "the recomputed gradients", &said, sizes);
        }
    }
    let (flow, z, y) = wppflow(2).unwrap();
    let cond = Some(&y);
    let boxed = || -> Box<dyn Bijection> { Box::new(wppflow(2).unwrap().0) };
    let law = laws::inverse("twin", &InexactInverse(boxed()), &z, cond, 1e-8, seed());
    rejected(law, "the inverse", "T(T^-1(x)) from its start", 1e-4..1.01e-3);
    let law = laws::log_det("twin", &FlippedLogDet(boxed()), &z, cond, 1e-8, seed());
    rejected(law, "the log-determinant", "data to latent, log_det", 0.1..2.01);
    let law = laws::bijection_rows("twin", &SummedLogDet(boxed()), &z, cond, seed());
    rejected(law, "separate elements", "data to latent, log_det depends on the batch", 1e-2..10.0);
    let parameters = named(flow.parameters());
    // Run again at other latents, under another condition, or without the log-determinant.
    let other = &z + 0.01;
    let law = |at: &Tensor, y: &Tensor, weight: f64| {
        laws::recomputation("twin", &flow, &parameters, (&z, cond), 1e-9, seed(), |g, c| {
            pulled(&flow, at, y, g, weight * c)
        })
    };
    law(&z, &y, 1.0).unwrap();
    let wrong =
        |law| rejected(law, "the recomputed gradients", "relative error of the gradient in", 1e-4..2.0);
    wrong(law(&other, &y, 1.0));
    wrong(law(&z, &(&y + 0.01), 1.0));
    wrong(law(&z, &y, 0.0));
}
