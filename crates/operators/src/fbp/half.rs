//! Scans over the whole turn with the axis of rotation aside: most rays are measured once, those near the axis twice.

use super::shares::Shares;
use smalti_kernels::radon::{Detector, Geometry};
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, TAU};

/// Views further apart than this do not cover the turn.
const WIDEST: f64 = FRAC_PI_4;

/// The weights of a half acquisition, also called offset or displaced detector.
///
/// The ray of `theta` and `s` is that of `theta + pi` and `-s`. Where the detector reaches from `-b` to beyond `b`,
/// rays with `|s| <= b` are measured twice and the others once; with
///
/// `W(s) = sin^2(pi/2 e(s) / (e(s) + e(-s)))`, `e(s)` the distance of `s` from the nearer end of the detector, 0 beyond,
///
/// `W(s) + W(-s) = 1`, and the sum over the whole turn of projections times `W` has every ray once. With the axis far
/// aside it is `sin^2(pi/4 (1 + s / b))`; with the axis near the detector's middle, 1/2 but for a margin: the mean of
/// both measurements, which is the least noisy.
#[derive(Debug)]
pub(super) struct HalfAcquisition {
    /// The share of every view of the whole turn.
    pub(super) shares: Vec<f64>,
    /// The ends of the detector, in metres.
    ends: (f64, f64),
    /// 1 where the detector is longer at positive `s`, -1 at negative.
    pub(super) side: f64,
    /// Detector pixels that the shorter side lacks.
    pub(super) lacking: usize,
}

impl HalfAcquisition {
    /// Where one side of the image is seen only by views of the other half turn, and all of the turn is there.
    pub(super) fn of(beam: &Geometry) -> Option<Self> {
        let detector = beam.detector();
        let (first, last) = (detector.position(0.0), detector.position(detector.count as f64 - 1.0));
        let bound = (-first).min(last);
        let lacking = 2.0 * detector.offset.abs() / detector.spacing;
        if bound <= 0.0 || lacking < 1.0 || beam.truncation() == 0.0 {
            return None;
        }
        let turn = Shares::of(beam.angle_list(), TAU);
        let whole = turn.missing.is_empty() && turn.widest <= WIDEST;
        let (side, lacking) = (detector.offset.signum(), lacking.round() as usize);
        whole.then_some(Self { shares: turn.weights, ends: (first, last), side, lacking })
    }

    /// `W` at the position `s`.
    pub(super) fn weight(&self, s: f64) -> f64 {
        match (self.end(s), self.end(-s)) {
            (own, opposite) if own + opposite > 0.0 => (FRAC_PI_2 * own / (own + opposite)).sin().powi(2),
            _ => self.beyond(s),
        }
    }

    /// `e(s)`, the distance from the nearer end of the detector, 0 beyond.
    pub(super) fn end(&self, s: f64) -> f64 {
        (s - self.ends.0).min(self.ends.1 - s).max(0.0)
    }

    /// `W` where neither `s` nor `-s` is on the detector: an extrapolation goes on on the longer side.
    pub(super) fn beyond(&self, s: f64) -> f64 {
        if self.side * s > 0.0 { 1.0 } else { 0.0 }
    }

    /// A detector with as many pixels on the shorter side as on the longer one.
    pub(super) fn completed(&self, detector: Detector) -> Detector {
        let aside = 0.5 * self.lacking as f64 * detector.spacing;
        Detector {
            count: detector.count + self.lacking,
            offset: detector.offset - self.side * aside,
            ..detector
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Detectors whose longer side is the right and the left one.
    fn both(short: f64, long: f64) -> [HalfAcquisition; 2] {
        [((-short, long), 1.0), ((-long, short), -1.0)].map(|(ends, side)| HalfAcquisition {
            shares: Vec::new(),
            ends,
            side,
            lacking: 7,
        })
    }

    #[test]
    fn every_ray_counts_once() {
        for (short, long) in [(0.02, 0.3), (0.1, 0.3), (0.29, 0.3)] {
            for half in both(short, long) {
                for i in 1..100 {
                    let s = 0.0051 * f64::from(i);
                    let (long_side, short_side) = (half.weight(half.side * s), half.weight(-half.side * s));
                    assert!((long_side + short_side - 1.0).abs() < 1e-12 && long_side >= short_side, "{s}");
                    // Rays that only one side sees, and those that no side does.
                    assert!(s <= short || (long_side, short_side) == (1.0, 0.0), "{s}");
                }
                assert!((half.weight(0.0) - 0.5).abs() < 1e-12);
            }
        }
    }

    /// `sin^2(pi/4 (1 + s / b))` with the axis far aside; the mean of both measurements with it next to the middle.
    #[test]
    fn between_a_half_turn_and_a_whole_one() {
        for half in both(0.1, 10.0) {
            for s in [-0.09, -0.03, 0.02, 0.08] {
                let (e, opposite) = (0.1 + s, 0.1 - s);
                let expected = (FRAC_PI_2 * e / (e + opposite)).sin().powi(2);
                assert!((expected - (FRAC_PI_4 * (1.0 + s / 0.1)).sin().powi(2)).abs() < 1e-12);
                assert!((half.weight(half.side * s) - expected).abs() < 1e-12, "{s}");
            }
        }
        for half in both(0.299, 0.3) {
            assert!([-0.2, 0.1, 0.2].iter().all(|s| (half.weight(*s) - 0.5).abs() < 0.01));
        }
    }

    #[test]
    fn the_completed_detector_is_centred() {
        for side in [1.0, -1.0] {
            let detector = Detector { count: 20, spacing: 0.01, offset: side * 0.035 };
            let half = HalfAcquisition { shares: Vec::new(), ends: (0.0, 0.0), side, lacking: 7 };
            let completed = half.completed(detector);
            assert_eq!((completed.count, completed.spacing), (27, 0.01));
            assert!((completed.position(0.0) + completed.position(26.0)).abs() < 1e-12);
        }
    }
}
