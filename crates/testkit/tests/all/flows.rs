//! Every flow layer and flow obeys the laws, and its broken twins are rejected.

use smalti_base::Seed;
use smalti_flows::{Bijection, Layer};
use smalti_testkit::broken::{BrokenLayer, FlippedLogDet, InexactInverse, Mistake, SummedLogDet};
use smalti_testkit::registry::flows::{layers, patchnr, planar_flows};
use smalti_testkit::{laws, rejected};
use tch::Kind;

fn seed() -> Seed {
    Seed::new(41)
}

/// The bijection in a boxed layer.
struct Plain(Box<dyn Layer>);

impl Bijection for Plain {
    fn to_latent(
        &self,
        x: &tch::Tensor,
        cond: Option<&tch::Tensor>,
    ) -> smalti_base::Result<smalti_flows::Mapped> {
        self.0.to_latent(x, cond)
    }
    fn to_data(
        &self,
        z: &tch::Tensor,
        cond: Option<&tch::Tensor>,
    ) -> smalti_base::Result<smalti_flows::Mapped> {
        self.0.to_data(z, cond)
    }
}

#[test]
fn layers_are_bijections_with_these_log_determinants() {
    for case in layers().unwrap() {
        let (name, x) = (case.layer.name, case.batch);
        let flow = Plain(case.layer.subject);
        laws::inverse(&name, &flow, &x, None, 1e-9, seed()).unwrap();
        laws::log_det(&name, &flow, &x, None, 1e-9, seed()).unwrap();
        laws::bijection_rows(&name, &flow, &x, None, seed()).unwrap();
    }
}

#[test]
fn layers_have_the_gradients_of_autograd() {
    for mut case in layers().unwrap() {
        laws::pull_back(&case.layer.name, case.layer.subject.as_mut(), &case.batch, 1e-10, seed()).unwrap();
    }
    let mut flow = patchnr(3, 2).unwrap();
    let x = seed().at("patches", 0).uniform(&[6, 9]).to_kind(Kind::Double);
    laws::pull_back("patchNR", flow.layers_mut(), &x, 1e-10, seed()).unwrap();
}

#[test]
fn the_whole_flow_is_a_bijection() {
    let plain = || -> Box<dyn Bijection> { Box::new(patchnr(3, 2).unwrap()) };
    let x = seed().at("patches", 0).uniform(&[6, 9]).to_kind(Kind::Double);
    laws::inverse("patchNR", plain().as_ref(), &x, None, 1e-9, seed()).unwrap();
    laws::log_det("patchNR", plain().as_ref(), &x, None, 1e-9, seed()).unwrap();
    laws::bijection_rows("patchNR", plain().as_ref(), &x, None, seed()).unwrap();
    let law = laws::inverse("patchNR", &InexactInverse(plain()), &x, None, 1e-9, seed());
    rejected(law, "the inverse", "T(T^-1(x)) from its start", 0.99e-3..1.01e-3);
    let law = laws::log_det("patchNR", &FlippedLogDet(plain()), &x, None, 1e-9, seed());
    rejected(law, "the log-determinant", "data to latent, log_det", 0.1..2.01);
    let law = laws::bijection_rows("patchNR", &SummedLogDet(plain()), &x, None, seed());
    rejected(law, "separate elements", "data to latent, log_det depends on the batch", 1e-2..10.0);
}

#[test]
fn every_parameter_is_trained() {
    let flow = patchnr(3, 2).unwrap();
    let x = seed().at("patches", 0).uniform(&[40, 9]).to_kind(Kind::Double);
    let parameters: Vec<(String, tch::Tensor)> =
        flow.parameters().into_iter().map(|(name, p)| (name, p.set_requires_grad(true))).collect();
    laws::trainable("patchNR", &parameters, || {
        let mapped = flow.to_latent(&x, None)?;
        Ok(mapped.value.square().sum(Kind::Double) * 0.5 - mapped.log_det.sum(Kind::Double))
    })
    .unwrap();
}

#[test]
fn densities_of_planar_flows_integrate_to_one() {
    for flow in planar_flows().unwrap() {
        laws::flow_integrates(&flow.name, flow.subject.as_ref(), 500, 5e-3).unwrap();
    }
}

#[test]
fn broken_twins_are_rejected() {
    for (k, case) in layers().unwrap().into_iter().enumerate() {
        let again = || Box::new(Plain(layers().unwrap().swap_remove(k).layer.subject));
        let (name, x) = (&case.layer.name, &case.batch);
        // 1e-3 of the largest value of a normal batch.
        let law = laws::inverse(name, &InexactInverse(again()), x, None, 1e-9, seed());
        rejected(law, "the inverse", "T(T^-1(x)) from its start", 1e-4..1.01e-3);
        // Without a log-determinant there is none to get wrong.
        let parametrised = !case.layer.subject.parameters().is_empty() && name != "actnorm, identity";
        if parametrised {
            let law = laws::log_det(name, &FlippedLogDet(again()), x, None, 1e-9, seed());
            rejected(law, "the log-determinant", "data to latent, log_det", 0.1..2.01);
            let law = laws::bijection_rows(name, &SummedLogDet(again()), x, None, seed());
            rejected(law, "separate elements", "data to latent, log_det depends on the batch", 1e-2..10.0);
        }
        let mut mistakes = vec![Mistake::ScaledInput];
        if parametrised {
            mistakes.extend([Mistake::ScaledParameter, Mistake::NoLogDet]);
        }
        for mistake in mistakes {
            let layer = layers().unwrap().swap_remove(k).layer.subject;
            let last = layer.parameters().last().map(|(name, _)| name.clone()).unwrap_or_default();
            let mut twin = BrokenLayer { layer, mistake };
            let law = laws::pull_back(name, &mut twin, x, 1e-10, seed());
            let (said, sizes) = match mistake {
                Mistake::ScaledInput => ("in the input".to_owned(), 0.0099..0.0101),
                Mistake::ScaledParameter => (format!("in {last}"), 0.0099..0.0101),
                Mistake::NoLogDet => (String::new(), 1e-4..2.0),
            };
            rejected(law, "the analytic gradients", &format!("relative error of the gradient {said}"), sizes);
        }
    }
    for (k, flow) in planar_flows().unwrap().into_iter().enumerate() {
        let twin = FlippedLogDet(planar_flows().unwrap().swap_remove(k).subject);
        let law = laws::flow_integrates(&flow.name, &twin, 500, 5e-3);
        rejected(law, "the unit integral", "the density integrates to", 2e-2..1e3);
    }
}
