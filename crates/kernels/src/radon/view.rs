//! The rays of one angle, as positions on the lines of the image that they cross.

use super::crossing::Crossing;
use super::geometry::{Detector, Footprint, ParallelBeam, Pixels};
use std::ops::Range;

/// The rays of one angle in the coordinates of Joseph's model.
///
/// Rays that are steeper than 45 degrees cross every row of the image once; the *lines* are rows then, and columns
/// otherwise (`transposed`). Ray `k` crosses line `l` at pixel position
///
/// `position = origin + per_ray k + per_line l`, `per_ray > 0`, `|per_line| <= 1`,
///
/// counted along the line, pixel centres being whole numbers; detector pixel `j` is ray `k = j`, or `k = count - 1 - j`
/// where `reversed`. Between two lines a ray is `length` metres long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Whether the lines are columns.
    pub transposed: bool,
    /// Whether rays are counted from the last detector pixel.
    pub reversed: bool,
    /// Position of ray 0 on line 0, in pixels.
    pub origin: f64,
    /// From one ray to the next, in pixels.
    pub per_ray: f64,
    /// From one line to the next, in pixels.
    pub per_line: f64,
    /// Length of a ray between two lines, in metres.
    pub length: f64,
    /// Number of rays.
    pub rays: usize,
    /// Number of lines.
    pub lines: usize,
    /// Number of pixels of a line.
    pub width: usize,
    /// What a detector pixel measures.
    pub footprint: Footprint,
}

impl ParallelBeam {
    /// The rays of angle `k` as they cross the image.
    ///
    /// # Panics
    /// If there are not that many angles.
    pub fn view(&self, k: usize) -> View {
        View::new(self.angle_list()[k], self.pixels(), self.detector(), self.footprint())
    }
}

impl View {
    fn new(angle: f64, pixels: Pixels, detector: Detector, footprint: Footprint) -> Self {
        let (sin, cos) = angle.sin_cos();
        let (rows, columns) = (pixels.rows, pixels.columns);
        let middle = |n: usize| 0.5 * (n as f64 - 1.0);
        let spacing = detector.spacing / pixels.size;
        let first = detector.offset / pixels.size - middle(detector.count) * spacing;
        let transposed = sin.abs() > cos.abs();
        // In pixels from the centre: s = x cos + y sin, x = c - middle(columns), y = middle(rows) - r.
        let (lines, width, origin, per_ray, per_line) = if transposed {
            let origin = middle(rows) - (first + middle(columns) * cos) / sin;
            (columns, rows, origin, -spacing / sin, cos / sin)
        } else {
            let origin = middle(columns) + (first - middle(rows) * sin) / cos;
            (rows, columns, origin, spacing / cos, sin / cos)
        };
        let reversed = per_ray < 0.0;
        let origin = if reversed { origin + per_ray * (detector.count as f64 - 1.0) } else { origin };
        let length = pixels.size / sin.abs().max(cos.abs());
        let per_ray = per_ray.abs();
        let rays = detector.count;
        Self { transposed, reversed, origin, per_ray, per_line, length, rays, lines, width, footprint }
    }

    /// The position of ray 0 on a line.
    #[inline(always)]
    pub(super) fn start(&self, line: usize) -> f64 {
        self.origin + self.per_line * line as f64
    }

    /// The rays on a line.
    #[inline(always)]
    pub(super) fn on(&self, line: usize) -> OnLine<'_> {
        OnLine { view: self, start: self.start(line) }
    }
}

/// A [`View`] on a line, which its ray 0 crosses at `start`.
pub(super) struct OnLine<'a> {
    view: &'a View,
    start: f64,
}

impl OnLine<'_> {
    /// The rays between -1 and the width, and those that are less than `more` rays beyond.
    fn within(&self, more: f64) -> Range<usize> {
        let View { per_ray, width, rays, .. } = *self.view;
        let first = ((-1.0 - self.start) / per_ray - more).ceil();
        let end = ((width as f64 - self.start) / per_ray + more).floor() + 1.0;
        // Casts of what is negative give 0.
        let end = (end as usize).min(rays);
        (first as usize).min(end)..end
    }
}

impl Crossing for OnLine<'_> {
    #[inline(always)]
    fn ray(&self, k: usize) -> f64 {
        self.start + self.view.per_ray * k as f64
    }

    #[inline(always)]
    fn edge(&self, k: usize) -> f64 {
        self.start + self.view.per_ray * (k as f64 - 0.5)
    }

    #[inline(always)]
    fn per_width(&self, _: usize) -> f64 {
        1.0 / self.view.per_ray
    }

    fn rays(&self) -> Range<usize> {
        self.within(0.0)
    }

    fn strips(&self) -> Range<usize> {
        self.within(0.5)
    }
}
