//! Projection and back projection by tensor operations, for devices that the kernels do not know.
//!
//! Positions are computed in float64 on the device; every output value is a sum over gathered values, never a scattered
//! one, so that results do not change from run to run. Rays are taken in chunks of angles that bound the memory.

use smalti_base::Result;
use smalti_kernels::radon::{Footprint, ParallelBeam, Pixels, View};
use tch::{Device, Kind, Tensor};

/// Values of the largest intermediate tensor.
const CHUNK: i64 = 1 << 24;

/// Numbers of some views as columns `[angles, 1, 1]` in the order of the detector pixels.
struct Columns {
    origin: Tensor,
    per_ray: Tensor,
    per_line: Tensor,
    length: Tensor,
}

impl Columns {
    fn of(views: &[View], device: Device) -> Result<Self> {
        let column = |value: &dyn Fn(&View) -> f64| {
            let values: Vec<f64> = views.iter().map(value).collect();
            Tensor::f_from_slice(&values)?.f_reshape([-1, 1, 1])?.f_to_device(device)
        };
        let last = |view: &View| view.per_ray * (view.rays as f64 - 1.0);
        Ok(Self {
            origin: column(&|v| if v.reversed { v.origin + last(v) } else { v.origin })?,
            per_ray: column(&|v| if v.reversed { -v.per_ray } else { v.per_ray })?,
            per_line: column(&|v| v.per_line)?,
            length: column(&|v| v.length)?,
        })
    }

    /// The position of detector pixel 0 on every line, `[angles, lines, 1]`.
    fn starts(&self, lines: i64) -> Result<Tensor> {
        Ok(self.per_line.f_mul(&numbers(lines, &self.origin)?.f_view([1, lines, 1])?)?.f_add(&self.origin)?)
    }
}

/// `0, ..., n - 1` in float64.
pub(super) fn numbers(n: i64, like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::f_arange(n, (Kind::Double, like.device()))?)
}

/// So many views at a time, one at least, that a tensor of this `shape` for each has at most [`CHUNK`] values.
pub(super) fn views_at_once(shape: [i64; 3]) -> usize {
    (CHUNK / shape.iter().product::<i64>().max(1)).max(1) as usize
}

/// The angles whose lines are columns (or rows), in chunks for tensors of this `shape` for each view.
fn chunks(beam: &ParallelBeam, transposed: bool, shape: [i64; 3]) -> Vec<Vec<(i64, View)>> {
    let views = (0..beam.angle_list().len()).map(|k| (k as i64, beam.view(k)));
    let views: Vec<(i64, View)> = views.filter(|(_, view)| view.transposed == transposed).collect();
    views.chunks(views_at_once(shape)).map(<[_]>::to_vec).collect()
}

fn split(chunk: &[(i64, View)], device: Device) -> Result<(Tensor, Columns)> {
    let (places, views): (Vec<i64>, Vec<View>) = chunk.iter().copied().unzip();
    Ok((Tensor::f_from_slice(&places)?.f_to_device(device)?, Columns::of(&views, device)?))
}

/// `A x`, `[B, 1, rows, columns]` to `[B, 1, angles, detectors]`, differentiable by autograd.
pub(super) fn forward(beam: &ParallelBeam, x: &Tensor) -> Result<Tensor> {
    let (batch, rays) = (x.size()[0], beam.detector().count as i64);
    let (mut parts, mut order) = (Vec::new(), Vec::new());
    for transposed in [false, true] {
        let plane = if transposed { x.f_transpose(2, 3)? } else { x.shallow_clone() };
        let (lines, width) = (plane.size()[2], plane.size()[3]);
        // One zero before and two after every line: where rays that miss it are sent to.
        let plane = plane.f_reshape([batch, lines, width])?.f_constant_pad_nd([1, 2])?.f_flatten(1, 2)?;
        let sums_before = match beam.footprint() {
            Footprint::Line => None,
            Footprint::Strip => {
                Some(plane.f_view([batch, lines, width + 3])?.f_cumsum(2, Kind::Double)?.f_flatten(1, 2)?)
            }
        };
        for chunk in chunks(beam, transposed, [batch, lines, rays]) {
            let angles = chunk.len() as i64;
            let (_, columns) = split(&chunk, x.device())?;
            if let Some(sums) = &sums_before {
                parts.push(strips(&columns, &plane, sums, [batch, angles, lines, width, rays])?);
                order.extend(chunk.iter().map(|(k, _)| *k));
                continue;
            }
            let across = columns.per_ray.f_mul(&numbers(rays, x)?)?;
            let position = columns.starts(lines)?.f_add(&across)?;
            let seen = interpolated(&position, &plane, [batch, angles, lines, width, rays])?;
            let sums = seen.f_sum_dim_intlist(2i64, false, None::<Kind>)?;
            let length = columns.length.f_to_kind(x.kind())?.f_view([1, angles, 1])?;
            parts.push(sums.f_mul(&length)?);
            order.extend(chunk.iter().map(|(k, _)| *k));
        }
    }
    let mut places = vec![0_i64; order.len()];
    for (place, &k) in order.iter().enumerate() {
        places[k as usize] = place as i64;
    }
    let places = Tensor::f_from_slice(&places)?.f_to_device(x.device())?;
    Ok(Tensor::f_cat(&parts, 1)?.f_index_select(1, &places)?.f_unsqueeze(1)?)
}

/// The values of lines at positions `[angles, lines, rays]`: `[B, angles, lines, rays]`; `plane` has one zero before
/// and two after every line.
pub(super) fn interpolated(position: &Tensor, plane: &Tensor, sizes: [i64; 5]) -> Result<Tensor> {
    let [batch, angles, lines, width, rays] = sizes;
    let position = position.f_clamp(-1.0, width as f64)?;
    let below = position.f_floor()?;
    let w = position.f_sub(&below)?.f_to_kind(plane.kind())?;
    let line = numbers(lines, plane)?.f_mul_scalar((width + 3) as f64)?.f_view([1, lines, 1])?;
    let index = below.f_add(&line)?.f_add_scalar(1.0)?.f_to_kind(Kind::Int64)?.f_flatten(0, -1)?;
    let size = [batch, angles, lines, rays];
    let left = plane.f_index_select(1, &index)?.f_view(size)?;
    let right = plane.f_index_select(1, &index.f_add_scalar(1)?)?.f_view(size)?;
    Ok(right.f_sub(&left)?.f_mul(&w)?.f_add(&left)?)
}

/// The part of [`forward`] for some angles of detector pixels that are means over their width, `[B, angles, rays]`:
/// differences of the line's integral at their edges, in float64. `sums` are sums along the lines of `plane`, up to and
/// with each value.
fn strips(columns: &Columns, plane: &Tensor, sums: &Tensor, sizes: [i64; 5]) -> Result<Tensor> {
    let [_, angles, lines, _, rays] = sizes;
    let across = columns.per_ray.f_mul(&numbers(rays + 1, plane)?.f_add_scalar(-0.5)?)?;
    let edge = columns.starts(lines)?.f_add(&across)?;
    let integral = integrals(&edge, plane, sums, sizes)?;
    let means = integral.f_diff(1, 3, None::<Tensor>, None::<Tensor>)?.f_sum_dim_intlist(
        2i64,
        false,
        None::<Kind>,
    )?;
    let scale = columns.length.f_div(&columns.per_ray)?.f_view([1, angles, 1])?;
    Ok(means.f_mul(&scale)?.f_to_kind(plane.kind())?)
}

/// The integrals of lines, interpolated, up to edges `[angles, lines, rays + 1]`: `[B, angles, lines, rays + 1]` in
/// float64.
pub(super) fn integrals(edge: &Tensor, plane: &Tensor, sums: &Tensor, sizes: [i64; 5]) -> Result<Tensor> {
    let [batch, angles, lines, width, rays] = sizes;
    let edge = edge.f_clamp(-1.0, width as f64)?;
    let below = edge.f_floor()?;
    let w = edge.f_sub(&below)?;
    let line = numbers(lines, plane)?.f_mul_scalar((width + 3) as f64)?.f_view([1, lines, 1])?;
    let index = below.f_add(&line)?.f_add_scalar(1.0)?.f_to_kind(Kind::Int64)?.f_flatten(0, -1)?;
    let size = [batch, angles, lines, rays + 1];
    let at = |from: &Tensor, index: &Tensor| -> Result<Tensor> {
        Ok(from.f_index_select(1, index)?.f_to_kind(Kind::Double)?.f_view(size)?)
    };
    let lacks = w.f_neg()?.f_add_scalar(1.0)?.f_square()?.f_mul_scalar(0.5)?;
    let next = w.f_square()?.f_mul_scalar(0.5)?;
    let whole = at(sums, &index)?.f_sub(&at(plane, &index)?.f_mul(&lacks)?)?;
    Ok(whole.f_add(&at(plane, &index.f_add_scalar(1)?)?.f_mul(&next)?)?)
}

/// The integral `H` of the hat of linear interpolation, 0 below -1 and 1 above 1.
pub(super) fn hat_integral(u: &Tensor) -> Result<Tensor> {
    let u = u.f_clamp(-1.0, 1.0)?;
    Ok(u.f_sub(&u.f_mul(&u.f_abs()?)?.f_mul_scalar(0.5)?)?.f_add_scalar(0.5)?)
}

/// `A^T y` where `transpose`, otherwise the sum over angles of projections interpolated at the pixels.
pub(super) fn back(beam: &ParallelBeam, transpose: bool, y: &Tensor) -> Result<Tensor> {
    let (batch, rays) = (y.size()[0], beam.detector().count as i64);
    let Pixels { rows, columns, .. } = beam.pixels();
    let mut image = Tensor::f_zeros([batch, 1, rows as i64, columns as i64], (y.kind(), y.device()))?;
    let y = y.f_reshape([batch, -1, rays])?;
    for transposed in [false, true] {
        let (lines, width) = if transposed { (columns, rows) } else { (rows, columns) };
        let (lines, width) = (lines as i64, width as i64);
        for chunk in chunks(beam, transposed, [batch, lines, width]) {
            let finest = chunk.iter().map(|(_, view)| view.per_ray).fold(f64::INFINITY, f64::min);
            let (places, columns) = split(&chunk, y.device())?;
            let mut rays_of = y.f_index_select(1, &places)?;
            if transpose {
                rays_of = rays_of.f_mul(&columns.length.f_to_kind(y.kind())?.f_view([1, -1, 1])?)?;
            }
            let rays_of = rays_of.f_constant_pad_nd([1, 1])?.f_flatten(1, 2)?;
            // Between detector pixels: rays within one pixel of the line, or the two next to the pixel.
            let pixel = numbers(width, &y)?.f_view([1, 1, width])?;
            let at = pixel.f_sub(&columns.starts(lines)?)?.f_div(&columns.per_ray)?;
            let sharpness =
                if transpose { columns.per_ray.f_abs()? } else { columns.per_ray.f_ones_like()? };
            let taps = if transpose { (1.0 / finest).ceil().max(1.0) as i64 } else { 1 };
            let strip = transpose && beam.footprint() == Footprint::Strip;
            // A pixel reaches over two: so many strips of the finest view meet it, from the first on.
            let (below, taps) = if strip {
                let reach = columns.per_ray.f_abs()?.f_reciprocal()?;
                (at.f_sub(&reach)?.f_add_scalar(0.5)?.f_floor()?, 0..=(2.0 / finest).ceil().max(2.0) as i64)
            } else {
                (at.f_floor()?, 1 - taps..=taps)
            };
            let first =
                numbers(chunk.len() as i64, &y)?.f_mul_scalar((rays + 2) as f64)?.f_view([-1, 1, 1])?;
            let mut sum: Option<Tensor> = None;
            for tap in taps {
                let ray = below.f_add_scalar(tap as f64)?;
                let weight = if strip {
                    // Edges of the ray's strip, seen from the pixel, in pixels.
                    let width = columns.per_ray.f_abs()?;
                    let edge = |half: f64| ray.f_add_scalar(half)?.f_sub(&at)?.f_mul(&width);
                    hat_integral(&edge(0.5)?)?.f_sub(&hat_integral(&edge(-0.5)?)?)?.f_div(&width)?
                } else {
                    let near = at.f_sub(&ray)?.f_abs()?.f_mul(&sharpness)?.f_neg()?.f_add_scalar(1.0)?;
                    near.f_clamp_min(0.0)?
                };
                let weight = weight.f_to_kind(y.kind())?;
                let index = ray.f_clamp(-1.0, rays as f64)?.f_add(&first)?.f_add_scalar(1.0)?;
                let index = index.f_to_kind(Kind::Int64)?.f_flatten(0, -1)?;
                let size = [batch, chunk.len() as i64, lines, width];
                let part = rays_of.f_index_select(1, &index)?.f_view(size)?.f_mul(&weight)?;
                let part = part.f_sum_dim_intlist(1i64, false, None::<Kind>)?;
                sum = Some(match sum {
                    Some(sum) => sum.f_add(&part)?,
                    None => part,
                });
            }
            if let Some(sum) = sum {
                let sum = if transposed { sum.f_transpose(1, 2)? } else { sum };
                image = image.f_add(&sum.f_unsqueeze(1)?)?;
            }
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_taken_while_their_values_fit_one_at_least() {
        for (shape, views) in [
            ([1, 4096, 4096], 1),
            ([1, 4096, 4097], 1),
            ([1, 4096, 2048], 2),
            ([2, 600, 601], 23),
            ([16, 1024, 1], 1024),
            ([0, 5, 5], CHUNK as usize),
        ] {
            assert_eq!(views_at_once(shape), views, "{shape:?}");
        }
    }
}
