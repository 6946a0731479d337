//! Weights of the queries: checked, normalised.

use crate::error::KernelError;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_weights_are_refused() {
        for bad in [vec![], vec![1.0; 4], vec![0.0; 3], vec![1.0, -1.0, 2.0], vec![f64::NAN, 1.0, 1.0]] {
            assert!(normalised(3, Some(&bad)).is_err(), "{bad:?}");
        }
        assert_eq!(normalised(3, Some(&[2.0; 3])), Ok(None));
        assert_eq!(normalised(2, Some(&[f64::MAX, 0.0])), Ok(Some(vec![1.0, 0.0])));
    }
}
