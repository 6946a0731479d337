//! The numbers that projections are computed in: float32 with vector instructions, float64 ray by ray.

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
    /// Adds to all rays of a view what they see of the plane.
    #[expect(private_interfaces)]
    fn project(isa: Isa, view: &View, plane: &Plane<Self>, rays: &mut [Self]);
    /// Adds to a padded line what the padded rays of views bring.
    #[expect(private_interfaces)]
    fn collect(isa: Isa, spread: Spread, line: usize, views: &[(View, &[Self])], values: &mut [Self]);
}

#[expect(private_interfaces)]
impl Steps for f64 {
    fn project(_: Isa, view: &View, plane: &Plane<Self>, rays: &mut [Self]) {
        for line in 0..view.lines {
            scalar::project(view, line, plane.padded(line), rays);
        }
    }

    fn collect(_: Isa, spread: Spread, line: usize, views: &[(View, &[Self])], values: &mut [Self]) {
        for (view, rays) in views {
            scalar::collect(view, spread, line, rays, values);
        }
    }
}

#[expect(private_interfaces)]
impl Steps for f32 {
    fn project(isa: Isa, view: &View, plane: &Plane<Self>, rays: &mut [Self]) {
        if wide::projects(view) {
            wide::project(isa, view, |line| plane.padded(line), rays);
        } else {
            for line in 0..view.lines {
                scalar::project(view, line, plane.padded(line), rays);
            }
        }
    }

    fn collect(isa: Isa, spread: Spread, line: usize, views: &[(View, &[Self])], values: &mut [Self]) {
        let slow = |(view, _): &&(View, &[Self])| !wide::collects(view, spread);
        for (view, rays) in views.iter().filter(slow) {
            scalar::collect(view, spread, line, rays, values);
        }
        if views.iter().all(|view| slow(&view)) {
            return;
        }
        let fast: Vec<(View, &[Self])> = views.iter().filter(|view| !slow(view)).copied().collect();
        let end = values.len() - PAD;
        let (blocks, _) = values[PAD..end].as_chunks_mut::<LANES>();
        wide::collect(isa, spread, line, &fast, blocks);
    }
}
