//! Published regularisation weights in the library's convention. This is the one place of conversion.
//!
//! The library minimises `J(x) = 1/n nll(F(x), y) + w R(x)`, with `n` observation values, the likelihood's
//! negative log-likelihood summed over them, and a regularizer that is a mean: `w` does not depend on the
//! size of the image.

use smalti_base::{Error, Result};

/// The weight `w` for a published `lambda` of `sum (F(x) - y)^2 + lambda R(x)`, for observations of `n` values
/// with noise level `sigma`: `w = lambda / (2 sigma^2 n)`.
///
/// For the superresolution of 600 x 600 images by 4, `n = 22500`, `sigma = 0.01`, the published 0.15 becomes
/// 1/30.
///
/// # Errors
/// [`Error::Value`] where a number is not positive and finite.
pub fn from_squared_error_sum(lambda: f64, n: i64, sigma: f64) -> Result<f64> {
    for (what, value) in [("lambda", lambda), ("observation size", n as f64), ("noise level", sigma)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(Error::value(what, "a positive number", value));
        }
    }
    Ok(lambda / (2.0 * sigma * sigma * n as f64))
}

#[cfg(test)]
mod tests {
    #[test]
    fn superresolution_of_the_paper() {
        let w = super::from_squared_error_sum(0.15, 150 * 150, 0.01).unwrap();
        assert!((w - 1.0 / 30.0).abs() < 1e-12);
        assert!(super::from_squared_error_sum(0.15, 0, 0.01).is_err());
    }
}
