//! How projections go on beyond the detector's ends, where the object does.

use std::f64::consts::PI;

/// A projection ends at about zero where it ends below this share of its largest value.
const ABOUT_ZERO: f64 = 0.05;

/// What is not above so many standard errors of the noise is zero, too.
const ERRORS: f64 = 6.0;

/// Fewer detector pixels do not tell.
const FEWEST: usize = 16;

/// The least curvature of an arc: that of an object ten times as wide as the detector.
const LEAST_CURVATURE: f64 = 0.01;

/// How rows of `count` values go on: `reach` values before and after each, [`None`] where all rows end at about zero.
///
/// A row of a convex, even object is a half ellipse, `p(s)^2` a parabola in `s`. The parabola that is closest to a
/// row's squares (where they are not zero), scaled to meet the row's end, says how the row goes on until it reaches
/// zero, never above the row's largest value; it fades out over the last half of `reach`. Rows that are no arc, or not
/// zero at less than 16 pixels, fade within a quarter. Ends at about zero go on as zero.
///
/// The noise is that of all rows: give those of one image.
///
/// # Reference
/// Hsieh et al., "A novel reconstruction algorithm to extend the CT scan field-of-view", Medical Physics 31 (2004),
/// 2385-2391: the water cylinder, here with the curvature of the row itself.
pub(super) fn beyond(rows: &[f64], count: usize, reach: usize) -> Option<[Vec<f64>; 2]> {
    if count < FEWEST || reach == 0 {
        return None;
    }
    let ends = Ends::of(rows, count);
    let empty = vec![0.0; rows.len() / count * reach];
    let mut all = [empty.clone(), empty];
    let mut any = false;
    for (k, row) in rows.chunks_exact(count).enumerate() {
        for (right, level) in ends.levels(row).into_iter().enumerate() {
            let Some(level) = level else { continue };
            any = true;
            let arc = Arc::of(row, ends.width);
            let highest = row.iter().copied().fold(level, f64::max);
            let out = &mut all[right][k * reach..][..reach];
            for t in 1..=reach {
                let place = if right == 1 { t - 1 } else { reach - t };
                out[place] = (level * arc.beyond(right == 1, t as f64, reach as f64)).min(highest);
            }
        }
    }
    any.then_some(all)
}

/// What is known of the ends of rows.
struct Ends {
    /// Values that are averaged at an end.
    width: usize,
    /// Standard error of these means, of the noise in the data.
    error: f64,
}

impl Ends {
    fn of(rows: &[f64], count: usize) -> Self {
        let width = (count / 32).clamp(1, 8);
        // Second differences of noise have six times its variance, and hardly any of a smooth row.
        let (mut sum, mut number) = (0.0, 0_usize);
        for row in rows.chunks_exact(count) {
            for part in [&row[..2 * width + 2], &row[count - 2 * width - 2..]] {
                for three in part.windows(3) {
                    sum += (three[0] - 2.0 * three[1] + three[2]).powi(2);
                    number += 1;
                }
            }
        }
        Self { width, error: (sum / number.max(1) as f64 / 6.0 / width as f64).sqrt() }
    }

    /// The levels at both ends of a row, where they are not about zero.
    fn levels(&self, row: &[f64]) -> [Option<f64>; 2] {
        let highest = row.iter().copied().fold(0.0, f64::max);
        let bound = (ABOUT_ZERO * highest).max(ERRORS * self.error);
        [&row[..self.width], &row[row.len() - self.width..]].map(|end| {
            let level = end.iter().sum::<f64>() / self.width as f64;
            (level > bound).then_some(level)
        })
    }
}

/// The parabola `c[0] + c[1] u + c[2] u^2` closest to the squares of a row, `u` from -1 to 1 over the row.
struct Arc {
    /// [`None`] where the row is no arc.
    coefficients: Option<[f64; 3]>,
    per_pixel: f64,
    /// Where the level at the right end is measured.
    end: f64,
}

impl Arc {
    fn of(row: &[f64], width: usize) -> Self {
        let per_pixel = 2.0 / (row.len() as f64 - 1.0);
        let highest = row.iter().copied().fold(0.0, f64::max);
        // Moments of the places where the row is not zero, and of its squares there.
        let (mut m, mut b) = ([0.0; 5], [0.0; 3]);
        for (j, &value) in row.iter().enumerate().filter(|(_, value)| **value > ABOUT_ZERO * highest) {
            let (u, square) = (j as f64 * per_pixel - 1.0, value * value);
            let mut power = 1.0;
            for (i, m) in m.iter_mut().enumerate() {
                *m += power;
                if let Some(b) = b.get_mut(i) {
                    *b += power * square;
                }
                power *= u;
            }
        }
        let determinant = |[p, q, r]: [[f64; 3]; 3]| {
            p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0])
                + p[2] * (q[0] * r[1] - q[1] * r[0])
        };
        let matrix = [[m[0], m[1], m[2]], [m[1], m[2], m[3]], [m[2], m[3], m[4]]];
        let whole = determinant(matrix);
        let coefficients: [f64; 3] = [0, 1, 2].map(|k| {
            let mut other = matrix;
            for (row, &b) in other.iter_mut().zip(&b) {
                row[k] = b;
            }
            determinant(other) / whole
        });
        let bent = coefficients[2] < -LEAST_CURVATURE * highest * highest;
        let coefficients = (bent && m[0] >= FEWEST as f64).then_some(coefficients);
        Self { coefficients, per_pixel, end: 1.0 - 0.5 * (width as f64 - 1.0) * per_pixel }
    }

    /// The row's value `t` pixels beyond its end, as a share of that at the end.
    fn beyond(&self, right: bool, t: f64, reach: f64) -> f64 {
        let fade = |t: f64, over: f64| 0.5 + 0.5 * (PI * (t / over).clamp(0.0, 1.0)).cos();
        let no_arc = fade(t, 0.25 * reach);
        let Some([a, b, c]) = self.coefficients else { return no_arc };
        let side = if right { 1.0 } else { -1.0 };
        let at = |u: f64| a + b * u + c * u * u;
        let end = at(side * self.end);
        if end <= 0.0 {
            return no_arc;
        }
        let share = (at(side * (1.0 + t * self.per_pixel)) / end).max(0.0).sqrt();
        share * fade(t - 0.5 * reach, 0.5 * reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    /// Chords of a disc of so many pixels, the detector's middle `aside` of its centre.
    fn chords(radius: f64, aside: f64, count: usize) -> Vec<f64> {
        let chord = |j: usize| {
            let s = j as f64 - 0.5 * (count as f64 - 1.0) + aside;
            2.0 * (radius * radius - s * s).max(0.0).sqrt()
        };
        (0..count).map(chord).collect()
    }

    #[test]
    fn a_disc_goes_on_as_a_disc_at_either_end() {
        for (radius, aside) in [(60.0, 0.0), (60.0, 30.0), (55.0, -40.0)] {
            let [left, right] = beyond(&chords(radius, aside, 100), 100, 100).unwrap();
            let out = [left, chords(radius, aside, 100), right].concat();
            let error = out.iter().zip(chords(radius, aside, 300)).map(|(a, b)| (a - b).abs());
            let error = error.fold(0.0, f64::max);
            // The level at the end is a mean over some pixels; none of the discs reaches into the last half.
            assert!(error < 0.05 * radius, "{radius} {aside}: {error}");
        }
    }

    #[test]
    fn whole_projections_stay_as_they_are_also_with_noise() {
        let mut rows = [chords(40.0, 0.0, 100), chords(20.0, 20.0, 100)].concat();
        assert!(beyond(&rows, 100, 50).is_none());
        for (k, value) in rows.iter_mut().enumerate() {
            *value += (((k * 7919) % 1000) as f64 / 500.0 - 1.0) * 4.0;
        }
        assert!(beyond(&rows, 100, 50).is_none());
        assert!(beyond(&vec![0.0; 300], 100, 50).is_none() && beyond(&[1.0; 8], 8, 4).is_none());
        // Only the row that is cut goes on.
        let rows = [chords(40.0, 0.0, 100), chords(60.0, 0.0, 100)].concat();
        let [left, right] = beyond(&rows, 100, 50).unwrap();
        assert!(
            left[..50].iter().chain(&right[..50]).all(|v| *v == 0.0) && left[99] > 0.0 && right[50] > 0.0
        );
    }

    #[test]
    fn the_error_of_an_end_is_that_of_its_mean() {
        let count = 300;
        let noise = Seed::new(2).at("noise", 0).normal(&[200 * count as i64]).to_kind(tch::Kind::Double);
        for deviation in [0.01, 3.0] {
            let mut rows = Vec::<f64>::try_from(&noise * deviation).unwrap();
            // Under a smooth row, which is no noise.
            rows.iter_mut().zip(chords(400.0, 0.0, count).iter().cycle()).for_each(|(v, chord)| *v += chord);
            let Ends { width, error } = Ends::of(&rows, count);
            assert_eq!(width, 8);
            let expected = deviation / 8_f64.sqrt();
            assert!((error / expected - 1.0).abs() < 0.05, "{error} instead of {expected}");
        }
        assert_eq!(Ends::of(&[1.0; 48], 48).error, 0.0);
    }

    /// Objects at the very end of the detector, which few pixels see, and arcs that are hardly bent.
    #[test]
    fn nothing_grows_beyond_the_end() {
        let mut worst: f64 = 0.0;
        for aside in 40..140 {
            for radius in [5.0, 20.0, 60.0] {
                let mut row = chords(radius, -f64::from(aside), 100);
                row.iter_mut()
                    .enumerate()
                    .for_each(|(k, v)| *v += 0.3 * ((k * 7919 % 100) as f64 / 50.0 - 1.0));
                let highest = row.iter().copied().fold(0.0, f64::max);
                let Some(ends) = beyond(&row, 100, 100) else { continue };
                for value in ends.concat() {
                    worst = worst.max(value / highest);
                }
                if row.iter().filter(|v| **v > ABOUT_ZERO * highest).count() < FEWEST {
                    assert!(
                        ends[1][..30].iter().all(|v| *v <= highest) && ends[1][30] == 0.0,
                        "{radius} {aside}"
                    );
                }
            }
        }
        assert!(worst <= 1.0, "{worst}");
        let flat: Vec<f64> = (0..64).map(|j| 1.0 - 1e-6 * (f64::from(j) / 32.0 - 1.0).powi(2)).collect();
        let [left, right] = beyond(&flat, 64, 64).unwrap();
        assert!(left[40] == 0.0 && right[20] == 0.0 && right[0] > 0.9);
    }

    #[test]
    fn rows_that_are_no_arc_fade() {
        let rows: Vec<f64> = (0..64).map(|j| 1.0 + (f64::from(j) / 32.0 - 1.0).powi(2)).collect();
        let [left, right] = beyond(&rows, 64, 64).unwrap();
        assert!(left[63] > 1.0 && left[40] == 0.0 && right[0] > 1.0 && right[20] == 0.0);
    }
}
