//! The axis of rotation of a scan, estimated from its own projections.

use crate::check;
use smalti_base::{Error, Result, Space};
use std::f64::consts::{PI, TAU};
use tch::{Device, Kind, Tensor};

/// A projection ends at about zero where it ends below this share of its largest value.
const ABOUT_ZERO: f64 = 0.05;

/// The detector pixel, counted from 0, that the axis of rotation is opposite to: what [`crate::Detector::around`] takes.
///
/// The view of `theta + pi` is that of `theta`, mirrored at the axis `a`. Two forms of this symmetry:
///
/// - **whole projections** (all end at about zero, below 5 % of the largest value): the centre of mass of a projection is
///   `m(theta) = a + X cos(theta) + Y sin(theta)`, and least squares over all views give `a`, also where no two are
///   opposite. Views must cover at least 90 degrees.
/// - **truncated projections**, as of half acquisitions: the `a` for which opposite views `p(a + s)` and `p'(a - s)` differ
///   least in the mean square, as a share of what varies, over what both see (at least an eighth of the detector), to about
///   a tenth of a pixel. Needs views whose opposite is there, too, interpolated between neighbours less than 5 degrees
///   apart.
///
/// # Shapes
/// `[B, 1, angles, detector pixels]` in float32 or float64, all of one scan; `angles` in radians.
///
/// # Errors
/// [`Error::Shape`] where the sinogram is none or has another number of views; [`Error::Value`] where it is not finite,
/// sees nothing, or the views do not tell: give the axis then.
///
/// # Reference
/// Azevedo, Schneberk, Fitch, Martz, "Calculation of the rotational centers in computed tomography sinograms", IEEE
/// Transactions on Nuclear Science 37 (1990), 1525-1540; Vo, Drakopoulos, Atwood, Reinhard, "Reliable method for
/// calculating the center of rotation in parallel-beam tomography", Optics Express 22 (2014), 19078-19086.
pub fn axis_of_rotation(sinogram: &Tensor, angles: &[f64]) -> Result<f64> {
    let space = Space::of("sinogram", sinogram)?;
    check::element("sinogram", sinogram, space)?;
    if (space.channels, space.height) != (1, angles.len() as i64) {
        let expected = format!("[B, 1, {}, detector pixels], a row for each angle", angles.len());
        return Err(Error::shape("sinogram", expected, sinogram.size()));
    }
    let values = sinogram.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_flatten(0, -1)?;
    let values = Vec::<f64>::try_from(&values)?;
    let count = space.width as usize;
    let finite = values.iter().chain(angles).all(|v| v.is_finite());
    let highest = values.iter().copied().fold(0.0, f64::max);
    if !finite || highest <= 0.0 || count < 8 {
        let expected = "finite projections of something, on at least 8 detector pixels";
        let got =
            if finite { format!("{count} pixels, at most {highest}") } else { "NaN or infinite".to_owned() };
        return Err(Error::value("sinogram to find the axis of", expected, got));
    }
    let end = (count / 32).clamp(1, 8);
    let level = |part: &[f64]| part.iter().sum::<f64>().abs() / end as f64;
    let whole = |row: &[f64]| level(&row[..end]).max(level(&row[count - end..])) < ABOUT_ZERO * highest;
    if values.chunks_exact(count).all(whole) {
        by_mass(&values, angles, count)
    } else {
        by_opposite_views(&values, angles, count)
    }
}

fn unknown(got: &str) -> Error {
    let expected =
        "whole projections over at least 90 degrees, or views from opposite sides (else give the axis)";
    Error::value("axis of rotation", expected, got)
}

/// Least squares of `m = a + X cos + Y sin` over all views.
fn by_mass(values: &[f64], angles: &[f64], count: usize) -> Result<f64> {
    let mut system = nalgebra::Matrix3::zeros();
    let mut right = nalgebra::Vector3::zeros();
    for (k, row) in values.chunks_exact(count).enumerate() {
        let mass: f64 = row.iter().sum();
        if mass <= 0.0 {
            return Err(unknown(&format!("a view without mass, {}", k % angles.len())));
        }
        let moment: f64 = row.iter().enumerate().map(|(j, value)| j as f64 * value).sum();
        let (sin, cos) = angles[k % angles.len()].sin_cos();
        let line = nalgebra::Vector3::new(1.0, cos, sin);
        system += line * line.transpose();
        right += line * (moment / mass);
    }
    let views = values.len() as f64 / count as f64;
    let spread = system.symmetric_eigenvalues().min() / views;
    // Over an arc of 90 degrees the least eigenvalue of the mean is 0.0052.
    let solved = system.cholesky().filter(|_| spread > 0.005).map(|s| s.solve(&right));
    solved.map(|solved| solved.x).ok_or_else(|| unknown("whole projections over fewer degrees"))
}

/// The mirror axis of views and what is seen from the opposite side.
fn by_opposite_views(values: &[f64], angles: &[f64], count: usize) -> Result<f64> {
    let pairs = opposite(angles);
    if pairs.is_empty() {
        return Err(unknown("truncated projections from one side"));
    }
    let scans = values.chunks_exact(count * angles.len());
    let mut both = Vec::new();
    for scan in scans {
        let row = |k: usize| &scan[k * count..][..count];
        for &(k, low, high, w) in &pairs {
            let mirrored: Vec<f64> =
                row(low).iter().zip(row(high)).map(|(a, b)| (1.0 - w) * a + w * b).collect();
            both.push((row(k), mirrored));
        }
    }
    // Pixel j of one view is pixel 2 a - j of the other. Flat parts resemble each other anywhere: differences are shares
    // of what varies.
    let difference = |axis: f64| {
        let (mut sum, mut variation) = (0.0, 0.0);
        for (one, other) in &both {
            let (mut number, mut total, mut squares) = (0.0, 0.0, 0.0);
            for (j, value) in one.iter().enumerate() {
                let place = 2.0 * axis - j as f64;
                if place < 0.0 || place > (count - 1) as f64 {
                    continue;
                }
                let (low, w) = (place as usize, place.fract());
                let seen = other[low] + w * (other[(low + 1).min(count - 1)] - other[low]);
                sum += (value - seen).powi(2);
                number += 2.0;
                total += value + seen;
                squares += value * value + seen * seen;
            }
            let varies = squares - total * total / f64::max(number, 1.0);
            variation += if varies > 1e-9 * squares { varies } else { 0.0 };
        }
        if variation > 0.0 { sum / variation } else { f64::INFINITY }
    };
    let least = |candidates: &mut dyn Iterator<Item = f64>| {
        let costs = candidates.map(|axis| (axis, difference(axis)));
        let best = costs.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|best| best.1.is_finite());
        best.map(|best| best.0).ok_or_else(|| unknown("views in which nothing varies"))
    };
    let margin = (count / 8).max(2);
    let quarters = 2 * margin..4 * (count - 1) - 2 * margin;
    let coarse = least(&mut quarters.map(|quarter| 0.25 * quarter as f64))?;
    least(&mut (-25..=25).map(|k| coarse + 0.01 * f64::from(k)))
}

/// Views `k` and the two `low`, `high` around what is opposite to it, with the weight of `high`.
fn opposite(angles: &[f64]) -> Vec<(usize, usize, usize, f64)> {
    let mut order: Vec<(f64, usize)> =
        angles.iter().enumerate().map(|(k, a)| (a.rem_euclid(TAU), k)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut found = Vec::new();
    for &(angle, k) in &order {
        let to = (angle + PI).rem_euclid(TAU);
        let next = order.partition_point(|(other, _)| *other < to);
        let (after, high) = order[next % order.len()];
        let (before, low) = order[(next + order.len() - 1) % order.len()];
        let gap = (after - before).rem_euclid(TAU);
        let along = (to - before).rem_euclid(TAU);
        let near = |d: f64| d.min(TAU - d) < 1e-6;
        if near(along) {
            found.push((k, low, low, 0.0));
        } else if near((after - to).rem_euclid(TAU)) {
            found.push((k, high, high, 0.0));
        } else if gap < 5_f64.to_radians() && along < gap {
            found.push((k, low, high, along / gap));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detector, Operator, ParallelBeam, Pixels, Radon};

    /// Projections of three blocks, the axis opposite to `axis`.
    fn scan(angles: &[f64], axis: f64, count: usize) -> Tensor {
        let pixels = Pixels { rows: 90, columns: 80, size: 0.001 };
        let detector = Detector::around(axis, count, 0.001);
        let a = Radon::new(ParallelBeam::new(angles.to_vec(), pixels, detector).unwrap());
        let x = Tensor::zeros(a.domain().batch(1), (Kind::Double, Device::Cpu));
        for (r, c, h, w, v) in [(10, 12, 50, 40, 1.0), (30, 40, 45, 25, 0.7), (60, 20, 8, 30, 2.0)] {
            let _ = x.narrow(2, r, h).narrow(3, c, w).g_add_scalar_(v);
        }
        a.apply(&x).unwrap()
    }

    #[test]
    fn whole_projections_tell_the_axis_from_half_a_turn() {
        let angles: Vec<f64> = (0..90).map(|k| f64::from(k) * PI / 90.0).collect();
        for axis in [69.5, 75.3, 62.0] {
            let found = axis_of_rotation(&scan(&angles, axis, 140), &angles).unwrap();
            assert!((found - axis).abs() < 0.02, "{axis}: {found}");
        }
        // A quarter is enough, less is not.
        let found = axis_of_rotation(&scan(&angles[..50], 66.0, 140), &angles[..50]).unwrap();
        assert!((found - 66.0).abs() < 0.1, "{found}");
        assert!(axis_of_rotation(&scan(&angles[..10], 66.0, 140), &angles[..10]).is_err());
    }

    #[test]
    fn opposite_views_tell_it_where_projections_are_truncated() {
        let even: Vec<f64> = (0..180).map(|k| f64::from(k) * PI / 90.0).collect();
        let odd: Vec<f64> = (0..181).map(|k| f64::from(k) * TAU / 181.0).collect();
        let ends = vec![0.0, 0.4, 1.0, PI];
        for angles in [even, odd, ends] {
            for axis in [12.0, 20.3, 44.6] {
                let found = axis_of_rotation(&scan(&angles, axis, 64), &angles).unwrap();
                assert!((found - axis).abs() < 0.15, "{axis}: {found}");
            }
        }
        let angles: Vec<f64> = (0..60).map(|k| f64::from(k) * PI / 60.0).collect();
        let line = axis_of_rotation(&scan(&angles, 20.0, 64), &angles).unwrap_err().to_string();
        assert!(line.contains("truncated projections from one side") && line.lines().count() == 1, "{line}");
    }

    /// Smooth rows that are the same mirrored, from the opposite side: hundredths of a pixel can be told.
    #[test]
    fn the_axis_is_between_quarters_of_a_pixel() {
        let angles: Vec<f64> = (0..72).map(|k| f64::from(k) * TAU / 72.0).collect();
        for axis in [20.37, 31.5, 38.13] {
            let value = |theta: f64, s: f64| {
                3.0 + theta.cos() * (0.1 * s).sin()
                    + (0.07 * s).cos()
                    + (2.0 * theta).sin() * (0.15 * s).cos()
            };
            let row = |theta: &f64| (0..64).map(|j| value(*theta, f64::from(j) - axis)).collect::<Vec<f64>>();
            let rows: Vec<f64> = angles.iter().flat_map(row).collect();
            let found =
                axis_of_rotation(&Tensor::from_slice(&rows).reshape([1, 1, 72, 64]), &angles).unwrap();
            assert!((found - axis).abs() < 0.02, "{axis}: {found}");
        }
    }

    /// Against all pairs of views; angles in no order, some of other turns, some gaps too wide.
    #[test]
    fn opposite_views_are_the_two_next_to_the_opposite_angle() {
        let jitter = |k: i32| 0.02 * f64::from(k * 37 % 19) / 19.0;
        let even = (0..40).map(|k| f64::from(k * 7 % 40) * TAU / 40.0).collect::<Vec<f64>>();
        let uneven: Vec<f64> =
            (0..100).map(|k| 0.055 * f64::from(k * 23 % 100) + jitter(k) - f64::from(k % 3) * TAU).collect();
        let half: Vec<f64> = (0..30).map(|k| f64::from(k) * PI / 31.0).collect();
        for (angles, all) in [(even, true), (uneven, false), (half, false)] {
            let found = opposite(&angles);
            let mut pairs = 0;
            for (k, angle) in angles.iter().enumerate() {
                // How far every view is from the opposite angle, forwards and backwards.
                let forwards = |j: usize| (angles[j] - angle - PI).rem_euclid(TAU);
                let same = |j: &usize| forwards(*j).min(TAU - forwards(*j)) < 1e-6;
                let (mut high, mut low) = (0, 0);
                for j in 0..angles.len() {
                    high = if forwards(j) < forwards(high) { j } else { high };
                    low = if forwards(j) > forwards(low) { j } else { low };
                }
                let (after, before) = (forwards(high), TAU - forwards(low));
                let expected = if let Some(same) = (0..angles.len()).find(same) {
                    Some((same, same, 0.0))
                } else {
                    (after + before < 5_f64.to_radians()).then_some((low, high, before / (before + after)))
                };
                pairs += usize::from(expected.is_some());
                let of = found.iter().find(|pair| pair.0 == k).map(|&(_, low, high, w)| (low, high, w));
                match (of, expected) {
                    (Some(of), Some(expected)) => {
                        assert_eq!((of.0, of.1), (expected.0, expected.1), "{k}");
                        assert!((of.2 - expected.2).abs() < 1e-9, "{k}: {of:?} {expected:?}");
                    }
                    (of, expected) => assert_eq!(of, expected, "{k}"),
                }
            }
            assert_eq!(found.len(), pairs);
            assert_eq!(pairs == angles.len(), all);
        }
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        let angles = [0.0, 1.0, 2.0];
        let zeros = Tensor::zeros([1, 1, 3, 40], (Kind::Float, Device::Cpu));
        assert!(axis_of_rotation(&zeros, &angles).is_err());
        assert!(axis_of_rotation(&(&zeros / 0.0), &angles).is_err());
        assert!(axis_of_rotation(&zeros, &angles[..2]).is_err());
        let turn: Vec<f64> = (0..8).map(|k| f64::from(k) * PI / 4.0).collect();
        let ones = Tensor::ones([1, 1, 8, 40], (Kind::Float, Device::Cpu));
        assert!(axis_of_rotation(&ones, &turn).is_err());
    }
}
