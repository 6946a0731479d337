//! Every operator obeys every law of operators; each broken twin is rejected by the law it breaks.

use smalti_base::{Result, Seed, Space};
use smalti_operators::{
    Along, Boundary, Convolution, Curve, Detector, FanBeam, LinearOperator, Operator, OperatorAlgebra,
    Pixels, Radon, Stack,
};
use smalti_testkit::registry::operators::{blurs, linear_operators, operators};
use smalti_testkit::{Violation, broken, laws};
use tch::Tensor;

const SEED: u64 = 2024;

#[test]
fn every_operator_obeys_the_laws() {
    for (i, named) in operators().unwrap().into_iter().enumerate() {
        let (name, f, seed) = (&named.name, named.subject.as_ref(), Seed::new(SEED + i as u64));
        laws::range(name, f, seed).unwrap();
        laws::vjp(name, f, seed).unwrap();
        laws::dtype(name, f, seed).unwrap();
    }
}

#[test]
fn every_linear_operator_obeys_the_laws() {
    for (i, named) in linear_operators().unwrap().into_iter().enumerate() {
        let (name, a, seed) = (&named.name, named.subject.as_ref(), Seed::new(SEED + i as u64));
        laws::adjoint(name, a, seed).unwrap();
        laws::normal(name, a, seed).unwrap();
        laws::linearity(name, a, seed).unwrap();
    }
}

#[test]
fn every_closed_form_solves_the_normal_equation() {
    let mut exact = Vec::new();
    for (i, named) in linear_operators().unwrap().into_iter().enumerate() {
        if laws::resolvent(&named.name, named.subject.as_ref(), Seed::new(SEED + i as u64)).unwrap() {
            exact.push(named.name);
        }
    }
    // Periodic blurs, masks and identities, and no others.
    let expected =
        ["identity", "superresolution SiC x4, Periodic", "mask", "Fourier downsampling of 12 x 18 by 2"];
    assert!(expected.iter().all(|name| exact.iter().any(|known| known == name)), "{exact:?}");
    let others = ["Valid", "Reflect", "margin", "crop", "gradient", "beam", "Gaussian, stride", "single row"];
    assert!(exact.iter().all(|name| others.iter().all(|other| !name.contains(other))), "{exact:?}");
}

#[test]
fn every_blur_lies_on_its_grid() {
    for named in blurs().unwrap() {
        laws::grid(&named.name, named.subject.as_ref()).unwrap();
    }
}

/// `F(x) = x^2 + x`, to see that compositions follow the chain rule where it is not linear.
struct Parabola(Space);

impl Operator for Parabola {
    fn domain(&self) -> Space {
        self.0
    }
    fn range(&self) -> Space {
        self.0
    }
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.0.check("x", x)?;
        Ok(x.square() + x)
    }
    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        Ok((x * 2.0 + 1.0) * v)
    }
}

#[test]
fn nonlinear_operators_of_others_obey_the_laws() {
    let image = Space::image(2, 16, 20);
    let blur = || Convolution::superresolution(image, 6, 1.5, 2, Boundary::Periodic).unwrap();
    let low = blur().range();
    let before = Parabola(image).then(blur()).unwrap();
    let after: Box<dyn Operator> = Box::new(blur().then(Parabola(low)).unwrap());
    let thrice = (&after).then(Parabola(low)).unwrap();
    let sum = blur().plus((&before).scaled(0.6).unwrap()).unwrap();
    let stack = Stack::new([&before as &dyn Operator, &after, &sum], Along::Height).unwrap();
    for (name, f) in [
        ("parabola, then blur", &before as &dyn Operator),
        ("blur, then two parabolas", &thrice),
        ("blur plus a multiple of a parabola", &sum),
        ("three below each other", &stack),
    ] {
        laws::range(name, f, Seed::new(SEED)).unwrap();
        laws::vjp(name, f, Seed::new(SEED)).unwrap();
        laws::dtype(name, f, Seed::new(SEED)).unwrap();
        let law = laws::linearity(name, f, Seed::new(SEED));
        smalti_testkit::rejected(law, "linearity", "A(2x - 3y) from 2Ax - 3Ay", 0.1..2.0);
    }
}

/// Asserts that every linear operator, broken by `twin`, is rejected by `law`: see [`smalti_testkit::rejected`], of
/// which this lists all failures.
#[track_caller]
fn rejected<T>(
    (law_name, said): (&str, &str),
    sizes: std::ops::Range<f64>,
    twin: impl Fn(Box<dyn LinearOperator>) -> T,
    law: impl Fn(&str, &T) -> Result<(), Violation>,
) {
    let passed: Vec<String> = linear_operators()
        .into_iter()
        .flatten()
        .filter_map(|named| match law(&named.name, &twin(named.subject)) {
            Err(violation)
                if violation.law == law_name
                    && violation.detail.contains(said)
                    && sizes.contains(&violation.measured) =>
            {
                println!("{violation}");
                None
            }
            other => Some(format!("{}: {other:?}", named.name)),
        })
        .collect();
    assert!(passed.is_empty(), "not rejected by {law_name} ({said}) within {sizes:?}: {passed:#?}");
}

#[test]
fn scaled_adjoints_are_rejected_with_their_scale() {
    let law = |name: &str, a: &broken::ScaledAdjoint| laws::adjoint(name, a, Seed::new(SEED));
    rejected(("the adjoint", "fitted scale 0.990099010"), 1e-6..1.01e-2, broken::ScaledAdjoint, law);
}

#[test]
fn shifted_adjoints_are_rejected() {
    let law = |name: &str, a: &broken::ShiftedAdjoint| laws::adjoint(name, a, Seed::new(SEED));
    rejected(("the adjoint", "fitted scale"), 1e-6..2.0, broken::ShiftedAdjoint, law);
}

/// Fans that are brought back to a source a little further away, or as if their detector were flat.
#[test]
fn adjoints_of_other_fans_are_rejected() {
    let fan = |curve, source: f64| -> Box<dyn LinearOperator> {
        let pixels = Pixels { rows: 12, columns: 19, size: 0.01 };
        let angles = (0..11).map(|k| f64::from(k) * 0.6).collect();
        let detector = Detector { count: 31, spacing: 0.012, offset: 0.004 };
        Box::new(Radon::new(FanBeam::new(angles, pixels, detector, curve, [source, 0.1]).unwrap()))
    };
    for other in [fan(Curve::Flat, 0.303), fan(Curve::Curved, 0.3)] {
        let twin = broken::BorrowedAdjoint(fan(Curve::Flat, 0.3), other);
        let law = laws::adjoint("a fan", &twin, Seed::new(SEED));
        smalti_testkit::rejected(law, "the adjoint", "fitted scale", 1e-6..2.0);
    }
}

#[test]
fn scaled_normal_operators_are_rejected() {
    let law = |name: &str, a: &broken::ScaledNormal| laws::normal(name, a, Seed::new(SEED));
    rejected(("the normal operator", "from A* (A x)"), 9.8e-3..1e-2, broken::ScaledNormal, law);
}

#[test]
fn shifted_resolvents_are_rejected() {
    let exact = linear_operators().unwrap().into_iter().filter(|named| named.subject.resolvent().is_some());
    for named in exact {
        let law = laws::resolvent(&named.name, &broken::ShiftedResolvent(named.subject), Seed::new(SEED));
        smalti_testkit::rejected(law.map(drop), "the resolvent", "residual of the normal equation", 0.1..1e5);
    }
}

#[test]
fn bent_operators_are_rejected() {
    let law = |name: &str, a: &broken::Bent| laws::linearity(name, a, Seed::new(SEED));
    rejected(("linearity", "A(2x - 3y) from 2Ax - 3Ay"), 1e-6..1.0, broken::Bent, law);
    // The twin is broken in this one respect only.
    let identity = blurs().unwrap().swap_remove(0).subject;
    laws::vjp("bent identity", &broken::Bent(identity), Seed::new(SEED)).unwrap();
}

#[test]
fn truncated_vector_jacobian_products_are_rejected() {
    let law = |name: &str, a: &broken::TruncatedVjp| laws::vjp(name, a, Seed::new(SEED));
    rejected(("the vector-Jacobian product", "from autograd"), 1e-6..1.0, broken::TruncatedVjp, law);
}

#[test]
fn mixed_batches_are_rejected() {
    let law = |name: &str, a: &broken::MixedBatch| laws::range(name, a, Seed::new(SEED));
    rejected(("the range", "F(x) of element 0 depends on its batch"), 0.99..1.01, broken::MixedBatch, law);
}

#[test]
fn forced_dtypes_are_rejected() {
    let law = |name: &str, a: &broken::AlwaysFloat| laws::dtype(name, a, Seed::new(SEED));
    rejected(("the kept dtype", "F(x) of Double input is Float"), 0.5..1.5, broken::AlwaysFloat, law);
}

#[test]
fn grids_half_a_pixel_off_are_rejected() {
    for named in blurs().unwrap() {
        let law = laws::grid(&named.name, &broken::HalfPixelOff(named.subject));
        smalti_testkit::rejected(law, "the grid", "the blob is seen at", 0.499..0.501);
    }
}

#[test]
fn grids_half_a_slice_off_are_rejected() {
    let volumes = blurs().unwrap().into_iter().filter(|named| named.subject.domain().depth.is_some());
    let mut count = 0;
    for named in volumes {
        let law = laws::grid(&named.name, &broken::HalfSliceOff(named.subject));
        smalti_testkit::rejected(law, "the grid", "the blob is seen at", 0.499..0.501);
        count += 1;
    }
    assert!(count > 0, "no volumes");
}
