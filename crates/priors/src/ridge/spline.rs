//! Odd functions that are linear between equidistant knots, and their integrals.

/// An odd function `psi'` that is linear between the knots `k h`, `|k| <= m`, and constant beyond them, with its integral
/// `psi(t) = integral from 0 to t`, which is even, quadratic between the knots and 0 in 0.
#[derive(Debug)]
pub(super) struct OddSpline {
    /// From each of the `2 m + 1` knots but the last one on.
    pieces: Vec<Piece>,
    /// Distance of neighbouring knots.
    spacing: f64,
    /// The least and the largest slope.
    slopes: (f64, f64),
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    /// `psi'` at the knot.
    value: f64,
    /// What is added to it up to the next knot.
    rise: f64,
    /// `psi / h` at the knot.
    integral: f64,
}

/// The function of published coefficients: the slopes between the knots are cut off at 0 and 1, those of the first and the last piece
/// are 0, and those of mirrored pieces are averaged, which makes it odd.
pub(super) fn projected(coefficients: &[f64], spacing: f64) -> Vec<f64> {
    let rises: Vec<f64> =
        coefficients.windows(2).map(|pair| (pair[1] - pair[0]).clamp(0.0, spacing)).collect();
    let (pieces, half) = (rises.len(), coefficients.len() / 2);
    let inner = |piece: usize| if piece == 0 || piece + 1 == pieces { 0.0 } else { rises[piece] };
    let mut values = vec![0.0; coefficients.len()];
    for k in 1..=half {
        let piece = half + k - 1;
        let rise = 0.5 * (inner(piece) + inner(pieces - 1 - piece));
        values[half + k] = values[half + k - 1] + rise;
        values[half - k] = -values[half + k];
    }
    values
}

impl OddSpline {
    /// With these values at the knots: an odd number of them, mirrored with the other sign.
    pub(super) fn new(values: &[f64], spacing: f64) -> Self {
        let half = values.len() / 2;
        let mut integrals = vec![0.0; values.len()];
        for k in 1..=half {
            integrals[half + k] = integrals[half + k - 1] + 0.5 * (values[half + k - 1] + values[half + k]);
            integrals[half - k] = integrals[half + k];
        }
        let pieces: Vec<Piece> = values
            .windows(2)
            .zip(integrals)
            .map(|(pair, integral)| Piece { value: pair[0], rise: pair[1] - pair[0], integral })
            .collect();
        // Beyond the knots it is constant.
        let ends = |(low, high): (f64, f64), piece: &Piece| (low.min(piece.rise), high.max(piece.rise));
        let (least, largest) = pieces.iter().fold((0.0, 0.0), ends);
        Self { pieces, spacing, slopes: (least / spacing, largest / spacing) }
    }

    /// The least and the largest slope of `psi'`: bounds of the second derivative of `psi`.
    pub(super) fn slopes(&self) -> (f64, f64) {
        self.slopes
    }

    /// Sets every `t` to `psi'(a t) / a`, and gives the sum of `psi(a t) / a^2`, in one pass.
    pub(super) fn bend<T: Copy + Into<f64>>(&self, t: &mut [T], a: f64, round: impl Fn(f64) -> T) -> f64 {
        // In units of the spacing, from the first knot on.
        let (scale, last) = (a / self.spacing, self.pieces.len());
        let (middle, end) = ((last / 2) as f64, last as f64);
        let mut sum = 0.0;
        for t in t {
            let u = (*t).into() * scale + middle;
            let inside = u.clamp(0.0, end);
            let k = (inside as usize).min(last - 1);
            let Piece { value, rise, integral } = self.pieces[k];
            let share = inside - k as f64;
            let slope = value + share * rise;
            // The trapezium from the knot on, and the rectangle beyond the last one.
            sum += integral + 0.5 * share * (value + slope) + (u - inside) * slope;
            *t = round(slope / a);
        }
        sum * self.spacing / (a * a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, one number at a time.
    fn by_hand(values: &[f64], spacing: f64, t: f64) -> f64 {
        let half = (values.len() / 2) as f64;
        let u = (t / spacing + half).clamp(0.0, 2.0 * half);
        let piece = (u.floor() as usize).min(values.len() - 2);
        let share = u - piece as f64;
        values[piece] * (1.0 - share) + values[piece + 1] * share
    }

    const VALUES: [f64; 7] = [-0.5, -0.7, -0.2, 0.0, 0.2, 0.7, 0.5];

    #[test]
    fn values_and_integrals_are_those_of_the_definition() {
        let spline = OddSpline::new(&VALUES, 0.25);
        let (least, largest) = spline.slopes();
        assert!((least + 0.8).abs() < 1e-12 && (largest - 2.0).abs() < 1e-12, "{least} {largest}");
        for k in -200..=200 {
            let t = f64::from(k) * 0.01;
            let mut bent = [t / 3.0];
            let integral = spline.bend(&mut bent, 3.0, |t| t) * 9.0;
            assert!((bent[0] * 3.0 - by_hand(&VALUES, 0.25, t)).abs() < 1e-14, "{t}");
            // The integral by many short midpoints.
            let n = 20_000;
            let step = t / f64::from(n);
            let sum: f64 =
                (0..n).map(|i| by_hand(&VALUES, 0.25, (f64::from(i) + 0.5) * step)).sum::<f64>() * step;
            assert!((integral - sum).abs() < 1e-7, "{t}: {sum}");
        }
        let mut zeros = [0.0_f32; 3];
        assert_eq!(spline.bend(&mut zeros, 7.0, |t| t as f32), 0.0);
        assert_eq!(zeros, [0.0; 3]);
        assert!(spline.bend(&mut [f64::NAN], 1.0, |t| t).is_nan());
    }

    #[test]
    fn published_coefficients_are_projected() {
        // Rises of 3, -1, 0.5, 0.25, 0.5, 9, at a spacing of 1.
        let projected = projected(&[0.0, 3.0, 2.0, 2.5, 2.75, 3.25, 12.25], 1.0);
        // Cut off 0, 0, 0.5 | 0.25, 0.5, 0; mirrored pieces averaged.
        let expected = [-0.625, -0.625, -0.375, 0.0, 0.375, 0.625, 0.625];
        assert!(projected.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{projected:?}");
    }
}
