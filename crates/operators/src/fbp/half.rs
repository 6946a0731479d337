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
