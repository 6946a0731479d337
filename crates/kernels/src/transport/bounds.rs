//! Rounding margins: how much float32 bounds must give way so that no winner is ever pruned.
//!
//! For a query `x` and a reference `y` with computed points `p` and `q`, true distance `s` and computed distance
//! `t = |p - q|`, `|t - s| <= e` or `t <= s + e` (the points are off by `relative_error` times their lengths). Hence with any
//! `eta` in (0, 1)
//!
//! `s^2 >= (1 - eta) t^2 - e^2 / eta`,
//!
//! and `|x - y|^2 - psi <= cutoff` implies, with `h = top - psi >= 0`,
//!
//! `t^2 + h <= (cutoff + top + e^2 / eta) / (1 - eta) =: reach`.
//!
//! `t^2 + h` itself is computed as `(|q|^2 + h) - 2 p.q + |p|^2` in float32, off by at most
//! `noise = gamma ((|p| + |q|)^2 + h)`; the part with `h` is taken off `h` beforehand. Products of bytes are off by more, by
//! which the limits of their queries are raised ([`Margin::widened`]).

/// Share of a squared distance that is given away for rounding.
const ETA: f64 = 1.0 / 65536.0;

/// What the margins of all queries have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Margins {
    /// Largest length of a reference point.
    radius: f64,
    /// Relative error of a computed point.
    relative_error: f64,
    /// Relative error of a computed bound.
    gamma: f64,
}

/// The margins of one query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Margin {
    /// `top + e^2 / eta`.
    lift: f64,
    /// `noise - |p|^2`.
    shift: f64,
}

/// What bounds are compared with: a float32 bound above the limit proves that the cost is above the cutoff.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// For squared distances to boxes plus the least `h` inside.
    pub(crate) boxes: f32,
    /// For `(|q|^2 + h) - 2 p.q`.
    pub(crate) points: f32,
}

impl Margins {
    /// For points with `terms` coordinates that are off by `relative_error` times their lengths, the longest being `radius`.
    pub(crate) fn new(radius: f64, relative_error: f64, terms: usize) -> Self {
        // Twice what one rounding for each coordinate and a few more can do.
        Self { radius, relative_error, gamma: (terms as f64 + 6.0) * f64::from(f32::EPSILON) }
    }

    /// No margins at all, to show that they are needed.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { radius: 0.0, relative_error: 0.0, gamma: 0.0 }
    }

    /// The largest length of a reference point.
    pub(crate) fn radius(&self) -> f64 {
        self.radius
    }

    /// The share of `h` that is left after its own rounding errors are taken off.
    pub(crate) fn kept_share(&self) -> f64 {
        1.0 - 2.0 * self.gamma
    }

    /// The margin of a query of `length` whose computed point has the squared length `square`.
    #[inline(always)]
    pub(crate) fn of(&self, length: f64, square: f64, top: f64) -> Margin {
        let sum = length + self.radius;
        let error = self.relative_error * sum;
        Margin { lift: top + error * error / ETA, shift: 1.01 * self.gamma * sum * sum - square }
    }
}

impl Margin {
    /// The margin for bounds that may be too high by as much.
    #[inline(always)]
    pub(crate) fn widened(self, by: f64) -> Self {
        Self { shift: self.shift + by, ..self }
    }

    /// The limits that cost up to and including `cutoff` stays below.
    #[inline(always)]
    pub(crate) fn limits(&self, cutoff: f64) -> Limits {
        let reach = (cutoff + self.lift) * (1.0 / (1.0 - ETA));
        // float64 cancellation between a cutoff and a top that are large themselves; float32 sums and casts.
        let reach = (reach + 1e-14 * (cutoff.abs() + self.lift.abs())).max(0.0) * (1.0 + ETA);
        // What underflows is below the least normal number.
        let finite = |v: f64| (v + f64::from(f32::MIN_POSITIVE)).min(f64::from(f32::MAX)) as f32;
        Limits { boxes: finite(reach), points: finite(reach + self.shift) }
    }
}

/// `sum_k (x_k - y_k)^2` in float64, in an order that is the same on every processor. Both lengths are the same
/// multiple of sixteen.
#[inline(always)]
pub(crate) fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    for (x, y) in x.chunks_exact(8).zip(y.chunks_exact(8)) {
        for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
            let gap = f64::from(x) - f64::from(y);
            *sum += gap * gap;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
