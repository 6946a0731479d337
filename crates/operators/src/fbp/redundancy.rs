//! How often a fan beam measures each line, and what share each of its rays has.

use super::half::HalfAcquisition;
use super::shares::{Shares, named};
use smalti_kernels::radon::FanBeam;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Directions and fan angles at which lines are looked for.
const DIRECTIONS: usize = 720;
const FAN_ANGLES: usize = 41;

/// The shares of the rays of a fan beam.
///
/// The ray of `theta` and `gamma` is that of `theta' = theta + pi - 2 gamma` and `-gamma`. With `m = d(theta) e(u)`,
/// `d` the distance of a view from what was not measured of the turn (0 there; constant where all was) and `e` that of
/// a detector pixel from the nearer end of the detector (0 beyond; constant but for a half acquisition),
///
/// `W = sin^2(pi/2 m / (m + m'))`,
///
/// `W + W' = 1` for the two rays of a line. A whole turn has 1/2 everywhere; a short scan, over 180 degrees and the fan,
/// has Parker's weights, a longer one Silver's; a whole turn with the axis aside has Wang's.
#[derive(Debug)]
pub(super) struct Redundancy {
    /// The share of every view of the turn.
    pub(super) turn: Shares,
}

impl Redundancy {
    pub(super) fn of(beam: &FanBeam) -> Self {
        Self { turn: Shares::of(beam.angle_list(), TAU) }
    }

    /// `d`: how far a direction lies from what was not measured, 0 within.
    fn inside(&self, theta: f64) -> f64 {
        // A view stands for half of a typical gap on either side.
        let margin = 0.5 * self.turn.median;
        let from = |gap: &super::shares::Gap| {
            let (along, width) = ((theta - gap.from - margin).rem_euclid(TAU), gap.width - 2.0 * margin);
            if along < width { 0.0 } else { (along - width).min(TAU - along) }
        };
        self.turn.missing.iter().map(from).fold(PI, f64::min)
    }

    /// `W` of the ray of `theta` and `gamma` to the place `u` of the detector.
    pub(super) fn weight(&self, theta: f64, gamma: f64, u: f64, half: Option<&HalfAcquisition>) -> f64 {
        let (own, opposite) = (self.inside(theta), self.inside(theta + PI - 2.0 * gamma));
        let (one, other) = half.map_or((1.0, 1.0), |half| (half.end(u), half.end(-u)));
        let (own_all, opposite_all) = (own * one, opposite * other);
        if own_all + opposite_all > 0.0 {
            return (FRAC_PI_2 * own_all / (own_all + opposite_all)).sin().powi(2);
        }
        match half {
            Some(half) => half.beyond(u),
            None => 0.5,
        }
    }

    /// What there is to say about gaps between views, in one line.
    pub(super) fn warning(&self, beam: &FanBeam) -> Option<String> {
        let reach = (beam.pixels().radius() / beam.source_origin()).min(1.0).asin();
        let ends = [-0.5, beam.detector().count as f64 - 0.5].map(|j| beam.fan_angle(j));
        // Of lines at one distance from the axis, the share of directions from neither side of which there was a view.
        let unseen = |i: usize| {
            let gamma = reach * (2.0 * i as f64 / (FAN_ANGLES as f64 - 1.0) - 1.0);
            let sees =
                |gamma: f64, theta: f64| gamma >= ends[0] && gamma <= ends[1] && self.inside(theta) > 0.0;
            if !(gamma >= ends[0] && gamma <= ends[1]) {
                return 0.0;
            }
            let directions = (0..DIRECTIONS).map(|k| (k as f64 + 0.5) * PI / DIRECTIONS as f64);
            let none = directions.filter(|d| !sees(gamma, d + gamma) && !sees(-gamma, d + PI - gamma));
            none.count() as f64 * 180.0 / DIRECTIONS as f64
        };
        let worst = (0..FAN_ANGLES).map(unseen).fold(0.0, f64::max);
        let missing = (worst > 1.0_f64.max(2.0 * self.turn.median.to_degrees())).then(|| {
            format!(
                "lines of up to {worst:.0} of 180 degrees were not measured (no views from {}; a short scan has {:.1} degrees): \
                 nothing is made up for them",
                named(&self.turn.missing),
                180.0 + 2.0 * reach.to_degrees()
            )
        });
        match (missing, self.turn.said_of_sparse()) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one),
            (Some(missing), Some(sparse)) => Some(format!("{missing}; {sparse}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_kernels::radon::{Curve, Detector, Pixels};

    fn beam(degrees: f64, views: usize) -> FanBeam {
        let angles =
            (0..views).map(|k| (0.3 + degrees * (k as f64 + 0.5) / views as f64).to_radians()).collect();
        let pixels = Pixels { rows: 100, columns: 100, size: 0.001 };
        FanBeam::new(angles, pixels, Detector::centred(160, 0.002), Curve::Curved, [0.2, 0.2]).unwrap()
    }

    /// Parker's three branches, with the fan angle counted his way.
    fn parker(beta: f64, gamma: f64, delta: f64) -> f64 {
        let gamma = -gamma;
        if beta < 2.0 * (delta - gamma) {
            (0.25 * PI * beta / (delta - gamma)).sin().powi(2)
        } else if beta < PI - 2.0 * gamma {
            1.0
        } else {
            (0.25 * PI * (PI + 2.0 * delta - beta) / (delta + gamma)).sin().powi(2)
        }
    }

    #[test]
    fn short_scans_have_parkers_weights() {
        for degrees in [180.0 + 47.0, 180.0 + 58.0] {
            let beam = beam(degrees, 454);
            let delta = 0.5 * (degrees - 180.0_f64).to_radians();
            let all = Redundancy::of(&beam);
            for theta in beam.angle_list() {
                for j in 0..160 {
                    let gamma = beam.fan_angle(f64::from(j));
                    let expected = parker(theta - 0.3_f64.to_radians(), gamma, delta);
                    let found = all.weight(*theta, gamma, 0.0, None);
                    assert!((found - expected).abs() < 1e-9, "{degrees} {theta} {gamma}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_two_rays_of_a_line_have_one_share_together() {
        for (degrees, halves) in [(360.0, true), (227.0, false), (300.0, false)] {
            let beam = beam(degrees, 500);
            let all = Redundancy::of(&beam);
            for theta in beam.angle_list() {
                for j in 0..160 {
                    let gamma = beam.fan_angle(f64::from(j));
                    let (own, opposite) = (
                        all.weight(*theta, gamma, 0.0, None),
                        all.weight(theta + PI - 2.0 * gamma, -gamma, 0.0, None),
                    );
                    assert!((own + opposite - 1.0).abs() < 1e-12, "{own} {opposite}");
                    assert!(!halves || (own - 0.5).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn lines_that_no_view_saw_are_said() {
        for degrees in [360.0, 230.0, 300.0] {
            let beam = beam(degrees, 500);
            assert_eq!(Redundancy::of(&beam).warning(&beam), None, "{degrees}");
        }
        for (degrees, missing) in [(180.0, "lines of up to 21 of 180"), (120.0, "lines of up to 80 of 180")] {
            let beam = beam(degrees, 500);
            let line = Redundancy::of(&beam).warning(&beam).unwrap();
            assert!(line.starts_with(missing) && line.lines().count() == 1, "{line}");
        }
    }
}
