//! The operator on both ways of computing, and what it refuses.

use super::*;
use smalti_base::Seed;
use std::f64::consts::PI;

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

/// Angles everywhere, a rectangular image, detectors from finer to much coarser than the pixels, off centre.
fn parallel() -> Vec<ParallelBeam> {
    let angles: Vec<f64> =
        (0..17).map(|k| f64::from(k) * 0.4 - 1.0).chain([0.0, PI / 2.0, PI / 4.0]).collect();
    let pixels = Pixels { rows: 19, columns: 26, size: 0.01 };
    let detectors = [(31, 0.01, 0.0), (70, 0.004, 0.013), (23, 0.013, -0.02), (9, 0.034, 0.0)];
    let beam = |(count, spacing, offset)| {
        ParallelBeam::new(angles.clone(), pixels, Detector { count, spacing, offset }).unwrap()
    };
    let all = detectors.map(beam);
    let lines = all.clone().map(|beam| beam.with_footprint(Footprint::Line));
    let strips = all.clone().map(|beam| beam.with_footprint(Footprint::Strip));
    all.into_iter().chain(lines).chain(strips).collect()
}

/// The same along fans of both kinds, narrow and wide, the source near and far.
fn beams() -> Vec<Geometry> {
    let angles: Vec<f64> =
        (0..13).map(|k| f64::from(k) * 0.6 - 1.0).chain([0.0, PI / 2.0, PI / 4.0]).collect();
    let pixels = Pixels { rows: 19, columns: 26, size: 0.01 };
    let cases = [
        (31, 0.015, 0.0, [0.4, 0.2]),
        (70, 0.005, 0.013, [0.3, 0.0]),
        (23, 0.02, -0.02, [0.2, 0.1]),
        (9, 0.05, 0.0, [0.19, 0.2]),
    ];
    let mut all: Vec<Geometry> = parallel().into_iter().map(Geometry::from).collect();
    for (count, spacing, offset, distances) in cases {
        for curve in [Curve::Flat, Curve::Curved] {
            let detector = Detector { count, spacing, offset };
            let fan = FanBeam::new(angles.clone(), pixels, detector, curve, distances).unwrap();
            all.push(fan.clone().with_footprint(Footprint::Line).into());
            all.push(fan.with_footprint(Footprint::Strip).into());
        }
    }
    // A flat detector that sees 160 degrees.
    let detector = Detector { count: 60, spacing: 0.07, offset: 0.01 };
    all.push(FanBeam::new(angles, pixels, detector, Curve::Flat, [0.19, 0.17]).unwrap().into());
    all
}

#[test]
fn tensors_and_kernels_give_the_same_numbers() {
    for beam in beams() {
        let kernel = Radon::new(beam.clone());
        let tensors = kernel.clone().with_tensors();
        let draw = |what, space: Space| Seed::new(3).at(what, 0).normal(&space.batch(3));
        let (x, y) = (draw("image", kernel.domain()), draw("sinogram", kernel.range()));
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
            let (x, y) = (x.to_kind(kind), y.to_kind(kind));
            for (way, input) in [(Way::Forward, &x), (Way::Adjoint, &y), (Way::BackProject, &y)] {
                let a = map(kernel.beam(), way, input, false).unwrap();
                let b = map(kernel.beam(), way, input, true).unwrap();
                assert_eq!((a.kind(), a.size()), (kind, b.size()));
                let gap = largest(&(&a - b)) / largest(&a);
                assert!(gap < tolerance, "{way:?} {kind:?} {beam:?}: {gap}");
            }
            let by_hand = (kernel.apply(&x).unwrap() * &y).sum(Kind::Double).double_value(&[]);
            let back = (tensors.adjoint(&y).unwrap() * &x).sum(Kind::Double).double_value(&[]);
            assert!((by_hand - back).abs() < 1e2 * tolerance * by_hand.abs().max(1.0), "{by_hand} {back}");
        }
    }
}

#[test]
fn other_dtypes_are_kept_and_batches_may_be_empty() {
    let a = Radon::new(beams().swap_remove(0));
    for kind in [Kind::Half, Kind::BFloat16] {
        let x = Seed::new(4).at("image", 0).uniform(&a.domain().batch(1));
        let y = a.apply(&x.to_kind(kind)).unwrap();
        assert_eq!(y.kind(), kind);
        assert!(
            largest(&(y.to_kind(Kind::Float) - a.apply(&x).unwrap())) < 0.01 * largest(&a.apply(&x).unwrap())
        );
    }
    let empty = Tensor::zeros(a.domain().batch(0), (Kind::Float, Device::Cpu));
    assert_eq!(a.apply(&empty).unwrap().size(), a.range().batch(0));
    for (way, from, to) in [(Way::Forward, a.domain(), a.range()), (Way::Adjoint, a.range(), a.domain())] {
        let empty = Tensor::zeros(from.batch(0), (Kind::Float, Device::Cpu));
        for tensors in [false, true] {
            assert_eq!(map(a.beam(), way, &empty, tensors).unwrap().size(), to.batch(0));
        }
    }
}

#[test]
fn strided_images_are_read_in_their_order() {
    let a = Radon::new(beams().swap_remove(0));
    let x = Seed::new(5).at("image", 0).uniform(&[1, 1, 26, 19]).transpose(2, 3);
    let gap = a.apply(&x).unwrap() - a.apply(&x.contiguous()).unwrap();
    assert_eq!(largest(&gap), 0.0);
}

#[test]
fn what_is_no_image_or_sinogram_is_refused() {
    let a = Radon::new(beams().swap_remove(0));
    let zeros = |size: [i64; 4], kind| Tensor::zeros(size, (kind, Device::Cpu));
    assert!(a.apply(&zeros([1, 1, 26, 19], Kind::Float)).is_err());
    assert!(a.apply(&zeros([1, 2, 19, 26], Kind::Float)).is_err());
    assert!(a.apply(&zeros([1, 1, 19, 26], Kind::Int64)).is_err());
    let line = a.adjoint(&zeros([1, 1, 31, 20], Kind::Float)).unwrap_err().to_string();
    assert_eq!(line, "sinogram: expected [B, 1, 20, 31], got [1, 1, 31, 20]");
    let none = ParallelBeam::new(vec![], a.beam().pixels(), a.beam().detector()).map_err(refused);
    assert!(none.unwrap_err().to_string().contains("projection angles: expected between 1"));
}

#[test]
fn an_image_that_leaves_the_field_of_view_is_warned_of_once() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    struct Count(Arc<AtomicUsize>);
    impl tracing::Subscriber for Count {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let warnings = |beam: ParallelBeam| {
        let count = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::with_default(Count(count.clone()), || {
            let a = Radon::new(beam);
            let x = Tensor::ones(a.domain().batch(1), (Kind::Float, Device::Cpu));
            assert!(a.adjoint(&a.apply(&x).unwrap()).is_ok());
        });
        count.load(Ordering::Relaxed)
    };
    let pixels = Pixels { rows: 10, columns: 10, size: 0.1 };
    let beam = |count| ParallelBeam::new(vec![0.0], pixels, Detector::centred(count, 0.1)).unwrap();
    assert_eq!((warnings(beam(10)), warnings(beam(8))), (0, 1));
}
