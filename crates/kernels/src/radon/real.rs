//! The numbers that projections are computed in: float32 with vector instructions, float64 ray by ray.

use super::bundle::Bundle;
use super::number::Number;
use super::plane::{PAD, Plane};
use super::scalar::{self, Spread};
use super::view::View;
use super::wide;
use crate::simd::{Isa, LANES};

/// float32, with vector instructions, or float64.
pub trait Real: Steps {}

impl Real for f32 {}

impl Real for f64 {}

/// What is different for float32 and float64; nobody else can name it, so the numbers are these two.
pub trait Steps: Number {
    /// Adds to all rays of a bundle what they see of the plane.
    #[expect(private_interfaces)]
    fn project(isa: Isa, bundle: &Bundle, plane: &Plane<Self>, rays: &mut [Self]);
    /// Adds to a padded line what the padded rays of bundles bring.
    #[expect(private_interfaces)]
    fn collect(isa: Isa, spread: Spread, line: usize, bundles: &[(&Bundle, &[Self])], values: &mut [Self]);
}

#[expect(private_interfaces)]
impl Steps for f64 {
    fn project(_: Isa, bundle: &Bundle, plane: &Plane<Self>, rays: &mut [Self]) {
        scalar::project_all(bundle, plane, rays);
    }

    fn collect(_: Isa, spread: Spread, line: usize, bundles: &[(&Bundle, &[Self])], values: &mut [Self]) {
        for (bundle, rays) in bundles {
            scalar::collect_one(bundle, spread, line, rays, values);
        }
    }
}

#[expect(private_interfaces)]
impl Steps for f32 {
    fn project(isa: Isa, bundle: &Bundle, plane: &Plane<Self>, rays: &mut [Self]) {
        match bundle {
            Bundle::Parallel(view) if wide::projects(view) => {
                wide::project(isa, view, |line| plane.padded(line), rays);
            }
            _ => scalar::project_all(bundle, plane, rays),
        }
    }

    fn collect(isa: Isa, spread: Spread, line: usize, bundles: &[(&Bundle, &[Self])], values: &mut [Self]) {
        let mut fast: Vec<(View, &[Self])> = Vec::with_capacity(bundles.len());
        for (bundle, rays) in bundles {
            match bundle {
                Bundle::Parallel(view) if wide::collects(view, spread) => fast.push((*view, rays)),
                _ => scalar::collect_one(bundle, spread, line, rays, values),
            }
        }
        if !fast.is_empty() {
            let end = values.len() - PAD;
            let (blocks, _) = values[PAD..end].as_chunks_mut::<LANES>();
            wide::collect(isa, spread, line, &fast, blocks);
        }
    }
}
