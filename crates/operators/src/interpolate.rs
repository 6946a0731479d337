//! Bicubic (of volumes tricubic) interpolation of an observation onto the image grid: initial images and the bicubic
//! baseline.

use crate::{Boundary, Grid};
use smalti_base::{Error, Result, Space};
use tch::Tensor;

/// Keys' parameter, as torch has it.
const A: f64 = -0.75;

/// Samples the observation `y` at every pixel of `domain` by Keys' cubic convolution with a = -0.75:
///
/// `x[u] = sum_i w((u - origin)/spacing - i) y[i]`, rows, columns and the slices of volumes alike.
///
/// Beyond its outermost pixels `y` is continued as its operator continues the image, where that is [`Boundary::Periodic`]:
/// the observation follows again. With every other boundary the outermost pixels are repeated.
///
/// The grid of the operator that made `y` puts the result in its place: with torch's centres (origin
/// `(spacing - 1)/2`) and repeated pixels this is torch's `upsample_bicubic2d(align_corners=false)`; an image
/// made with another grid is shifted against that by whole pixels, which costs 7 dB on the SiC slices.
///
/// Constants are reproduced exactly. Ramps are not, since a is not -1/2: a ramp `y[i] = i` becomes
/// `t + s (1 - s) (1 - 2 s) / 2` at `t`, `s` being the fraction of `t`; that is up to 0.05 samples off.
///
/// # Shapes
/// `y: [B, C, h, w]` to `[B, C, H, W]`, volumes `[B, C, d, h, w]` to `[B, C, D, H, W]`, in the dtype and on the device of
/// `y`. Differentiable in `y`.
///
/// # Errors
/// [`Error::Shape`] where `y` has not the channels of `domain`, or is an image and `domain` one of volumes;
/// [`Error::Value`] where the spacing is not positive, or the observation's period `h spacing` is not the image's height
/// (width, depth) with [`Boundary::Periodic`].
///
/// # Reference
/// R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981).
pub fn interpolate(y: &Tensor, grid: Grid, domain: Space, boundary: Boundary) -> Result<Tensor> {
    let observed = Space::of("observation", y)?;
    let expected = match (domain.depth, observed.depth) {
        (None, Some(_)) => Space { depth: None, ..observed },
        (Some(_), None) => Space { depth: domain.depth, ..observed },
        _ => observed,
    };
    crate::check::element("observation", y, Space { channels: domain.channels, ..expected })?;
    let rows = weights("height", domain.height, observed.height, grid.origin.0, grid.spacing.0, boundary)?;
    let columns = weights("width", domain.width, observed.width, grid.origin.1, grid.spacing.1, boundary)?;
    let like = |m: Tensor| m.f_to_device(y.device()).and_then(|m| m.f_to_kind(y.kind()));
    let planes = like(rows)?.f_matmul(y)?.f_matmul(&like(columns)?.transpose(0, 1))?;
    let (Some(depth), Some(observed)) = (domain.depth, observed.depth) else { return Ok(planes) };
    let (origin, spacing) = grid.depth.unwrap_or((0.0, 1.0));
    let slices = weights("depth", depth, observed, origin, spacing, boundary)?;
    // Slices in the place of rows.
    let turned = like(slices)?.f_matmul(&planes.f_transpose(2, 3)?)?;
    Ok(turned.f_transpose(2, 3)?.f_contiguous()?)
}

/// The matrix `[n, m]` that interpolates `m` samples at `n` positions.
fn weights(what: &str, n: i64, m: i64, origin: f64, spacing: f64, boundary: Boundary) -> Result<Tensor> {
    if !(spacing > 0.0 && spacing.is_finite() && origin.is_finite()) {
        return Err(Error::value("grid spacing", "a positive number of pixels", spacing));
    }
    if n < 1 || m < 1 {
        return Err(Error::value(format!("{what} to interpolate"), "at least one pixel", n.min(m)));
    }
    if boundary == Boundary::Periodic && (m as f64 * spacing - n as f64).abs() > 1e-6 {
        let needed = format!("{n} pixels, the period of the image (or use Boundary::Valid)");
        return Err(Error::value(format!("period of the observation's {what}"), needed, m as f64 * spacing));
    }
    let mut matrix = vec![0.0; (n * m) as usize];
    for u in 0..n {
        let t = (u as f64 - origin) / spacing;
        let left = t.floor() as i64;
        for i in left - 1..=left + 2 {
            let source = if boundary == Boundary::Periodic { i.rem_euclid(m) } else { i.clamp(0, m - 1) };
            matrix[(u * m + source) as usize] += keys(t - i as f64);
        }
    }
    Ok(Tensor::from_slice(&matrix).reshape([n, m]))
}

/// Keys' cubic convolution kernel.
fn keys(t: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        A * (((t - 5.0) * t + 8.0) * t - 4.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;
    use tch::{Device, Kind};

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    fn observation(h: i64, w: i64) -> Tensor {
        Seed::new(5).at("observation", 0).uniform(&[2, 3, h, w]).to_kind(Kind::Double)
    }

    fn torch_grid(s: f64) -> Grid {
        Grid { origin: ((s - 1.0) / 2.0, (s - 1.0) / 2.0), spacing: (s, s), depth: None }
    }

    #[test]
    fn with_the_centres_of_torch_it_is_the_bicubic_of_torch() {
        for s in [2, 4, 6, 8] {
            let y = observation(9, 12);
            let (h, w) = (9 * s, 12 * s);
            let torch = y.upsample_bicubic2d([h, w], false, None, None);
            let ours = interpolate(&y, torch_grid(s as f64), Space::image(3, h, w), Boundary::Valid).unwrap();
            assert!(largest(&(ours - torch)) < 1e-12, "factor {s}");
        }
    }

    #[test]
    fn the_superresolution_grids_roll_it_by_6_5_and_4_pixels() {
        for (s, shift) in [(4, 6), (6, 5), (8, 4)] {
            let y = observation(10, 11);
            let (h, w) = (10 * s, 11 * s);
            let rolled = y.upsample_bicubic2d([h, w], false, None, None).roll([shift, shift], [2, 3]);
            let domain = Space::image(3, h, w);
            let a =
                crate::Convolution::superresolution(domain, 16, 2.0, s, crate::Boundary::Periodic).unwrap();
            use crate::PixelGrid;
            let cut = |x: &Tensor| {
                let margin = 2 * s + shift;
                x.narrow(2, margin, h - 2 * margin).narrow(3, margin, w - 2 * margin)
            };
            for boundary in [Boundary::Valid, Boundary::Periodic] {
                let ours = interpolate(&y, a.grid(), domain, boundary).unwrap();
                assert!(largest(&(cut(&ours) - cut(&rolled))) < 1e-12, "factor {s}");
            }
            // Not rolled it is something else.
            let plain = y.upsample_bicubic2d([h, w], false, None, None);
            let ours = interpolate(&y, a.grid(), domain, Boundary::Periodic).unwrap();
            assert!(largest(&(cut(&ours) - cut(&plain))) > 0.1);
        }
    }

    #[test]
    fn ramps_come_out_as_the_formula_says() {
        let grid = Grid { origin: (7.5, 1.25), spacing: (4.0, 2.5), depth: None };
        // The documented value of the ramp y[i] = i at every input pixel of an axis.
        let ramp = |n: i64, origin: f64, spacing: f64| {
            let t = (Tensor::arange(n, (Kind::Double, Device::Cpu)) - origin) / spacing;
            let s = &t - t.floor();
            t + &s * (1.0f64 - &s) * (1.0f64 - &s * 2.0) * 0.5
        };
        let plane = |r: Tensor, c: Tensor| {
            (r.unsqueeze(1) * 0.3 - c.unsqueeze(0) * 0.7 + 0.2).reshape([1, 1, -1, c.size()[0]])
        };
        let index = |n: i64| Tensor::arange(n, (Kind::Double, Device::Cpu));
        let y = plane(index(12), index(20));
        let x = plane(ramp(48, 7.5, 4.0), ramp(50, 1.25, 2.5));
        let ours = interpolate(&y, grid, Space::image(1, 48, 50), Boundary::Valid).unwrap();
        let cut = |x: &Tensor| x.narrow(2, 12, 30).narrow(3, 4, 38);
        assert!(largest(&(cut(&ours) - cut(&x))) < 1e-12);
        let flat = interpolate(&y.ones_like(), grid, Space::image(1, 48, 50), Boundary::Valid).unwrap();
        assert!(largest(&(flat - 1.0)) < 1e-14);
    }

    #[test]
    fn a_periodic_interpolation_moves_with_the_observation() {
        let y = observation(6, 7);
        let grid = Grid { origin: (7.5, 7.5), spacing: (4.0, 4.0), depth: None };
        let x = interpolate(&y, grid, Space::image(3, 24, 28), Boundary::Periodic).unwrap();
        let moved =
            interpolate(&y.roll([1, 2], [2, 3]), grid, Space::image(3, 24, 28), Boundary::Periodic).unwrap();
        assert!(largest(&(moved - x.roll([4, 8], [2, 3]))) < 1e-12);
    }

    #[test]
    fn volumes_are_interpolated_axis_by_axis() {
        // A product of functions of one axis each comes out as the product of what each becomes.
        let line = |n: i64, k| Seed::new(6).at("line", k).uniform(&[1, 1, n, 1]).to_kind(Kind::Double);
        let (depth, rows, columns) = (line(5, 0), line(6, 1), line(7, 2));
        let grid = Grid { origin: (1.5, 0.5), spacing: (3.0, 2.0), depth: Some((0.75, 2.5)) };
        let alone = |y: &Tensor, n, origin, spacing| {
            let along = Grid { origin: (origin, 0.0), spacing: (spacing, 1.0), depth: None };
            interpolate(y, along, Space::image(1, n, 1), Boundary::Valid).unwrap().reshape([-1])
        };
        let product = |d: &Tensor, h: &Tensor, w: &Tensor| {
            d.reshape([1, 1, -1, 1, 1]) * h.reshape([1, 1, 1, -1, 1]) * w.reshape([1, 1, 1, 1, -1])
        };
        let space = Space::volume(1, 13, 18, 14);
        let ours = interpolate(&product(&depth, &rows, &columns), grid, space, Boundary::Valid).unwrap();
        let expected = product(
            &alone(&depth, 13, 0.75, 2.5),
            &alone(&rows, 18, 1.5, 3.0),
            &alone(&columns, 14, 0.5, 2.0),
        );
        assert!(largest(&(ours - expected)) < 1e-14);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let y = observation(6, 7);
        let space = Space::image(3, 24, 28);
        assert!(interpolate(&y, torch_grid(4.0), Space::image(1, 24, 28), Boundary::Valid).is_err());
        assert!(interpolate(&y, torch_grid(3.0), space, Boundary::Periodic).is_err());
        assert!(interpolate(&y, torch_grid(0.0), space, Boundary::Valid).is_err());
        assert!(interpolate(&y.get(0), torch_grid(4.0), space, Boundary::Valid).is_err());
        let volume = Space::volume(3, 2, 24, 28);
        assert!(interpolate(&y, torch_grid(4.0), volume, Boundary::Valid).is_err());
        let thick = y.unsqueeze(2);
        assert!(interpolate(&thick, torch_grid(4.0), space, Boundary::Valid).is_err());
        assert!(interpolate(&thick, torch_grid(4.0), volume, Boundary::Periodic).is_err(), "1 slice for 2");
    }
}
