//! What [`super::tensors`] does, for fan beams, whose rays have numbers of their own each.
//!
//! Rays that are steeper than 45 degrees cross rows, others columns; a view may have both. All rays are followed across
//! rows and then across columns, each time with length 0 for those that cross the other.

use super::tensors::{hat_integral, integrals, interpolated, numbers, views_at_once};
use smalti_base::Result;
use smalti_kernels::radon::{Curve, FanBeam, Footprint, Pixels, Ray};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Numbers of the rays of some views across rows or across columns, in the order of the detector.
struct Rays {
    /// Position on line 0 and from one line to the next, of rays or of the edges before and after each:
    /// `[angles, rays (+ 1)]`.
    positions: [Tensor; 2],
    /// 0 for rays that cross the other lines: `[angles, rays]`.
    length: Tensor,
}

impl Rays {
    /// [`None`] where no ray crosses such lines.
    fn of(beam: &FanBeam, views: Range<usize>, transposed: bool, device: Device) -> Result<Option<Self>> {
        let count = beam.detector().count;
        let table = |values: Vec<f64>| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&values)?.f_reshape([views.len() as i64, -1])?.f_to_device(device)?)
        };
        let pixels = |k: usize| (0..count).map(move |j| beam.ray(k, j as f64, None));
        let own = |ray: Ray| if ray.transposed == transposed { ray.length } else { 0.0 };
        let lengths: Vec<f64> = views.clone().flat_map(pixels).map(own).collect();
        if lengths.iter().all(|length| *length == 0.0) {
            return Ok(None);
        }
        // The rays themselves or the edges between them, along lines that may be none of theirs.
        let (number, before) = match beam.footprint() {
            Footprint::Line => (count, 0.0),
            Footprint::Strip => (count + 1, 0.5),
        };
        let along = |k: usize| (0..number).map(move |j| beam.ray(k, j as f64 - before, Some(transposed)));
        let all: Vec<Ray> = views.clone().flat_map(along).collect();
        // A ray along the lines crosses them nowhere.
        let of = |number: fn(&Ray) -> f64| {
            table(all.iter().map(|ray| number(ray).clamp(-FARTHEST, FARTHEST)).collect())
        };
        let positions = [of(|ray| ray.origin)?, of(|ray| ray.per_line)?];
        Ok(Some(Self { positions, length: table(lengths)? }))
    }
}

/// Positions beyond are those of rays along the lines, whose length is 0.
const FARTHEST: f64 = 1e12;

/// `A x`, `[B, 1, rows, columns]` to `[B, 1, angles, detectors]`, differentiable by autograd.
pub(super) fn forward(beam: &FanBeam, x: &Tensor) -> Result<Tensor> {
    let (batch, rays) = (x.size()[0], beam.detector().count as i64);
    let mut sides = Vec::new();
    for transposed in [false, true] {
        let plane = if transposed { x.f_transpose(2, 3)? } else { x.shallow_clone() };
        let (lines, width) = (plane.size()[2], plane.size()[3]);
        let plane = plane.f_reshape([batch, lines, width])?.f_constant_pad_nd([1, 2])?.f_flatten(1, 2)?;
        let sums = plane.f_view([batch, lines, width + 3])?.f_cumsum(2, Kind::Double)?.f_flatten(1, 2)?;
        let mut parts = Vec::new();
        for views in chunks(beam, [batch, lines, rays + 1]) {
            let angles = views.len() as i64;
            let Some(Rays { positions: [origin, slope], length }) =
                Rays::of(beam, views, transposed, x.device())?
            else {
                parts.push(Tensor::f_zeros([batch, angles, rays], (x.kind(), x.device()))?);
                continue;
            };
            let line = numbers(lines, x)?.f_view([1, lines, 1])?;
            let position = slope.f_unsqueeze(1)?.f_mul(&line)?.f_add(&origin.f_unsqueeze(1)?)?;
            let sizes = [batch, angles, lines, width, rays];
            let seen = match beam.footprint() {
                Footprint::Line => interpolated(&position, &plane, sizes)?,
                Footprint::Strip => {
                    let difference = |x: &Tensor, axis| x.f_diff(1, axis, None::<Tensor>, None::<Tensor>);
                    difference(&integrals(&position, &plane, &sums, sizes)?, 3)?
                        .f_div(&difference(&position, 2)?.f_add_scalar(f64::MIN_POSITIVE)?)?
                        .f_to_kind(x.kind())?
                }
            };
            let seen = seen.f_sum_dim_intlist(2i64, false, None::<Kind>)?;
            parts.push(seen.f_mul(&length.f_to_kind(x.kind())?)?);
        }
        sides.push(Tensor::f_cat(&parts, 1)?);
    }
    Ok(sides[0].f_add(&sides[1])?.f_unsqueeze(1)?)
}

/// `A^T y` where `transpose`, otherwise the back projection of [`smalti_kernels::radon::Beam::back_project`].
pub(super) fn back(beam: &FanBeam, transpose: bool, y: &Tensor) -> Result<Tensor> {
    let (batch, rays) = (y.size()[0], beam.detector().count as i64);
    let Pixels { rows, columns, .. } = beam.pixels();
    let (rows, columns) = (rows as i64, columns as i64);
    let mut image = Tensor::f_zeros([batch, 1, rows, columns], (y.kind(), y.device()))?;
    let y = y.f_reshape([batch, -1, rays])?;
    for views in chunks(beam, [batch, rows, columns]) {
        let (from, angles) = (views.start as i64, views.len() as i64);
        // One zero before and after every projection.
        let first = numbers(angles, &y)?.f_mul_scalar((rays + 2) as f64)?.f_view([-1, 1, 1])?;
        let index = |ray: &Tensor| -> Result<Tensor> {
            let place = ray.f_clamp(-1.0, rays as f64)?.f_add(&first)?.f_add_scalar(1.0)?;
            Ok(place.f_to_kind(Kind::Int64)?.f_flatten(0, -1)?)
        };
        let padded = y.f_narrow(1, from, angles)?.f_constant_pad_nd([1, 1])?.f_flatten(1, 2)?;
        let size = [batch, angles, rows, columns];
        let (at, near) = seen(beam, views.clone(), &y)?;
        let below = at.f_floor()?;
        let mut sum = Tensor::f_zeros([batch, rows, columns], (y.kind(), y.device()))?;
        let mut add = |ray: &Tensor, weight: &Tensor| -> Result<()> {
            let part = padded.f_index_select(1, &index(ray)?)?.f_view(size)?;
            let part =
                part.f_mul(&weight.f_to_kind(y.kind())?)?.f_sum_dim_intlist(1i64, false, None::<Kind>)?;
            sum = sum.f_add(&part)?;
            Ok(())
        };
        if transpose {
            let reach = rays_of_a_pixel(beam);
            for transposed in [false, true] {
                let Some(table) = Rays::of(beam, views.clone(), transposed, y.device())? else { continue };
                for tap in -reach..=reach + 1 {
                    let ray = below.f_add_scalar(tap as f64)?;
                    add(&ray, &weights(beam, &table, transposed, &index(&ray)?, &size[1..])?)?;
                }
            }
        } else {
            let w = at.f_sub(&below)?;
            add(&below, &w.f_neg()?.f_add_scalar(1.0)?.f_mul(&near)?)?;
            add(&below.f_add_scalar(1.0)?, &w.f_mul(&near)?)?;
        }
        image = image.f_add(&sum.f_unsqueeze(1)?)?;
    }
    Ok(image)
}

/// The weights `[angles, rows, columns]` of the rays with these places among the padded ones in each pixel.
fn weights(beam: &FanBeam, table: &Rays, transposed: bool, index: &Tensor, size: &[i64]) -> Result<Tensor> {
    let at = |values: &Tensor| -> Result<Tensor> {
        Ok(values.f_constant_pad_nd([1, 1])?.f_flatten(0, -1)?.f_index_select(0, index)?.f_view(size)?)
    };
    let (row, column) =
        (numbers(size[1], index)?.f_view([-1, 1])?, numbers(size[2], index)?.f_view([1, -1])?);
    let (line, pixel) = if transposed { (column, row) } else { (row, column) };
    let [origin, slope] = &table.positions;
    let length = at(&table.length)?;
    match beam.footprint() {
        Footprint::Line => {
            let from = at(slope)?.f_mul(&line)?.f_add(&at(origin)?)?.f_sub(&pixel)?;
            Ok(from.f_abs()?.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(0.0)?.f_mul(&length)?)
        }
        Footprint::Strip => {
            let rays = slope.size()[1] - 1;
            let edge = |side: i64| -> Result<Tensor> {
                let of = |values: &Tensor| at(&values.f_narrow(1, side, rays)?);
                Ok(of(slope)?.f_mul(&line)?.f_add(&of(origin)?)?.f_sub(&pixel)?)
            };
            let (low, high) = (edge(0)?, edge(1)?);
            let share = hat_integral(&high)?.f_sub(&hat_integral(&low)?)?;
            // Padded places have no width, and no length.
            let width = high.f_sub(&low)?;
            let width = width.f_add(&width.f_eq(0.0)?.f_to_kind(Kind::Double)?)?;
            Ok(share.f_div(&width)?.f_mul(&length)?)
        }
    }
}

/// Detector pixels that a step of one pixel within the image leads past at most.
fn rays_of_a_pixel(beam: &FanBeam) -> i64 {
    let (pixels, detector) = (beam.pixels(), beam.detector());
    let reach = (pixels.radius() + pixels.size) / beam.source_origin();
    let nearest = beam.source_origin() * (1.0 - reach);
    let slant = match beam.curve() {
        Curve::Flat => (1.0 - reach * reach).sqrt(),
        Curve::Curved => 1.0,
    };
    (pixels.size * beam.source_detector() / (nearest * slant * detector.spacing)).ceil() as i64
}

/// Where the rays through all pixels meet the detector, counted in its pixels, and the weights of back projection:
/// `[angles, rows, columns]` each, see [`FanBeam::seen`].
fn seen(beam: &FanBeam, views: Range<usize>, like: &Tensor) -> Result<(Tensor, Tensor)> {
    let Pixels { rows, columns, size } = beam.pixels();
    let column = |of: fn(f64) -> f64| -> Result<Tensor> {
        let values: Vec<f64> = beam.angle_list()[views.clone()].iter().map(|angle| of(*angle)).collect();
        Ok(Tensor::f_from_slice(&values)?.f_view([-1, 1, 1])?.f_to_device(like.device())?)
    };
    let (sin, cos) = (column(f64::sin)?, column(f64::cos)?);
    let centred = |n: usize| -> Result<Tensor> {
        Ok(numbers(n as i64, like)?.f_add_scalar(-0.5 * (n as f64 - 1.0))?.f_mul_scalar(size)?)
    };
    let (x, y) = (centred(columns)?.f_view([1, 1, -1])?, centred(rows)?.f_neg()?.f_view([1, -1, 1])?);
    let across = x.f_mul(&cos)?.f_add(&y.f_mul(&sin)?)?;
    let source = beam.source_origin();
    let depth = y.f_mul(&cos)?.f_sub(&x.f_mul(&sin)?)?.f_add_scalar(source)?;
    let along = across.f_div(&depth)?;
    let (u, near) = match beam.curve() {
        Curve::Flat => (along, depth.f_reciprocal()?.f_mul_scalar(source)?.f_square()?),
        Curve::Curved => {
            let distance = depth.f_square()?.f_add(&across.f_square()?)?;
            (along.f_atan()?, distance.f_reciprocal()?.f_mul_scalar(source * source)?)
        }
    };
    let detector = beam.detector();
    let u = u.f_mul_scalar(beam.source_detector())?.f_add_scalar(-detector.position(0.0))?;
    Ok((u.f_div_scalar(detector.spacing)?.f_clamp(-1.0, detector.count as f64)?, near))
}

/// All views, in chunks for tensors of this `shape` for each.
fn chunks(beam: &FanBeam, shape: [i64; 3]) -> impl Iterator<Item = Range<usize>> {
    let (views, step) = (beam.angle_list().len(), views_at_once(shape));
    (0..views).step_by(step).map(move |from| from..(from + step).min(views))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_kernels::radon::Detector;

    /// From the middle of every pixel to those of its neighbours, at all angles.
    fn farthest_step(beam: &FanBeam) -> f64 {
        let Pixels { rows, columns, size } = beam.pixels();
        let middle = |n: usize, i: usize| size * (i as f64 - 0.5 * (n as f64 - 1.0));
        let mut farthest: f64 = 0.0;
        for angle in beam.angle_list() {
            let ray = |x: f64, y: f64| beam.seen(angle.sin_cos(), x, y).0;
            for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                let (x, y) = (middle(columns, j), middle(rows, i));
                for (right, up) in [(size, 0.0), (-size, 0.0), (0.0, size), (0.0, -size)] {
                    farthest = farthest.max((ray(x + right, y + up) - ray(x, y)).abs());
                }
            }
        }
        farthest / beam.detector().spacing
    }

    /// Also from a source next to a corner of the image, whose shorter side it sees at a slant.
    #[test]
    fn no_step_of_a_pixel_leads_past_more_detector_pixels() {
        for (rows, columns, beyond, spacing) in
            [(20, 200, 2.1, 0.0017), (200, 20, 2.1, 0.003), (60, 60, 3.0, 0.004), (60, 60, 5000.0, 0.0031)]
        {
            let pixels = Pixels { rows, columns, size: 0.01 };
            let corner = (columns as f64).atan2(rows as f64);
            let angles: Vec<f64> =
                (-10..=10).map(|k| corner + 0.01 * f64::from(k)).chain([0.0, 1.0, 2.0]).collect();
            let distances = [pixels.radius() + beyond * pixels.size, 0.0];
            for curve in [Curve::Flat, Curve::Curved] {
                let detector = Detector { count: 21, spacing, offset: 0.0 };
                let beam = FanBeam::new(angles.clone(), pixels, detector, curve, distances).unwrap();
                let (bound, least) = (rays_of_a_pixel(&beam) as f64, farthest_step(&beam));
                assert!(bound >= least, "{bound} of {least}: {rows} x {columns}, {beyond}, {curve:?}");
                // A source that is far away sees every pixel alike.
                assert!(beyond < 100.0 || bound < least + 1.1, "{bound} of {least}: {curve:?}");
            }
        }
    }

    #[test]
    fn chunks_have_every_view_once() {
        let pixels = Pixels { rows: 4, columns: 5, size: 0.01 };
        let detector = Detector { count: 9, spacing: 0.01, offset: 0.0 };
        let angles: Vec<f64> = (0..7).map(f64::from).collect();
        let beam = FanBeam::new(angles, pixels, detector, Curve::Flat, [0.3, 0.1]).unwrap();
        let of = |shape| chunks(&beam, shape).collect::<Vec<_>>();
        assert_eq!(of([1 << 10, 1 << 11, 2]), [0..4, 4..7]);
        assert_eq!(of([1, 4, 10]).first(), Some(&(0..7)));
    }
}
