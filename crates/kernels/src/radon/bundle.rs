//! Rays of one angle that cross the same lines: those of a parallel beam, or neighbouring ones of a fan.

use super::crossing::Crossing;
use super::fan::FanBeam;
use super::geometry::{Footprint, Pixels};
use super::view::View;
use std::ops::Range;

/// Rays of one angle that are all steeper than 45 degrees, or all flatter.
#[derive(Debug, Clone)]
pub(super) enum Bundle {
    Parallel(View),
    Fan(Fan),
}

impl Bundle {
    /// Whether the lines are columns.
    pub(super) fn transposed(&self) -> bool {
        match self {
            Self::Parallel(view) => view.transposed,
            Self::Fan(fan) => fan.transposed,
        }
    }

    /// Number of rays.
    pub(super) fn rays(&self) -> usize {
        match self {
            Self::Parallel(view) => view.rays,
            Self::Fan(fan) => fan.origins.len(),
        }
    }

    /// The detector pixel of ray `k`.
    #[inline(always)]
    pub(super) fn pixel(&self, k: usize) -> usize {
        match self {
            Self::Parallel(view) if view.reversed => view.rays - 1 - k,
            Self::Parallel(_) => k,
            Self::Fan(fan) if fan.reversed => fan.first + fan.origins.len() - 1 - k,
            Self::Fan(fan) => fan.first + k,
        }
    }

    /// The length of ray `k` between two lines, in metres.
    #[inline(always)]
    pub(super) fn length(&self, k: usize) -> f64 {
        match self {
            Self::Parallel(view) => view.length,
            Self::Fan(fan) => fan.lengths[k],
        }
    }
}

/// Neighbouring rays of a fan: ray `k` crosses line `l` at `origins[k] + slopes[k] l`.
#[derive(Debug, Clone)]
pub(super) struct Fan {
    transposed: bool,
    reversed: bool,
    /// The detector pixel that comes first on the detector.
    first: usize,
    origins: Vec<f64>,
    slopes: Vec<f64>,
    lengths: Vec<f64>,
    /// The same of the edges of detector pixels, one more than rays; empty for single rays.
    edges: Vec<(f64, f64)>,
    pub(super) lines: usize,
    pub(super) width: usize,
}

impl Fan {
    /// The rays of angle `k`, in the order of the detector: at most three bundles.
    pub(super) fn bundles(beam: &FanBeam, k: usize) -> Vec<Bundle> {
        let rays: Vec<_> = (0..beam.detector().count).map(|j| beam.ray(k, j as f64, None)).collect();
        let Pixels { rows, columns, .. } = beam.pixels();
        let mut first = 0;
        let mut bundle = |rays: &[super::fan::Ray]| {
            let transposed = rays[0].transposed;
            let (sin, cos) = (beam.angle_list()[k] - beam.fan_angle(first as f64)).sin_cos();
            // As of parallel beams; the sign is the same for the whole bundle.
            let reversed = if transposed { sin > 0.0 } else { cos < 0.0 };
            let (lines, width) = if transposed { (columns, rows) } else { (rows, columns) };
            let edge = |j: usize| {
                let ray = beam.ray(k, j as f64 - 0.5, Some(transposed));
                (ray.origin, ray.per_line)
            };
            let mut edges: Vec<_> = match beam.footprint() {
                Footprint::Line => Vec::new(),
                Footprint::Strip => (first..=first + rays.len()).map(edge).collect(),
            };
            let mut rays = rays.to_vec();
            if reversed {
                rays.reverse();
                edges.reverse();
            }
            let each = |of: fn(&super::fan::Ray) -> f64| rays.iter().map(of).collect();
            let (origins, slopes, lengths) =
                (each(|ray| ray.origin), each(|ray| ray.per_line), each(|ray| ray.length));
            let fan = Self { transposed, reversed, first, origins, slopes, lengths, edges, lines, width };
            first += rays.len();
            Bundle::Fan(fan)
        };
        rays.chunk_by(|a, b| a.transposed == b.transposed).map(&mut bundle).collect()
    }

    /// What a detector pixel measures.
    pub(super) fn footprint(&self) -> Footprint {
        if self.edges.is_empty() { Footprint::Line } else { Footprint::Strip }
    }

    /// The rays on a line.
    pub(super) fn on(&self, line: usize) -> OnLine<'_> {
        OnLine { fan: self, line: line as f64 }
    }
}

/// A [`Fan`] on a line.
pub(super) struct OnLine<'a> {
    fan: &'a Fan,
    line: f64,
}

impl OnLine<'_> {
    /// The numbers of the first position above -1 and of the first one that is not below the width. On lines behind the
    /// source positions fall, and all of them lie beyond the same end.
    fn within(&self, count: usize, at: impl Fn(usize) -> f64) -> Range<usize> {
        let first_where = |from: usize, above: &dyn Fn(f64) -> bool| {
            let (mut low, mut high) = (from, count);
            while low < high {
                let middle = low.midpoint(high);
                if above(at(middle)) { high = middle } else { low = middle + 1 }
            }
            low
        };
        let first = first_where(0, &|position| position > -1.0);
        first..first_where(first, &|position| position >= self.fan.width as f64)
    }
}

impl Crossing for OnLine<'_> {
    #[inline(always)]
    fn ray(&self, k: usize) -> f64 {
        // What rounding leaves beyond the ends are zeros around the line.
        self.fan.origins[k] + self.fan.slopes[k] * self.line
    }

    #[inline(always)]
    fn edge(&self, k: usize) -> f64 {
        let (origin, slope) = self.fan.edges[k];
        origin + slope * self.line
    }

    #[inline(always)]
    fn per_width(&self, k: usize) -> f64 {
        1.0 / (self.edge(k + 1) - self.edge(k))
    }

    fn rays(&self) -> Range<usize> {
        let Fan { origins, slopes, .. } = self.fan;
        self.within(origins.len(), |k| origins[k] + slopes[k] * self.line)
    }

    fn strips(&self) -> Range<usize> {
        let edges = self.within(self.fan.edges.len(), |k| self.edge(k));
        // From the pixel before the first edge inside to that behind the last one.
        edges.start.saturating_sub(1)..edges.end.min(self.fan.origins.len())
    }
}
