//! What one timed run of either side says.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The answer to one run. A peer writes it as one line of JSON,
/// `{"seconds": 0.1, "values": {"value": -3.2, "gradient norm": 7.0}}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Duration of the run in seconds (of one step of it, where it has several).
    pub seconds: f64,
    /// What was computed, by name, so that the sides can be compared.
    pub values: BTreeMap<String, f64>,
}

impl Answer {
    /// How far the values of two answers lie apart: the largest `|a - b| / max(|a|, |b|)`; 0 where all are equal,
    /// infinite where names differ or a value is not finite.
    pub fn deviation(&self, other: &Self) -> f64 {
        if !self.values.keys().eq(other.values.keys()) {
            return f64::INFINITY;
        }
        let pairs = self.values.values().zip(other.values.values());
        pairs.map(|(&a, &b)| relative(a, b)).fold(0.0, f64::max)
    }

    /// The values as text: `value -3.2, gradient norm 7`.
    pub fn summary(&self) -> String {
        let one = |(name, value): (&String, &f64)| format!("{name} {value:.6}");
        self.values.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn relative(a: f64, b: f64) -> f64 {
    if a == b {
        0.0
    } else if a.is_finite() && b.is_finite() {
        (a - b).abs() / a.abs().max(b.abs())
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &[(&str, f64)]) -> Answer {
        Answer { seconds: 1.0, values: values.iter().map(|&(name, v)| (name.to_owned(), v)).collect() }
    }

    #[test]
    fn the_largest_deviation_counts() {
        let ours = answer(&[("value", -100.0), ("gradient norm", 2.0)]);
        assert_eq!(ours.deviation(&ours), 0.0);
        let theirs = answer(&[("value", -101.0), ("gradient norm", 1.0)]);
        assert_eq!(ours.deviation(&theirs), 0.5);
        assert_eq!(theirs.deviation(&ours), 0.5);
    }

    #[test]
    fn what_cannot_be_compared_is_infinitely_far() {
        let ours = answer(&[("value", 1.0)]);
        for values in [&[("value", f64::NAN)][..], &[("loss", 1.0)], &[], &[("value", 1.0), ("x", 1.0)]] {
            assert_eq!(ours.deviation(&answer(values)), f64::INFINITY, "{values:?}");
        }
        let nan = answer(&[("value", f64::NAN)]);
        assert_eq!(nan.deviation(&nan), f64::INFINITY);
        assert_eq!(answer(&[("value", 1.0)]).deviation(&answer(&[("value", -1.0)])), 2.0);
    }
}
