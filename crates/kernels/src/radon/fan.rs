//! Where the rays of a fan beam run: from a source that turns around the image to a flat or a curved detector.

use super::geometry::{Detector, Footprint, Pixels, check};
use super::number::Number;
use super::plane::{Plane, split};
use crate::error::KernelError;
use rayon::prelude::*;
use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

/// A detector pixel is seen from the source under less (radians), so that its edges cross the lines that its ray crosses.
const WIDEST_PIXEL: f64 = 0.5;

/// Distances of the source beyond so many sizes of a pixel are parallel beams.
const FARTHEST: f64 = 1e9;

/// Projections that a row of the image collects before they are added to it: sums of sums round less.
const ANGLES: usize = 16;

/// What the detector of a [`FanBeam`] is bent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// A line at right angles to the ray through the axis of rotation: equal distances.
    Flat,
    /// An arc around the source: equal angles. Lengths are measured along it.
    Curved,
}

/// A checked fan-beam geometry.
///
/// At the angle `theta` the source lies at `R (sin theta, -cos theta)`, `R` being its distance from the axis of
/// rotation, and the middle ray hits the detector at the distance `D` beyond the axis. Pixels of the [`Detector`] lie
/// at `u = (j - (count - 1)/2) spacing + offset`, in metres along the detector, `u` pointing along `(cos theta, sin
/// theta)` there. The ray to `u` makes the angle `gamma` with the middle ray,
///
/// `gamma = atan(u / (R + D))` (flat), `gamma = u / (R + D)` (curved),
///
/// and is the ray `{ x cos(theta - gamma) + y sin(theta - gamma) = R sin gamma }` of a parallel beam: with a source far
/// away it is [`ParallelBeam`](super::ParallelBeam) of the same angles. ASTRA's `fanflat` is this with [`Curve::Flat`].
///
/// Detector pixels that are wider than image pixels where the axis of rotation lies measure means over their width, others
/// single rays ([`Footprint`]), unless [`FanBeam::with_footprint`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct FanBeam {
    angles: Vec<f64>,
    pixels: Pixels,
    detector: Detector,
    curve: Curve,
    source_origin: f64,
    origin_detector: f64,
    footprint: Footprint,
}

/// A single ray, as it crosses the lines of the image: rows, or columns where `transposed`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ray {
    /// Whether the ray is flatter than 45 degrees and the lines are columns.
    pub transposed: bool,
    /// Position on line 0, in pixels.
    pub origin: f64,
    /// From one line to the next, in pixels.
    pub per_line: f64,
    /// Length between two lines, in metres.
    pub length: f64,
}

impl FanBeam {
    /// The largest fan angle of a ray, in radians: 85 degrees.
    pub const WIDEST: f64 = 85.0 / 90.0 * FRAC_PI_2;

    /// A geometry of these angles (radians), pixels and detector; the source lies `source_origin` metres before the
    /// axis of rotation and the detector `origin_detector` metres behind it.
    ///
    /// # Errors
    /// [`KernelError`] where [`ParallelBeam::new`](super::ParallelBeam::new) has one for angles, pixels or detector,
    /// where the source does not lie outside of the image, the detector's distance is negative, or rays leave the
    /// source at more than 85 degrees from the middle one.
    pub fn new(
        angles: Vec<f64>,
        pixels: Pixels,
        detector: Detector,
        curve: Curve,
        [source_origin, origin_detector]: [f64; 2],
    ) -> Result<Self, KernelError> {
        let radius = pixels.radius();
        // Also where pixels beyond the border are interpolated.
        let nearest = radius + 2.0 * pixels.size;
        let farthest = FARTHEST * pixels.size;
        if pixels.size > 0.0 && !(source_origin > nearest && source_origin <= farthest) {
            let expected =
                format!("more than the {nearest:.4e} m that the image reaches to, at most {farthest:.1e} m");
            return Err(KernelError::new(
                "distance of source and axis",
                expected,
                format!("{source_origin} m"),
            ));
        }
        if !(origin_detector >= 0.0 && origin_detector <= farthest.max(source_origin)) {
            let expected = format!("0 to {:.1e} m", farthest.max(source_origin));
            return Err(KernelError::new(
                "distance of axis and detector",
                expected,
                format!("{origin_detector} m"),
            ));
        }
        let magnification = (source_origin + origin_detector) / source_origin;
        let seen = Detector { spacing: detector.spacing / magnification, ..detector };
        check(&angles, pixels, seen)?;
        let footprint = Footprint::of(pixels, seen);
        let beam = Self { angles, pixels, detector, curve, source_origin, origin_detector, footprint };
        let ends = [-0.5, detector.count as f64 - 0.5].map(|j| beam.fan_angle(j).abs());
        if ends.iter().any(|end| *end > Self::WIDEST) {
            let expected = "ends within 85 degrees of the middle ray, seen from the source";
            let got = format!("{:.1} degrees", ends[0].max(ends[1]).to_degrees());
            return Err(KernelError::new("detector", expected, got));
        }
        if detector.spacing / (source_origin + origin_detector) > WIDEST_PIXEL {
            let expected = format!("at most {WIDEST_PIXEL} of the distance from the source");
            return Err(KernelError::new("detector spacing", expected, format!("{} m", detector.spacing)));
        }
        Ok(beam)
    }

    /// The same rays with detector pixels that measure this.
    #[must_use]
    pub fn with_footprint(self, footprint: Footprint) -> Self {
        Self { footprint, ..self }
    }

    /// The same geometry with the angles of these indices only.
    ///
    /// # Errors
    /// [`KernelError`] where the range is empty or leads beyond the last angle.
    pub fn angles(&self, indices: Range<usize>) -> Result<Self, KernelError> {
        Ok(Self { angles: super::geometry::part(&self.angles, indices)?, ..self.clone() })
    }

    /// The same with another detector at the same place; the footprint stays.
    ///
    /// # Errors
    /// Those of [`FanBeam::new`].
    pub fn with_detector(&self, detector: Detector) -> Result<Self, KernelError> {
        let Self { angles, pixels, curve, source_origin, origin_detector, .. } = self.clone();
        let beam = Self::new(angles, pixels, detector, curve, [source_origin, origin_detector])?;
        Ok(beam.with_footprint(self.footprint))
    }

    /// The angles in radians, in the order given.
    pub fn angle_list(&self) -> &[f64] {
        &self.angles
    }

    /// What a detector pixel measures.
    pub fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// The pixels of the image.
    pub fn pixels(&self) -> Pixels {
        self.pixels
    }

    /// The detector.
    pub fn detector(&self) -> Detector {
        self.detector
    }

    /// What the detector is bent to.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// Distance `R` of source and axis of rotation, in metres.
    pub fn source_origin(&self) -> f64 {
        self.source_origin
    }

    /// Distance `D` of axis of rotation and detector, in metres.
    pub fn origin_detector(&self) -> f64 {
        self.origin_detector
    }

    /// `R + D`.
    pub fn source_detector(&self) -> f64 {
        self.source_origin + self.origin_detector
    }

    /// The angle `gamma` between the rays to detector pixel `j` and through the axis of rotation, in radians.
    pub fn fan_angle(&self, j: f64) -> f64 {
        let along = self.detector.position(j) / self.source_detector();
        match self.curve {
            Curve::Flat => along.atan(),
            Curve::Curved => along,
        }
    }

    /// The ray of angle `k` to detector pixel `j`, also between two; `transposed` where its lines shall be columns.
    ///
    /// # Panics
    /// If there are not that many angles.
    pub fn ray(&self, k: usize, j: f64, transposed: Option<bool>) -> Ray {
        let gamma = self.fan_angle(j);
        let (sin, cos) = (self.angles[k] - gamma).sin_cos();
        let Pixels { rows, columns, size } = self.pixels;
        let s = self.source_origin * gamma.sin() / size;
        let middle = |n: usize| 0.5 * (n as f64 - 1.0);
        let transposed = transposed.unwrap_or(sin.abs() > cos.abs());
        // In pixels from the centre, as of parallel beams.
        let (origin, per_line) = if transposed {
            (middle(rows) - (s + middle(columns) * cos) / sin, cos / sin)
        } else {
            (middle(columns) + (s - middle(rows) * sin) / cos, sin / cos)
        };
        let length = size / if transposed { sin.abs() } else { cos.abs() };
        Ray { transposed, origin, per_line, length }
    }

    /// By how many metres, at the axis of rotation, the image reaches beyond the detector at the worst angle; 0 where every
    /// projection is whole.
    pub fn truncation(&self) -> f64 {
        let [right, up] = self.pixels.reach();
        let ends = [-0.5, self.detector.count as f64 - 0.5].map(|j| self.detector.position(j));
        let to_axis = self.source_origin / self.source_detector();
        let mut worst: f64 = 0.0;
        for angle in &self.angles {
            for (x, y) in [(right, up), (right, -up), (-right, up), (-right, -up)] {
                let (u, _) = self.seen(angle.sin_cos(), x, y);
                worst = worst.max((u - ends[1]).max(ends[0] - u) * to_axis);
            }
        }
        if worst > 1e-9 * self.pixels.size { worst } else { 0.0 }
    }

    /// Where the ray through a point meets the detector, in metres, and by what the point's back projection is
    /// multiplied: `(R / U)^2`, `U` the distance from the source, along the middle ray for a flat detector.
    #[inline(always)]
    pub fn seen(&self, (sin, cos): (f64, f64), x: f64, y: f64) -> (f64, f64) {
        let across = x * cos + y * sin;
        let depth = self.source_origin + (y * cos - x * sin);
        match self.curve {
            Curve::Flat => {
                let near = self.source_origin / depth;
                (across / depth * self.source_detector(), near * near)
            }
            Curve::Curved => {
                let near = self.source_origin * self.source_origin / (depth * depth + across * across);
                ((across / depth).atan() * self.source_detector(), near)
            }
        }
    }

    /// Back projection, see [`Beam::back_project`](super::Beam::back_project): row by row, on the threads of the
    /// current pool.
    pub(super) fn interpolate<T: Number>(&self, sinogram: &[T], image: &mut [T]) {
        let Pixels { columns, size, .. } = self.pixels;
        let [right, up] = self.pixels.reach();
        let Detector { count, spacing, .. } = self.detector;
        let first = self.detector.position(0.0);
        let rays = Plane::filled(self.angles.len(), count, |k, line: &mut [T]| {
            line.copy_from_slice(&sinogram[k * count..][..count]);
        });
        let turns: Vec<(f64, f64)> = self.angles.iter().map(|angle| angle.sin_cos()).collect();
        let rows = image.par_chunks_mut(columns).enumerate();
        rows.for_each_init(
            || vec![T::ZERO; columns],
            |part, (r, row)| {
                row.fill(T::ZERO);
                let y = up - (r as f64 + 0.5) * size;
                for (from, turns) in turns.chunks(ANGLES).enumerate() {
                    part.fill(T::ZERO);
                    for (k, &turn) in turns.iter().enumerate() {
                        let rays = rays.padded(from * ANGLES + k);
                        for (c, sum) in part.iter_mut().enumerate() {
                            let x = (c as f64 + 0.5) * size - right;
                            let (u, near) = self.seen(turn, x, y);
                            let at = ((u - first) / spacing).clamp(-1.0, count as f64);
                            let (j, w) = split::<T>(at);
                            let near = T::of(near);
                            *sum = *sum + near * (rays[j] + w * (rays[j + 1] - rays[j]));
                        }
                    }
                    for (value, part) in row.iter_mut().zip(&*part) {
                        *value = *value + *part;
                    }
                }
            },
        );
    }
}
