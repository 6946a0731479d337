//! Weights of the queries: checked, normalised.

use crate::error::KernelError;

/// About the whole mass where it has to be rounded.
const FINE: u64 = 1 << 50;

/// Weights that add up to 1; none where all are the same.
pub(super) fn normalised(count: usize, weights: Option<&[f64]>) -> Result<Option<Vec<f64>>, KernelError> {
    let Some(weights) = weights else { return Ok(None) };
    if weights.len() != count {
        let expected = format!("{count}, one for each query");
        return Err(KernelError::new("number of query weights", expected, weights.len()));
    }
    if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        let got = format!("{} at position {i}", weights[i]);
        return Err(KernelError::new("query weights", "finite values of at least 0", got));
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(KernelError::new("query weights", "a positive one among them", "zeros only"));
    }
    if weights.iter().all(|w| *w == largest) {
        return Ok(None);
    }
    // The largest first, so that no sum overflows.
    let sum: f64 = weights.iter().map(|w| w / largest).sum();
    Ok(Some(weights.iter().map(|w| w / largest / sum).collect()))
}

/// Masses in whole numbers, so that plans add up exactly: `supply / total` of each query, `1 / M` of each reference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Masses {
    /// Of each query.
    pub(super) supply: Vec<u64>,
    /// Of each reference row.
    pub(super) each: u64,
    /// The sum on either side.
    pub(super) total: u64,
    /// By how much the supplies differ from the weights: the share of the mass that is elsewhere.
    pub(super) off: f64,
}

impl Masses {
    /// For `count` queries and `references` reference rows. Exact where all positive weights are the same.
    pub(super) fn new(count: usize, references: usize, weights: Option<&[f64]>) -> Self {
        let m = references as u64;
        let positive = |weights: &[f64]| weights.iter().copied().filter(|w| *w > 0.0).collect::<Vec<_>>();
        let active = weights.map_or_else(|| vec![1.0; count], positive);
        if active.iter().all(|w| *w == active[0]) {
            let n = active.len() as u64;
            let common = divisor(n, m);
            let supply = (0..count).map(|i| if weights.is_none_or(|w| w[i] > 0.0) { m / common } else { 0 });
            return Self { supply: supply.collect(), each: n / common, total: n / common * m, off: 0.0 };
        }
        let weights = weights.unwrap_or(&[]);
        let each = (FINE / m).max(1);
        let total = each * m;
        let mut supply: Vec<u64> = weights.iter().map(|w| (w * total as f64) as u64).collect();
        // What rounding down has left, or rounding of the weights has given too much, is spread over many.
        let mut sum: u64 = supply.iter().sum();
        while sum != total {
            for (supply, _) in supply.iter_mut().zip(weights).filter(|(_, w)| **w > 0.0) {
                if sum < total {
                    *supply += 1;
                    sum += 1;
                } else if sum > total && *supply > 0 {
                    *supply -= 1;
                    sum -= 1;
                }
            }
        }
        let gap = |(&supply, w): (&u64, &f64)| (supply as f64 / total as f64 - w).abs();
        let off = supply.iter().zip(weights).map(gap).sum();
        Self { supply, each, total, off }
    }
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_give_the_least_whole_numbers() {
        let masses = Masses::new(354_025, 10_000, None);
        assert_eq!((masses.supply[7], masses.each, masses.total), (400, 14_161, 141_610_000));
        let masked = Masses::new(5, 4, Some(&[0.5, 0.0, 0.0, 0.5, 0.0]));
        assert_eq!((masked.supply, masked.each, masked.total, masked.off), (vec![2, 0, 0, 2, 0], 1, 4, 0.0));
    }

    #[test]
    fn other_weights_are_met_closely() -> Result<(), KernelError> {
        let weights: Vec<f64> = (0..1000).map(|i| f64::from(i % 17) * 0.37).collect();
        let weights = normalised(1000, Some(&weights))?.unwrap_or_default();
        let masses = Masses::new(1000, 300, Some(&weights));
        assert_eq!(masses.supply.iter().sum::<u64>(), masses.total);
        assert_eq!(masses.total, 300 * masses.each);
        assert!(masses.supply.iter().zip(&weights).all(|(s, w)| (*s == 0) == (*w == 0.0)));
        assert!(masses.off > 0.0 && masses.off < 1e-11, "{}", masses.off);
        Ok(())
    }

    #[test]
    fn bad_weights_are_refused() {
        for bad in [vec![], vec![1.0; 4], vec![0.0; 3], vec![1.0, -1.0, 2.0], vec![f64::NAN, 1.0, 1.0]] {
            assert!(normalised(3, Some(&bad)).is_err(), "{bad:?}");
        }
        assert_eq!(normalised(3, Some(&[2.0; 3])), Ok(None));
        assert_eq!(normalised(2, Some(&[f64::MAX, 0.0])), Ok(Some(vec![1.0, 0.0])));
    }
}
