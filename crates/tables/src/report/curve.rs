//! The training curve as an SVG drawing.

use super::plot::{Axis, chart};
use crate::outcome::{LineStyle, TrainingCurve};
use smalti_base::Result;
use std::ops::Range;

/// Points of a line at most: more cannot be seen.
const POINTS: usize = 800;

/// The drawing, or nothing where the curve has no two points to join.
///
/// # Errors
/// [`smalti_base::Error::Value`] where the drawing fails.
pub(super) fn draw(curve: &TrainingCurve) -> Result<Option<String>> {
    let lines =
        [(thinned(&curve.training), LineStyle::First), (thinned(&curve.validation), LineStyle::Second)];
    let last = lines.iter().flat_map(|(l, _)| l).map(|p| p.0).fold(0.0, f64::max);
    if last <= 0.0 || lines.iter().all(|(l, _)| l.len() < 2) {
        return Ok(None);
    }
    let heights = visible(&lines.iter().flat_map(|(l, _)| l).copied().collect::<Vec<_>>(), last);
    let axes = [
        Axis { name: "step", range: 0.0..last, label: &|x| thousands(*x) },
        Axis { name: "mean NLL of a patch", range: heights, label: &|y| format!("{y:.0}") },
    ];
    chart(axes, &lines).map(Some)
}

/// The heights that are drawn: all but the first fall, which would flatten the rest.
fn visible(points: &[(f64, f64)], last: f64) -> Range<f64> {
    let bounds = |from: f64| {
        let late = points.iter().filter(|p| p.0 >= from && p.1.is_finite());
        late.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| (a.min(p.1), b.max(p.1)))
    };
    let (low, high) = match bounds(0.03 * last) {
        (a, b) if a < b => (a, b),
        _ => bounds(0.0),
    };
    let margin = (0.05 * (high - low)).max(0.5);
    if low.is_finite() && high.is_finite() { low - margin..high + margin } else { 0.0..1.0 }
}

/// At most [`POINTS`] points: means over stretches of neighbouring ones.
fn thinned(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(POINTS).max(1);
    let mean = |c: &[(u64, f64)]| {
        let n = c.len() as f64;
        (c.iter().map(|p| p.0 as f64).sum::<f64>() / n, c.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(stretch).map(mean).filter(|p| p.1.is_finite()).collect()
}

/// `12000` as `12k`, `750` as `750`.
fn thousands(x: f64) -> String {
    if x >= 1000.0 { format!("{}k", (x / 100.0).round() / 10.0) } else { format!("{x:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_has_two_lines_and_is_small() {
        let loss = |i: u64| 500.0 * (-(i as f64) / 30.0).exp() - 100.0;
        let curve = TrainingCurve {
            training: (0..20_000).map(|i| (i, loss(i))).collect(),
            validation: (0..40).map(|i| (500 * i, loss(500 * i) + 3.0)).collect(),
        };
        let svg = draw(&curve).unwrap().unwrap();
        assert!(svg.matches("<polyline").count() >= 2, "{svg}");
        assert!(svg.contains("#030303") && svg.contains("#040404"));
        assert!(svg.len() < 60_000, "{}", svg.len());
        assert_eq!(draw(&TrainingCurve::default()).unwrap(), None);
    }
}
