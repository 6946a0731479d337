//! Ray by ray, for every dtype and spacing: the definition of the model.

use super::bundle::Bundle;
use super::crossing::Crossing;
use super::geometry::Footprint;
use super::number::Number;
use super::plane::{PAD, Plane, split};
use super::strip;
use super::view::View;

/// How rays are brought back to pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// By the weights of the projection.
    Transpose,
    /// By linear interpolation between the two nearest rays.
    Interpolate,
}

/// Adds what the rays see on a line: `rays[k] += (1 - w) line[i] + w line[i + 1]`.
pub(super) fn project<T: Number>(crossing: &impl Crossing, values: &[T], rays: &mut [T]) {
    for k in crossing.rays() {
        let (i, w) = split::<T>(crossing.ray(k));
        rays[k] = rays[k] + values[i] + w * (values[i + 1] - values[i]);
    }
}

/// Adds what the padded `rays` bring to a line by the transpose of [`project`].
pub(super) fn collect<T: Number>(crossing: &impl Crossing, rays: &[T], values: &mut [T]) {
    for k in crossing.rays() {
        let (i, w) = split::<T>(crossing.ray(k));
        let ray = rays[PAD + k];
        values[i] = values[i] + ray - w * ray;
        values[i + 1] = values[i + 1] + w * ray;
    }
}

/// Adds to every pixel of a line the two nearest of the padded `rays`, interpolated.
pub(super) fn interpolate<T: Number>(view: &View, line: usize, rays: &[T], values: &mut [T]) {
    let start = view.start(line);
    for c in 0..view.width {
        let position = (c as f64 - start) / view.per_ray;
        if position > -1.0 && position < view.rays as f64 {
            let (k, w) = split::<T>(position);
            values[PAD + c] = values[PAD + c] + rays[k] + w * (rays[k + 1] - rays[k]);
        }
    }
}

/// [`project`] for all lines of a plane, whatever a detector pixel measures.
pub(super) fn project_all<T: Number>(bundle: &Bundle, plane: &Plane<T>, rays: &mut [T]) {
    match bundle {
        Bundle::Parallel(view) => {
            for line in 0..view.lines {
                let (at, values) = (view.on(line), plane.padded(line));
                match view.footprint {
                    Footprint::Line => project(&at, values, rays),
                    Footprint::Strip => strip::project(&at, view.width, values, rays),
                }
            }
        }
        Bundle::Fan(fan) => {
            for line in 0..fan.lines {
                let (at, values) = (fan.on(line), plane.padded(line));
                match fan.footprint() {
                    Footprint::Line => project(&at, values, rays),
                    Footprint::Strip => strip::project(&at, fan.width, values, rays),
                }
            }
        }
    }
}

/// What a bundle's padded `rays` bring to a line, by either way. Bundles of fans know the transpose only.
pub(super) fn collect_one<T: Number>(
    bundle: &Bundle,
    spread: Spread,
    line: usize,
    rays: &[T],
    values: &mut [T],
) {
    match (bundle, spread) {
        (Bundle::Parallel(view), Spread::Interpolate) => interpolate(view, line, rays, values),
        (Bundle::Parallel(view), Spread::Transpose) => match view.footprint {
            Footprint::Line => collect(&view.on(line), rays, values),
            Footprint::Strip => strip::collect(&view.on(line), view.width, rays, values),
        },
        (Bundle::Fan(fan), _) => match fan.footprint() {
            Footprint::Line => collect(&fan.on(line), rays, values),
            Footprint::Strip => strip::collect(&fan.on(line), fan.width, rays, values),
        },
    }
}
