//! Learning rates over a run.

use smalti_base::{Error, Result};

/// The learning rate of step `k` (from 0) of `steps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// `rate` throughout.
    Constant,
    /// Linear warm-up over the first `warmup` steps, then `rate (1 + cos(pi t)) / 2`, `t` from 0 to 1.
    Cosine {
        /// Steps of the warm-up.
        warmup: u64,
    },
}

impl Schedule {
    /// The factor on the base rate.
    pub fn factor(self, k: u64, steps: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine { warmup } if k < warmup => (k + 1) as f64 / (warmup + 1) as f64,
            Self::Cosine { warmup } => {
                let t = (k - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * t.min(1.0)).cos())
            }
        }
    }
}

/// Checks a learning rate.
///
/// # Errors
/// [`Error::Value`] where it is not positive and finite.
pub fn check_rate(rate: f64) -> Result<f64> {
    if rate > 0.0 && rate.is_finite() {
        Ok(rate)
    } else {
        Err(Error::value("learning rate", "a positive number", rate))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn cosine_rises_then_falls_to_zero() {
        let factor = |k| Schedule::Cosine { warmup: 4 }.factor(k, 104);
        assert!(factor(0) > 0.0 && factor(0) < factor(3) && factor(3) < 1.0);
        assert_eq!(factor(4), 1.0);
        assert!((factor(54) - 0.5).abs() < 1e-12 && factor(103) < 1e-3);
        assert_eq!(Schedule::Constant.factor(99, 100), 1.0);
    }
}
