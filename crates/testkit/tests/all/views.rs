//! Every map of the registry gives the same for a contiguous tensor and for views of other strides; a broken twin does not.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::{Result, Seed};
use smalti_flows::{Bijection, Mapped, Precision};
use smalti_operators::{Curve, Detector, FanBeam, Fbp, Filter, Geometry, Operator, ParallelBeam, Pixels};
use smalti_priors::Regularizer;
use smalti_testkit::registry::{flows, images, likelihoods, operators, priors, stochastic, wasserstein};
use smalti_testkit::{Violation, broken, laws, rejected};
use tch::{Kind, Tensor};

const KINDS: [Kind; 2] = [Kind::Double, Kind::Float];

fn draw(purpose: &str, shape: &[i64]) -> Tensor {
    Seed::new(52).at(purpose, 0).uniform(shape).to_kind(Kind::Double)
}

/// All that breaks the law, so that one run tells of everything.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn hold(&mut self, law: std::result::Result<(), Violation>) {
        self.0.extend(law.err().map(|violation| violation.to_string()));
    }

    /// The law for both directions of a flow, in data and in conditions.
    fn hold_flow(&mut self, name: &str, flow: &dyn Bijection, x: &Tensor, cond: Option<&Tensor>) {
        let all = |mapped: Mapped| vec![mapped.value, mapped.log_det];
        let z = flow.to_latent(x, cond).unwrap().value.detach().contiguous();
        self.hold(laws::views(&format!("{name}, to latent"), x, |x| flow.to_latent(x, cond).map(all)));
        self.hold(laws::views(&format!("{name}, to data"), &z, |z| flow.to_data(z, cond).map(all)));
        if let Some(y) = cond {
            let (latent, data) = (format!("{name}, to latent, y"), format!("{name}, to data, y"));
            self.hold(laws::views(&latent, y, |y| flow.to_latent(x, Some(y)).map(all)));
            self.hold(laws::views(&data, y, |y| flow.to_data(&z, Some(y)).map(all)));
        }
    }

    fn hold_regularizer(&mut self, name: &str, prior: &dyn Regularizer, x: &Tensor) {
        self.hold(laws::views(name, x, |x| {
            let (value, gradient) = prior.value_and_grad(x)?;
            Ok(vec![Tensor::from(prior.value(x)?), Tensor::from(value), gradient])
        }));
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{:#?}", self.0);
        }
    }
}

#[test]
fn operators_look_at_values() {
    let mut broken = Broken::default();
    for named in operators::operators().unwrap() {
        let (name, f) = (named.name, named.subject);
        for kind in KINDS {
            let x = draw("x", &f.domain().batch(2)).to_kind(kind);
            let v = draw("v", &f.range().batch(2)).to_kind(kind);
            broken.hold(laws::views(&format!("{name}, {kind:?}, apply"), &x, |x| Ok(vec![f.apply(x)?])));
            broken.hold(laws::views(&format!("{name}, {kind:?}, vjp at x"), &x, |x| Ok(vec![f.vjp(x, &v)?])));
            broken.hold(laws::views(&format!("{name}, {kind:?}, vjp of v"), &v, |v| Ok(vec![f.vjp(&x, v)?])));
        }
    }
    let pyramids = wasserstein::pyramids().unwrap();
    let linear = operators::linear_operators()
        .unwrap()
        .into_iter()
        .chain(priors::extractions().unwrap())
        .chain(pyramids);
    for named in linear {
        let (name, a) = (named.name, named.subject);
        for kind in KINDS {
            let (x, v) = (draw("x", &a.domain().batch(2)), draw("v", &a.range().batch(2)));
            let (x, v) = (x.to_kind(kind), v.to_kind(kind));
            broken.hold(laws::views(&format!("{name}, {kind:?}, apply"), &x, |x| Ok(vec![a.apply(x)?])));
            broken.hold(laws::views(&format!("{name}, {kind:?}, adjoint"), &v, |v| Ok(vec![a.adjoint(v)?])));
        }
    }
}

/// Slices of a scan may share their memory, too.
#[test]
fn filtered_back_projections_look_at_values() {
    let mut broken = Broken::default();
    let pixels = Pixels { rows: 12, columns: 15, size: 0.01 };
    let turn: Vec<f64> = (0..24).map(|k| f64::from(k) * 0.2618).collect();
    // Whole and truncated projections, the axis aside, and a fan.
    let parallel = |count, offset| {
        let detector = Detector { count, spacing: 0.01, offset };
        Geometry::from(ParallelBeam::new(turn.clone(), pixels, detector).unwrap())
    };
    let detector = Detector::centred(30, 0.014);
    let fan = FanBeam::new(turn.clone(), pixels, detector, Curve::Curved, [0.3, 0.2]).unwrap();
    for beam in [parallel(24, 0.0), parallel(16, 0.0), parallel(18, 0.05), fan.into()] {
        let y = draw("y", &[2, 1, 24, beam.detector().count as i64]);
        let fbp = Fbp::new(beam.clone(), Filter::Hann, 0.8).unwrap();
        for kind in KINDS {
            let name = format!("filtered back projection, {kind:?}, {:?}", beam.detector());
            broken.hold(laws::views(&name, &y.to_kind(kind), |y| Ok(vec![fbp.apply(y)?])));
        }
    }
}

#[test]
fn operators_that_ignore_strides_are_rejected() {
    for named in operators::linear_operators().unwrap() {
        let (name, twin) = (named.name, broken::IgnoredStrides(named.subject));
        let law = laws::views(&name, &draw("x", &twin.domain().batch(2)), |x| Ok(vec![twin.apply(x)?]));
        let said = "every second column of a wider tensor differs";
        rejected(law, "values behind any strides", said, 0.1..=2.0);
    }
}

#[test]
fn likelihoods_look_at_values() {
    let mut broken = Broken::default();
    for case in likelihoods::likelihoods().unwrap() {
        let (name, likelihood) = (case.likelihood.name, case.likelihood.subject);
        for kind in KINDS {
            let (u, y) = (case.u.to_kind(kind), case.y.to_kind(kind));
            let all = |u: &Tensor, y: &Tensor| -> Result<Vec<Tensor>> {
                let (value, gradient) = likelihood.value_and_grad(u, y)?;
                Ok(vec![likelihood.nll(u, y)?, likelihood.grad(u, y)?, value, gradient])
            };
            broken.hold(laws::views(&format!("{name}, {kind:?}, u"), &u, |u| all(u, &y)));
            broken.hold(laws::views(&format!("{name}, {kind:?}, y"), &y, |y| all(&u, y)));
        }
    }
}

#[test]
fn flows_look_at_values() {
    let mut broken = Broken::default();
    for case in flows::layers().unwrap() {
        let mut layer = case.layer.subject;
        for kind in KINDS {
            for parameter in layer.parameters_mut() {
                *parameter = parameter.to_kind(kind);
            }
            layer.refresh().unwrap();
            let flow = flows::Plain(layer);
            broken.hold_flow(
                &format!("{}, {kind:?}", case.layer.name),
                &flow,
                &case.batch.to_kind(kind),
                None,
            );
            layer = flow.0;
        }
    }
    for precision in [Precision::Full, Precision::Bf16] {
        let mut flow = flows::patchnr(3, 2).unwrap();
        flow.to(tch::Device::Cpu, Kind::Float).unwrap();
        flow.set_precision(precision).unwrap();
        let x = draw("patches", &[6, 9]).to_kind(Kind::Float);
        broken.hold_flow(&format!("patchNR, {precision:?}"), &flow, &x, None);
    }
    for case in stochastic::conditional_layers().unwrap() {
        let mut layer = case.layer.subject;
        for kind in KINDS {
            for parameter in layer.parameters_mut() {
                *parameter = parameter.to_kind(kind);
            }
            let (x, y) = (case.batch.to_kind(kind), case.condition.to_kind(kind));
            let name = format!("{}, {kind:?}", case.layer.name);
            broken.hold_flow(&name, layer.as_ref(), &x, Some(&y));
        }
    }
    for case in images::image_layers().unwrap() {
        broken.hold_flow(&case.layer.name, case.layer.subject.as_ref(), &case.batch, case.cond.as_ref());
    }
    for case in images::consistency().unwrap() {
        broken.hold_flow(&case.layer.name, case.layer.subject.as_ref(), &case.batch, Some(&case.cond));
    }
    for factor in [2, 4] {
        let (flow, z, y) = images::wppflow(factor).unwrap();
        let x = flow.to_data(&z, Some(&y)).unwrap().value.detach();
        broken.hold_flow(&format!("WPPFlow x{factor}"), &flow, &x, Some(&y));
    }
}

/// The failure that gave rise to this law, with its own numbers.
#[test]
fn a_coupling_takes_expanded_rows() {
    let clamp = smalti_flows::SoftClamp::new(smalti_flows::ClampForm::AlphaAtan, 1.6).unwrap();
    let stream = &mut Seed::new(1).at("weights", 0);
    let coupling = smalti_flows::Coupling::new(8, &[16], clamp, stream).unwrap();
    let x = draw("row", &[1, 8]).to_kind(Kind::Float);
    let twice = coupling.to_latent(&x.expand([2, 8], false), None).unwrap();
    let expected = coupling.to_latent(&x.repeat([2, 1]), None).unwrap();
    assert!(twice.value.equal(&expected.value) && twice.log_det.equal(&expected.log_det));
}

#[test]
fn densities_look_at_values() {
    let mut broken = Broken::default();
    for density in priors::densities().unwrap() {
        let (name, density) = (density.name, density.subject);
        let patches = draw("patches", &[12, density.dim()]);
        broken.hold(laws::views(&name, &patches, |x| {
            let (nll, gradient) = density.nll_and_grad(x)?;
            Ok(vec![density.nll(x)?, nll, gradient])
        }));
    }
}

#[test]
fn regularizers_look_at_values() {
    let mut broken = Broken::default();
    let others = [wasserstein::Search::Kernels, wasserstein::Search::Tensors]
        .into_iter()
        .flat_map(|search| wasserstein::at_fixed_potentials(search).unwrap());
    let all = priors::regularizers()
        .unwrap()
        .into_iter()
        .chain(others)
        .chain(wasserstein::sinkhorn_of_samples().unwrap());
    for (prior, domain, _) in all {
        broken.hold_regularizer(&prior.name, prior.subject.as_ref(), &draw("image", &domain.batch(1)));
    }
}
