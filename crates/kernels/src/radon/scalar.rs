//! Ray by ray, for every dtype and spacing: the definition of the model.

use super::geometry::Footprint;
use super::number::Number;
use super::plane::PAD;
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

/// Where a position lies in a line with [`PAD`] zeros in front: the pixel below it, and its weight of the next one.
#[inline(always)]
fn split<T: Number>(position: f64) -> (usize, T) {
    let from_start = position + PAD as f64;
    let pixel = from_start as usize;
    (pixel, T::of(from_start - pixel as f64))
}

/// Adds what the rays see on a line: `rays[k] += (1 - w) line[i] + w line[i + 1]`.
pub(super) fn project<T: Number>(view: &View, line: usize, values: &[T], rays: &mut [T]) {
    if view.footprint == Footprint::Strip {
        return strip::project(view, line, values, rays);
    }
    let start = view.start(line);
    for k in view.crossing(line) {
        let (i, w) = split::<T>(start + view.per_ray * k as f64);
        rays[k] = rays[k] + values[i] + w * (values[i + 1] - values[i]);
    }
}

/// Adds what the padded `rays` bring to a line.
pub(super) fn collect<T: Number>(view: &View, spread: Spread, line: usize, rays: &[T], values: &mut [T]) {
    let start = view.start(line);
    match spread {
        Spread::Transpose if view.footprint == Footprint::Strip => strip::collect(view, line, rays, values),
        Spread::Transpose => {
            for k in view.crossing(line) {
                let (i, w) = split::<T>(start + view.per_ray * k as f64);
                let ray = rays[PAD + k];
                values[i] = values[i] + ray - w * ray;
                values[i + 1] = values[i + 1] + w * ray;
            }
        }
        Spread::Interpolate => {
            for c in 0..view.width {
                let position = (c as f64 - start) / view.per_ray;
                if position > -1.0 && position < view.rays as f64 {
                    let (k, w) = split::<T>(position);
                    values[PAD + c] = values[PAD + c] + rays[k] + w * (rays[k + 1] - rays[k]);
                }
            }
        }
    }
}
