//! Weights of the queries as whole numbers, so that plans add up exactly.

/// About the whole mass where it has to be rounded.
const FINE: u64 = 1 << 50;

/// Multiples of the smallest weight that are tried as whole numbers, the largest such number, and what these may be off by, in
/// shares of the whole.
const MULTIPLES: u32 = 36;
const LARGEST: f64 = 1e6;
const OFF: f64 = 1e-12;

/// The largest sum of masses, so that sums of a few of them fit, too.
const LARGEST_SUM: u64 = 1 << 60;

/// Masses in whole numbers, so that plans add up exactly: `supply / total` of each query, `1 / M` of each reference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IntegerMarginals {
    /// Of each query.
    pub(super) supply: Vec<u64>,
    /// Of each reference row.
    pub(super) each: u64,
    /// The sum on either side.
    pub(super) total: u64,
    /// By how much the supplies differ from the weights: the share of the mass that is elsewhere.
    pub(super) off: f64,
}

impl IntegerMarginals {
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
        if let Some(counts) = counts(weights) {
            let n: u64 = counts.iter().sum();
            let common = divisor(n, m);
            if let Some(total) = (n / common).checked_mul(m).filter(|total| *total <= LARGEST_SUM) {
                let supply = counts.iter().map(|count| count * (m / common)).collect();
                return Self { supply, each: n / common, total, off: OFF };
            }
        }
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

/// The weights as whole numbers, where they are small multiples of a common one: weights of patches from a mask are.
fn counts(weights: &[f64]) -> Option<Vec<u64>> {
    let least = weights.iter().copied().filter(|w| *w > 0.0).fold(f64::INFINITY, f64::min);
    (1..=MULTIPLES).find_map(|multiple| {
        let count = |w: &f64| {
            let exact = w / least * f64::from(multiple);
            let whole = exact.round();
            let close = (exact - whole).abs() <= OFF / 4.0 * exact && whole < LARGEST;
            close.then_some(whole as u64)
        };
        weights.iter().map(count).collect()
    })
}

/// Whole rooms nearly in proportion to `shares`, of the sum `units`.
pub(super) fn whole(shares: &[u64], units: u64) -> Vec<u64> {
    let total = shares.iter().map(|&s| u128::from(s)).sum::<u128>().max(1);
    let mut sum = 0_u128;
    let mut before = 0;
    let room = |&share: &u64| {
        sum += u128::from(share);
        let end = ((2 * sum * u128::from(units) + total) / (2 * total)) as u64;
        let room = end - before;
        before = end;
        room
    };
    shares.iter().map(room).collect()
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::KernelError, transport::weights::normalised};

    #[test]
    fn equal_weights_give_the_least_whole_numbers() {
        let masses = IntegerMarginals::new(354_025, 10_000, None);
        assert_eq!((masses.supply[7], masses.each, masses.total), (400, 14_161, 141_610_000));
        let masked = IntegerMarginals::new(5, 4, Some(&[0.5, 0.0, 0.0, 0.5, 0.0]));
        assert_eq!((masked.supply, masked.each, masked.total, masked.off), (vec![2, 0, 0, 2, 0], 1, 4, 0.0));
    }

    #[test]
    fn other_weights_are_met_closely() -> Result<(), KernelError> {
        let weights: Vec<f64> = (0..1000).map(|i| f64::from(i % 17).sqrt() * 0.37).collect();
        let weights = normalised(1000, Some(&weights))?.unwrap_or_default();
        let masses = IntegerMarginals::new(1000, 300, Some(&weights));
        assert_eq!(masses.supply.iter().sum::<u64>(), masses.total);
        assert_eq!(masses.total, 300 * masses.each);
        assert!(masses.supply.iter().zip(&weights).all(|(s, w)| (*s == 0) == (*w == 0.0)));
        assert!(masses.off > 0.0 && masses.off < 1e-11, "{}", masses.off);
        Ok(())
    }

    #[test]
    fn small_multiples_are_met() {
        let masses = IntegerMarginals::new(4, 3, Some(&[0.3 / 0.9, 0.0, 0.2 / 0.9, 0.4 / 0.9]));
        assert_eq!((masses.supply, masses.each, masses.total), (vec![3, 0, 2, 4], 3, 9));
    }

    /// Their common multiple is above what 64 bits hold.
    #[test]
    fn multiples_that_are_too_large_are_rounded() -> Result<(), KernelError> {
        let count = 200_003;
        let weights: Vec<f64> =
            (0..count).map(|i| if i == 0 { 1.0 } else { 999_983.0 - (i % 7) as f64 }).collect();
        let weights = normalised(count, Some(&weights))?.unwrap_or_default();
        let masses = IntegerMarginals::new(count, (1 << 30) - 1, Some(&weights));
        assert_eq!(masses.supply.iter().sum::<u64>(), masses.total);
        assert_eq!(masses.total, masses.each * ((1 << 30) - 1));
        Ok(())
    }

    #[test]
    fn whole_rooms_take_everything() {
        assert_eq!(whole(&[1, 1, 2], 4), [1, 1, 2]);
        let rooms = whole(&[3; 70], 1000);
        assert_eq!(rooms.iter().sum::<u64>(), 1000);
        assert!(rooms.iter().all(|&room| room == 14 || room == 15));
    }
}
