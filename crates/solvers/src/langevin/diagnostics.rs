//! Whether chains have found the same distribution, and how many independent draws theirs are worth.
//!
//! Chains are slices of equal length: one scalar quantity, draw by draw. Each is cut into halves first (where the
//! length is odd, without the draw in the middle), so that a single chain that drifts disagrees with itself, too.
//!
//! # Reference
//! A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, "Rank-normalization, folding, and localization: an
//! improved R-hat for assessing convergence of MCMC", Bayesian Analysis 16 (2021), sections 2 and 3; for the truncation of
//! the sum C. J. Geyer, "Practical Markov chain Monte Carlo", Statistical Science 7 (1992), section 3.3.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Chains whose R-hat is above this have not mixed.
pub const R_HAT_LIMIT: f64 = 1.1;

/// Mean and sums of squared deviations of each half chain.
struct Halves<'a> {
    halves: Vec<&'a [f64]>,
    means: Vec<f64>,
    /// Mean variance within half chains, `W`.
    within: f64,
    /// The estimate `(n - 1)/n W + B/n` of the variance of the target.
    total: f64,
}

impl<'a> Halves<'a> {
    fn of<C: AsRef<[f64]>>(chains: &'a [C]) -> Result<Self> {
        let length = chains.first().map_or(0, |c| c.as_ref().len());
        if length < 4 {
            return Err(Error::value("draws of a chain", "at least 4", length));
        }
        if let Some(other) = chains.iter().find(|c| c.as_ref().len() != length) {
            return Err(Error::shape("draws of a chain", length, other.as_ref().len()));
        }
        if let Some(value) = chains.iter().flat_map(|c| c.as_ref()).find(|v| !v.is_finite()) {
            return Err(Error::value("draw of a chain", "a finite number", value));
        }
        let n = length / 2;
        let halves: Vec<&[f64]> =
            chains.iter().map(AsRef::as_ref).flat_map(|c| [&c[..n], &c[length - n..]]).collect();
        let means: Vec<f64> = halves.iter().map(|h| mean(h)).collect();
        let variances: Vec<f64> = halves.iter().map(|h| variance(h)).collect();
        let (within, size) = (mean(&variances), n as f64);
        let total = (size - 1.0) / size * within + variance(&means);
        Ok(Self { halves, means, within, total })
    }

    /// The combined autocorrelation at every lag: from `1/n sum_i (x_i - mean)(x_(i+lag) - mean)`, averaged over half
    /// chains, all at once by the Fourier transform.
    fn correlations(&self) -> Result<Vec<f64>> {
        let n = self.halves[0].len();
        let away = self.halves.iter().zip(&self.means).flat_map(|(h, m)| h.iter().map(move |x| x - m));
        let away = Tensor::f_from_slice(&away.collect::<Vec<f64>>())?.f_reshape([-1, n as i64])?;
        // Zeros behind keep the end of a half from its beginning.
        let power = away.f_fft_rfft(2 * n as i64, -1, "backward")?.f_abs()?.f_square()?;
        let products =
            power.f_fft_irfft(2 * n as i64, -1, "backward")?.f_mean_dim(0i64, false, Kind::Double)?;
        let products = Vec::<f64>::try_from(products.f_narrow(0, 0, n as i64)?)?;
        let correlation = |(lag, product): (usize, f64)| match lag {
            0 => 1.0,
            _ => 1.0 - (self.within - product / n as f64) / self.total,
        };
        Ok(products.into_iter().enumerate().map(correlation).collect())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let m = mean(values);
    values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

/// Split R-hat: `sqrt(((n - 1)/n W + B/n) / W)` from the variance `W` within and `B` between half chains of `n` draws,
/// without rank normalisation. 1 for chains that agree; infinite where they stand still at different values, and NaN
/// where all stand still at one.
///
/// # Errors
/// [`Error::Shape`], [`Error::Value`] where chains have fewer than 4 draws, different lengths, or values that are not
/// finite.
pub fn split_r_hat<C: AsRef<[f64]>>(chains: &[C]) -> Result<f64> {
    let halves = Halves::of(chains)?;
    Ok((halves.total / halves.within).sqrt())
}

/// How many independent draws have the same Monte-Carlo error of the mean: `m n / tau`, `tau = 1 + 2 sum rho_t`, with the
/// combined autocorrelations `rho_t` of the `m` half chains of `n` draws, summed in pairs as long as these are positive, and
/// made monotone (Geyer). At most `m n log10(m n)`, which chains that swing around their mean reach; NaN where
/// they stand still.
///
/// # Errors
/// Those of [`split_r_hat`].
pub fn effective_sample_size<C: AsRef<[f64]>>(chains: &[C]) -> Result<f64> {
    let halves = Halves::of(chains)?;
    let n = halves.halves[0].len();
    let draws = (halves.halves.len() * n) as f64;
    let correlations = halves.correlations()?;
    let (mut sum, mut least) = (0.0, f64::INFINITY);
    for pair in correlations.chunks_exact(2) {
        let pair = pair[0] + pair[1];
        if pair.is_nan() {
            return Ok(f64::NAN);
        }
        if pair <= 0.0 {
            break;
        }
        least = pair.min(least);
        sum += least;
    }
    let tau = 2.0 * sum - 1.0;
    let most = draws * draws.log10();
    Ok(if tau > 0.0 { (draws / tau).min(most) } else { most })
}

/// The combined autocorrelations `rho_0 = 1, rho_1, ...` up to `lags` (or as many as half a chain has).
///
/// # Errors
/// Those of [`split_r_hat`].
pub fn autocorrelation<C: AsRef<[f64]>>(chains: &[C], lags: usize) -> Result<Vec<f64>> {
    let halves = Halves::of(chains)?;
    let mut correlations = halves.correlations()?;
    correlations.truncate(lags.saturating_add(1));
    Ok(correlations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    /// `x_k = phi x_(k-1) + sqrt(1 - phi^2) xi`, stationary with variance 1, plus `shift` times the chain's number.
    fn autoregressive(phi: f64, shift: f64, n: i64) -> Vec<Vec<f64>> {
        let chain = |c: u64| {
            let noise = Vec::<f32>::try_from(Seed::new(4).at("noise", c).normal(&[n])).unwrap();
            let mut x = f64::from(noise[0]);
            let step = |&xi: &f32| {
                x = phi * x + (1.0 - phi * phi).sqrt() * f64::from(xi);
                x + shift * c as f64
            };
            noise.iter().map(step).collect()
        };
        (0..4).map(chain).collect()
    }

    #[test]
    fn effective_sizes_are_those_of_the_formula() {
        for phi in [-0.5, 0.0, 0.5, 0.9] {
            let chains = autoregressive(phi, 0.0, 20_000);
            // tau = (1 + phi) / (1 - phi).
            let expected = 80_000.0 * (1.0 - phi) / (1.0 + phi);
            let found = effective_sample_size(&chains).unwrap();
            assert!((found / expected - 1.0).abs() < 0.1, "phi {phi}: {found} instead of {expected}");
            assert!((split_r_hat(&chains).unwrap() - 1.0).abs() < 5e-3);
            for (lag, rho) in autocorrelation(&chains, 5).unwrap().into_iter().enumerate() {
                assert!((rho - phi.powi(lag as i32)).abs() < 0.03, "phi {phi}, lag {lag}: {rho}");
            }
        }
    }

    #[test]
    fn chains_that_disagree_are_found() {
        let apart = autoregressive(0.3, 1.0, 1000);
        assert!(split_r_hat(&apart).unwrap() > R_HAT_LIMIT);
        assert!(effective_sample_size(&apart).unwrap() < 20.0);
        // A single chain that drifts.
        let drifting: Vec<f64> =
            autoregressive(0.3, 0.0, 1000)[0].iter().enumerate().map(|(k, x)| x + k as f64 / 200.0).collect();
        assert!(split_r_hat(&[drifting]).unwrap() > R_HAT_LIMIT);
    }

    #[test]
    fn a_worked_example() {
        // Halves (1, 2) and (3, 5): means 1.5 and 4, variances 1/2 and 2, so W = 5/4, B/n = 25/8.
        let found = split_r_hat(&[[1.0, 2.0, 3.0, 5.0]]).unwrap();
        assert!((found - ((0.625 + 3.125) / 1.25f64).sqrt()).abs() < 1e-15);
        let without_the_middle = split_r_hat(&[[1.0, 2.0, 99.0, 3.0, 5.0]]).unwrap();
        assert_eq!(found, without_the_middle);
    }

    #[test]
    fn what_cannot_be_judged() {
        assert!(split_r_hat(&[[1.0, 2.0, 3.0]]).is_err() && split_r_hat::<Vec<f64>>(&[]).is_err());
        assert!(split_r_hat(&[vec![1.0; 4], vec![1.0; 5]]).is_err());
        assert!(effective_sample_size(&[[1.0, 2.0, f64::NAN, 3.0]]).is_err());
        assert!(split_r_hat(&[[1.0; 4]]).unwrap().is_nan());
        assert_eq!(split_r_hat(&[[1.0; 4], [2.0; 4]]).unwrap(), f64::INFINITY);
        assert!(effective_sample_size(&[[1.0; 4]]).unwrap().is_nan());
    }
}
