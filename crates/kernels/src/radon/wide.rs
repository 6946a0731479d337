//! Sixteen rays or pixels at once, in float32.
//!
//! Neighbouring rays meet a line at most two pixels apart, so sixteen of them lie in a window of 32 pixels: two registers,
//! out of which one instruction of AVX-512 picks any sixteen values (elsewhere the window is an array). Positions are
//! fixed-point numbers, so that adding steps does not lose digits: 40 binary places for the first of sixteen, 23 for the
//! distances from it.

use super::geometry::Footprint;
use super::plane::PAD;
use super::scalar::Spread;
use super::view::View;
use crate::simd::{Isa, Kernel, LANES, Lanes, dispatch};

/// Binary places of a position.
const PLACES: u32 = 40;

/// Positions beyond this number of pixels are left to the scalar loop.
const FARTHEST: f64 = (1_u64 << 21) as f64;

fn fixed(position: f64) -> i64 {
    (position * (1_u64 << PLACES) as f64).round() as i64
}

/// Distances of sixteen neighbours from the first, in units of `2^-23`.
fn distances(step: f64) -> [u32; LANES] {
    std::array::from_fn(|l| (l as f64 * step * (1 << 23) as f64).round() as u32)
}

/// The whole places of a position, and its fraction in units of `2^-23`.
#[inline(always)]
fn split(position: i64) -> (usize, u32) {
    ((position >> PLACES) as usize, ((position >> (PLACES - 23)) & 0x7f_ffff) as u32)
}

fn near(view: &View) -> bool {
    let ends = [view.origin, view.origin + view.per_ray * view.rays as f64];
    ends.iter().all(|end| end.abs() < FARTHEST && (end / view.per_ray).abs() < FARTHEST)
}

/// Whether [`project`] can do this view: 16 neighbouring rays within 32 pixels.
pub(super) fn projects(view: &View) -> bool {
    view.footprint == Footprint::Line && view.per_ray < 2.0 && near(view)
}

/// Whether [`collect`] can: all rays that 16 neighbouring pixels need are at most 32.
pub(super) fn collects(view: &View, spread: Spread) -> bool {
    if view.footprint == Footprint::Strip && spread == Spread::Transpose {
        return false;
    }
    let taps = if spread == Spread::Transpose && view.per_ray < 1.0 { 4.0 } else { 2.0 };
    view.per_ray >= 0.5 && 15.0 / view.per_ray + taps <= 31.0 && near(view)
}

/// [`super::scalar::project`] for all lines `values`, given by `line`.
pub(super) fn project<'a>(isa: Isa, view: &View, line: impl Fn(usize) -> &'a [f32], rays: &mut [f32]) {
    dispatch(isa, Project { view, line, rays });
}

struct Project<'a, F> {
    view: &'a View,
    line: F,
    /// A multiple of 16.
    rays: &'a mut [f32],
}

impl<'a, F: Fn(usize) -> &'a [f32]> Kernel for Project<'_, F> {
    type Output = ();

    fn run<L: Lanes>(self, lanes: L) {
        let Self { view, line, rays } = self;
        let (blocks, _) = rays.as_chunks_mut::<LANES>();
        let offsets = distances(view.per_ray);
        let (step, per_line) = (fixed(view.per_ray * LANES as f64), fixed(view.per_line));
        let origin = fixed(view.origin + PAD as f64);
        lanes.run(
            #[inline(always)]
            || {
                let offsets = lanes.indices(&offsets);
                let mut start = origin;
                for l in 0..view.lines {
                    project_line(lanes, line(l), start, step, offsets, blocks);
                    start += per_line;
                }
            },
        );
    }
}

#[inline(always)]
fn project_line<L: Lanes>(
    lanes: L,
    values: &[f32],
    start: i64,
    step: i64,
    offsets: L::Index,
    blocks: &mut [[f32; LANES]],
) {
    let mut position = start;
    for block in blocks {
        let (at, fraction) = split(position);
        position += step;
        let Some((window, [])) = values.get(at..at.wrapping_add(2 * LANES)).map(<[f32]>::as_chunks::<LANES>)
        else {
            continue;
        };
        let [low, high] = window else { continue };
        let (low, high) = (lanes.load(low), lanes.load(high));
        let (index, one_plus) = lanes.split(fraction, offsets);
        let left = lanes.look_up(low, high, index);
        let right = lanes.look_up(low, high, lanes.next(index));
        let w = lanes.sub(one_plus, lanes.splat(1.0));
        let sum = lanes.add(lanes.load(block), left);
        *block = lanes.store(lanes.mul_add(w, lanes.sub(right, left), sum));
    }
}

/// [`super::scalar::collect`] for several views in turn, each with its padded rays.
pub(super) fn collect(
    isa: Isa,
    spread: Spread,
    line: usize,
    views: &[(View, &[f32])],
    values: &mut [[f32; LANES]],
) {
    dispatch(isa, Collect { spread, line, views, values });
}

struct Collect<'a> {
    spread: Spread,
    line: usize,
    views: &'a [(View, &'a [f32])],
    values: &'a mut [[f32; LANES]],
}

impl Kernel for Collect<'_> {
    type Output = ();

    fn run<L: Lanes>(self, lanes: L) {
        let Self { spread, line, views, values } = self;
        for (view, rays) in views {
            let per_pixel = 1.0 / view.per_ray;
            let first = PAD as f64 - view.start(line) * per_pixel;
            let (start, step) = (fixed(first), fixed(per_pixel * LANES as f64));
            let offsets = distances(per_pixel);
            let sharpness = if spread == Spread::Transpose { view.per_ray } else { 1.0 } as f32;
            let wide = sharpness < 1.0;
            lanes.run(
                #[inline(always)]
                || {
                    let offsets = lanes.indices(&offsets);
                    if wide {
                        collect_line::<L, true>(lanes, rays, (start, step), offsets, sharpness, values);
                    } else {
                        collect_line::<L, false>(lanes, rays, (start, step), offsets, sharpness, values);
                    }
                },
            );
        }
    }
}

/// A pixel between rays `k` and `k + 1`, at the fraction `f`, gets `max(0, 1 - a |distance|)` of every ray, distances
/// being in rays and `a >= 1/2` the `sharpness`: of two rays, or of the next two as well where `FOUR`.
#[inline(always)]
fn collect_line<L: Lanes, const FOUR: bool>(
    lanes: L,
    rays: &[f32],
    (start, step): (i64, i64),
    offsets: L::Index,
    sharpness: f32,
    values: &mut [[f32; LANES]],
) {
    let a = lanes.splat(sharpness);
    let minus = lanes.splat(-sharpness);
    let zero = lanes.splat(0.0);
    // With t = 1 + f: 1 - a f = (1 + a) - a t, and 1 - a (1 - f) = (1 - 2 a) + a t.
    let (below, above) = (lanes.splat(1.0 + sharpness), lanes.splat(1.0 - 2.0 * sharpness));
    let (far_below, far_above) = (lanes.splat(1.0), lanes.splat(1.0 - 3.0 * sharpness));
    let mut position = start - if FOUR { 1 << PLACES } else { 0 };
    for block in values {
        let (at, fraction) = split(position);
        position += step;
        let Some((window, [])) = rays.get(at..at.wrapping_add(2 * LANES)).map(<[f32]>::as_chunks::<LANES>)
        else {
            continue;
        };
        let [low, high] = window else { continue };
        let (low, high) = (lanes.load(low), lanes.load(high));
        let (mut index, t) = lanes.split(fraction, offsets);
        let mut sum = lanes.load(block);
        let mut add = |factor, constant, index| {
            let weight = lanes.max(lanes.mul_add(factor, t, constant), zero);
            sum = lanes.mul_add(weight, lanes.look_up(low, high, index), sum);
        };
        if FOUR {
            add(minus, far_below, index);
            index = lanes.next(index);
        }
        add(minus, below, index);
        index = lanes.next(index);
        add(a, above, index);
        if FOUR {
            add(a, far_above, lanes.next(index));
        }
        *block = lanes.store(sum);
    }
}
