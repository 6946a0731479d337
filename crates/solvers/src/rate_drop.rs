//! Learning rates that drop where a training gets no further.

use crate::training_history::CurvePoint;

/// How the learning rate of a training gets from its first to its last value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateRule {
    /// As a cosine: `last + (first - last) (1 + cos(pi (k - w) / (steps - w))) / 2` in step `k`, after a warm-up of `w` steps.
    Cosine {
        /// Steps in which the rate rises linearly from the last to the first value: while the moments of Adam rest on few gradients,
        /// large steps throw a network back.
        warmup: u64,
    },
    /// Divided by 10 whenever the validation errors no longer fall; the training ends, before its last step, where the rate would
    /// fall below the last one.
    ///
    /// Looked at are the last six validations, all since the last drop: where `b` is the slope of the line of least squares through
    /// their errors over the steps and `s` the standard deviation of `b`, there is a drop if `b >= 0` or `-1.5 b < s`.
    ///
    /// # Reference
    /// Shocher, Cohen, Irani, "Zero-shot super-resolution using deep internal learning", CVPR (2018).
    Drops,
}

/// Validations that the line is put through.
const VALIDATIONS: usize = 6;

/// A fall is one where this many times the slope is more than the standard deviation of the slope.
const SIGNIFICANT: f64 = 1.5;

/// How many times the rate has dropped after the validations of `curve`.
pub(crate) fn drops(curve: &[CurvePoint]) -> i32 {
    let points: Vec<[f64; 2]> =
        curve.iter().filter_map(|point| Some([point.step as f64, point.validation?])).collect();
    let (mut first, mut count) = (0, 0);
    for end in VALIDATIONS..=points.len() {
        if end - first >= VALIDATIONS && !falls(&points[end - VALIDATIONS..end]) {
            (first, count) = (end, count + 1);
        }
    }
    count
}

/// Whether values fall over their places, by more than chance.
fn falls(points: &[[f64; 2]]) -> bool {
    let n = points.len() as f64;
    let mean = |of: usize| points.iter().map(|point| point[of]).sum::<f64>() / n;
    let (t, e) = (mean(0), mean(1));
    let square: f64 = points.iter().map(|point| (point[0] - t).powi(2)).sum();
    let slope = points.iter().map(|point| (point[0] - t) * (point[1] - e)).sum::<f64>() / square;
    let left: f64 = points.iter().map(|point| (point[1] - e - slope * (point[0] - t)).powi(2)).sum();
    let deviation = (left / (n - 2.0) / square).sqrt();
    -SIGNIFICANT * slope >= deviation && slope < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errors: &[f64]) -> i32 {
        let point = |(k, &e): (usize, &f64)| CurvePoint {
            step: 50 * (k as u64 + 1),
            train: 0.0,
            validation: Some(e),
        };
        drops(&errors.iter().enumerate().map(point).collect::<Vec<_>>())
    }

    #[test]
    fn rates_drop_where_errors_no_longer_fall() {
        // A line, however flat, falls; a constant and what rises does not.
        let falling: Vec<f64> = (0..20).map(|k| 1.0 - 1e-6 * f64::from(k)).collect();
        assert_eq!(of(&falling), 0);
        assert_eq!((of(&[1.0; 5]), of(&[1.0; 6]), of(&[1.0; 11]), of(&[1.0; 12])), (0, 1, 1, 2));
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 1);
        // Six validations after a drop count, none before it.
        let mut later = vec![1.0; 6];
        later.extend([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]);
        assert_eq!(of(&later), 1);
        later.extend([0.4; 3]);
        assert_eq!(of(&later), 1);
        later.extend([0.4; 3]);
        assert_eq!(of(&later), 2);
        // Slope and its standard deviation by hand: t = -2.5 .. 2.5, the sum of squares 17.5.
        let noisy = |slope: f64| {
            let errors = [1.0, -1.0, 0.0, 0.0, -1.0, 1.0].iter().enumerate();
            of(&errors.map(|(k, e)| e + slope * k as f64).collect::<Vec<_>>())
        };
        // What is added is orthogonal to lines; its standard deviation is sqrt(4 / 4 / 17.5) = 0.239.
        assert_eq!((noisy(-0.15), noisy(-0.17)), (1, 0));
    }
}
