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
    positive(&[("lambda", lambda), ("observation size", n as f64), ("noise level", sigma)])?;
    Ok(lambda / (2.0 * sigma * sigma * n as f64))
}

fn positive(numbers: &[(&str, f64)]) -> Result<()> {
    match numbers.iter().find(|(_, value)| !(*value > 0.0 && value.is_finite())) {
        Some(&(what, value)) => Err(Error::value(what, "a positive number", value)),
        None => Ok(()),
    }
}

/// The weight `w` for the published `lambda` of the Wasserstein patch prior,
/// `mean over L scales of W_2^2 + sum (F(x) - y)^2 / (lambda L)`, with the cost `|p - q|^2`.
///
/// Times `lambda L` this is `sum (F(x) - y)^2 + lambda L R(x)` with the mean `R` over scales: what
/// [`from_squared_error_sum`] converts, with `lambda L`. For two scales it is also
/// `1/2 sum (F(x) - y)^2 + lambda R(x)`. The superresolution of SiC has `lambda = 6000 / 36`.
///
/// # Errors
/// [`Error::Value`] where a number is not positive and finite.
pub fn from_wpp_mean_of_scales(lambda: f64, scales: i64, n: i64, sigma: f64) -> Result<f64> {
    from_squared_error_sum(lambda * scales as f64, n, sigma)
}

/// The weight `w` for the published `lambda` of `sum (F(x) - y)^2 + lambda R(x)` with a regularizer `R` for the cost
/// `|p - q|^2 / 2`: ours, with the full square, is twice as large, so `lambda / 2` is what
/// [`from_squared_error_sum`] converts.
///
/// # Errors
/// [`Error::Value`] where a number is not positive and finite.
pub fn from_half_cost(lambda: f64, n: i64, sigma: f64) -> Result<f64> {
    from_squared_error_sum(lambda / 2.0, n, sigma)
}

/// The weight `w` for a published `lambda` of `nll(F(x), y) + lambda R(x)` with the likelihood summed over `n` values, such as
/// the photon counts of computed tomography: `w = lambda / n`.
///
/// For LoDoPaB-CT `n = 1000 * 513`, with limited angle `800 * 513`: the published 700 of patchNR becomes 0.00136.
///
/// # Errors
/// [`Error::Value`] where a number is not positive and finite.
pub fn from_likelihood_sum(lambda: f64, n: i64) -> Result<f64> {
    positive(&[("lambda", lambda), ("observation size", n as f64)])?;
    Ok(lambda / n as f64)
}

/// The weight `w` for the published `lambda` of `nll(F(x), y) + lambda sum over pixels R`, both sums, for images of
/// `pixels` values and observations of `n` values: `w = lambda pixels / n`.
///
/// The deep image prior with total variation on low-dose CT has `lambda = 7`, `pixels = 362^2`, `n = 1000 * 513`.
///
/// # Errors
/// [`Error::Value`] where a number is not positive and finite.
pub fn from_sums(lambda: f64, pixels: i64, n: i64) -> Result<f64> {
    positive(&[("lambda", lambda), ("image size", pixels as f64), ("observation size", n as f64)])?;
    Ok(lambda * pixels as f64 / n as f64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_become_means() {
        // n J = nll + lambda pixels R, with R a mean.
        let (lambda, pixels, n) = (7.0, 362 * 362, 1000 * 513);
        let w = super::from_sums(lambda, pixels, n).unwrap();
        let (nll, sum) = (1234.5, 678.9);
        let ours = nll / n as f64 + w * sum / pixels as f64;
        assert!((ours * n as f64 - (nll + lambda * sum)).abs() < 1e-9);
        for (lambda, pixels, n) in [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, -1), (f64::NAN, 1, 1)] {
            assert!(super::from_sums(lambda, pixels, n).is_err());
        }
    }

    #[test]
    fn half_costs_weigh_half() {
        let (half, full) =
            (super::from_half_cost(206.0, 22_500, 0.01), super::from_squared_error_sum(206.0, 22_500, 0.01));
        assert_eq!(half.unwrap() * 2.0, full.unwrap());
        assert!(super::from_half_cost(0.0, 22_500, 0.01).is_err());
    }

    #[test]
    fn sums_over_rays() {
        assert_eq!(super::from_likelihood_sum(700.0, 1000 * 513).unwrap(), 700.0 / 513_000.0);
        assert!(
            super::from_likelihood_sum(1.0, 0).is_err() && super::from_likelihood_sum(f64::NAN, 1).is_err()
        );
    }

    #[test]
    fn wasserstein_patch_prior_of_the_paper() {
        // The minimiser of the published objective in one pixel with R(x) = x^2 and F(x) = x, y = 1:
        // x / (1 - x) = 1 / (lambda L).
        let (lambda, scales, n, sigma) = (3.0, 2, 5, 0.1);
        let w = super::from_wpp_mean_of_scales(lambda, scales, n, sigma).unwrap();
        // Ours, 1/n (1 - x)^2 / (2 sigma^2) + w x^2, has x / (1 - x) = 1 / (2 n sigma^2 w).
        assert!((2.0 * n as f64 * sigma * sigma * w - lambda * scales as f64).abs() < 1e-12);
        assert!(super::from_wpp_mean_of_scales(6000.0 / 36.0, 0, 147 * 147, 0.01).is_err());
    }

    #[test]
    fn superresolution_of_the_paper() {
        let w = super::from_squared_error_sum(0.15, 150 * 150, 0.01).unwrap();
        assert!((w - 1.0 / 30.0).abs() < 1e-12);
        assert!(super::from_squared_error_sum(0.15, 0, 0.01).is_err());
    }
}
