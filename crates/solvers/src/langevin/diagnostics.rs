//! Whether chains have found the same distribution, and how many independent draws theirs are worth.
//!
//! Chains are slices of equal length: one scalar quantity, draw by draw. Each is cut into halves first (where the
//! length is odd, without the draw in the middle), so that a single chain that drifts disagrees with itself, too.
//!
//! [`split_r_hat`] and [`effective_sample_size`] are about the mean. They see nothing of chains with one mean and different
//! spreads, and little where the target has no variance: [`rank_r_hat`], [`bulk_sample_size`] and [`tail_sample_size`] do.
//!
//! # Reference
//! A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, "Rank-normalization, folding, and localization: an
//! improved R-hat for assessing convergence of MCMC", Bayesian Analysis 16 (2021), sections 2 to 4; for the truncation of
//! the sum C. J. Geyer, "Practical Markov chain Monte Carlo", Statistical Science 7 (1992), section 3.3.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Chains whose R-hat is above this have not mixed.
pub const R_HAT_LIMIT: f64 = 1.1;

/// Mean and sums of squared deviations of each half chain.
struct Halves<C> {
    halves: Vec<C>,
    means: Vec<f64>,
    /// Mean variance within half chains, `W`.
    within: f64,
    /// The estimate `(n - 1)/n W + B/n` of the variance of the target.
    total: f64,
}

/// Each chain in two.
fn split<C: AsRef<[f64]>>(chains: &[C]) -> Result<Vec<&[f64]>> {
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
    Ok(chains.iter().map(AsRef::as_ref).flat_map(|c| [&c[..n], &c[length - n..]]).collect())
}

impl<C: AsRef<[f64]>> Halves<C> {
    fn of(halves: Vec<C>) -> Self {
        let means: Vec<f64> = halves.iter().map(|h| mean(h.as_ref())).collect();
        let variances: Vec<f64> = halves.iter().map(|h| variance(h.as_ref())).collect();
        let (within, size) = (mean(&variances), halves[0].as_ref().len() as f64);
        let total = (size - 1.0) / size * within + variance(&means);
        Self { halves, means, within, total }
    }

    fn draws(&self) -> f64 {
        (self.halves.len() * self.halves[0].as_ref().len()) as f64
    }

    fn r_hat(&self) -> f64 {
        (self.total / self.within).sqrt()
    }

    /// The combined autocorrelation at every lag: from `1/n sum_i (x_i - mean)(x_(i+lag) - mean)`, averaged over half
    /// chains, all at once by the Fourier transform.
    fn correlations(&self) -> Result<Vec<f64>> {
        let n = self.halves[0].as_ref().len();
        let away =
            self.halves.iter().zip(&self.means).flat_map(|(h, m)| h.as_ref().iter().map(move |x| x - m));
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

    /// `m n / tau`, where the sum of the autocorrelations ends as it does in Stan and ArviZ: with the pair before the
    /// first that is not positive, and of that the first one if it is positive.
    fn independent_draws(&self) -> Result<f64> {
        let (rho, draws) = (self.correlations()?, self.draws());
        if rho.iter().any(|rho| rho.is_nan()) {
            return Ok(f64::NAN);
        }
        let (mut even, mut pair) = (1.0, 1.0 + rho[1]);
        let (mut sum, mut least) = (0.0, f64::INFINITY);
        for next in rho[2..].chunks_exact(2).take(rho.len().saturating_sub(3) / 2) {
            if pair <= 0.0 {
                break;
            }
            least = pair.min(least);
            sum += least;
            (even, pair) = (next[0], next[0] + next[1]);
        }
        let last = if pair >= 0.0 { even } else { even.max(0.0) };
        Ok(draws / (2.0 * sum - 1.0 + last).max(1.0 / draws.log10()))
    }
}

fn mean(values: &[f64]) -> f64 {
    // Rounding must not make the mean of equal values another value.
    match values {
        [first, rest @ ..] if rest.iter().all(|v| v == first) => *first,
        _ => values.iter().sum::<f64>() / values.len() as f64,
    }
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
    Ok(Halves::of(split(chains)?).r_hat())
}

/// Rank-normalised split R-hat, the larger one of that for the location and that for the spread: of all draws `x` (and of
/// `|x - median|`) the normal scores `Phi^-1((r - 3/8) / (S + 1/4))` of their ranks `r` among `S`, equal draws having their
/// mean rank, and the [`split_r_hat`] of those. It needs no variance of the target, and finds chains that differ in their spread. NaN
/// where all chains stand still at one value.
///
/// # Errors
/// Those of [`split_r_hat`].
///
/// # Reference
/// Vehtari et al. (2021), section 4.1 and equation (14); `arviz.rhat`.
pub fn rank_r_hat<C: AsRef<[f64]>>(chains: &[C]) -> Result<f64> {
    let halves = split(chains)?;
    let mut all = halves.concat();
    all.sort_by(f64::total_cmp);
    let middle = (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0;
    let folded = each(&halves, |x| (x - middle).abs());
    let [location, spread] = [scores(&halves)?, scores(&folded)?].map(|scores| Halves::of(scores).r_hat());
    Ok(location.max(spread))
}

/// How many independent draws would tell as much of the bulk of the distribution: the effective sample size of the normal
/// scores that [`rank_r_hat`] has. At most `m n log10(m n)`; NaN where the chains stand still.
///
/// # Errors
/// Those of [`split_r_hat`].
///
/// # Reference
/// Vehtari et al. (2021), section 4.2; `arviz.ess(method="bulk")`.
pub fn bulk_sample_size<C: AsRef<[f64]>>(chains: &[C]) -> Result<f64> {
    Halves::of(scores(&split(chains)?)?).independent_draws()
}

/// How many independent draws would tell as much of the tails: the smaller one of the effective sample sizes of the indicators
/// `x <= q` of the 5 % and the 95 % quantile `q` of all draws, interpolated linearly. An indicator that never changes counts as `m n`
/// draws; NaN where the chains stand still.
///
/// # Errors
/// Those of [`split_r_hat`].
///
/// # Reference
/// Vehtari et al. (2021), section 4.3; `arviz.ess(method="tail")`.
pub fn tail_sample_size<C: AsRef<[f64]>>(chains: &[C]) -> Result<f64> {
    let halves = split(chains)?;
    let mut all: Vec<f64> = chains.iter().flat_map(|c| c.as_ref().iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    if all.first() == all.last() {
        return Ok(f64::NAN);
    }
    let of_quantile = |probability: f64| -> Result<f64> {
        // Counted from 1.
        let place = all.len() as f64 * probability + (1.0 - probability);
        let below = (place as usize).clamp(1, all.len() - 1);
        let part = (place - below as f64).clamp(0.0, 1.0);
        // Between equal draws exactly that value: a rounded one would not count them.
        let quantile = all[below - 1] + part * (all[below] - all[below - 1]);
        let below = Halves::of(each(&halves, |x| f64::from(u8::from(x <= quantile))));
        // All at one value: nothing varies that draws could be correlated in.
        if below.total == 0.0 { Ok(below.draws()) } else { below.independent_draws() }
    };
    Ok(of_quantile(0.05)?.min(of_quantile(0.95)?))
}

/// A function of each draw.
fn each(halves: &[&[f64]], of: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
    halves.iter().map(|half| half.iter().map(|&x| of(x)).collect()).collect()
}

/// The normal scores of the ranks of all draws.
fn scores<C: AsRef<[f64]>>(halves: &[C]) -> Result<Vec<Vec<f64>>> {
    let n = halves[0].as_ref().len();
    let draws: Vec<f64> = halves.iter().flat_map(|half| half.as_ref().iter().copied()).collect();
    let mut order: Vec<usize> = (0..draws.len()).collect();
    order.sort_by(|&i, &j| draws[i].total_cmp(&draws[j]));
    let (mut levels, mut before) = (vec![0.0; draws.len()], 0);
    for equal in order.chunk_by(|&i, &j| draws[i] == draws[j]) {
        // The mean of the ranks before + 1, ..., before + count.
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&i| levels[i] = (rank - 0.375) / (draws.len() as f64 + 0.25));
        before += equal.len();
    }
    let scores = Vec::<f64>::try_from(Tensor::f_from_slice(&levels)?.f_special_ndtri()?)?;
    Ok(scores.chunks_exact(n).map(<[f64]>::to_vec).collect())
}

/// How many independent draws have the same Monte-Carlo error of the mean: `m n / tau`, `tau = 1 + 2 sum rho_t`, with the
/// combined autocorrelations `rho_t` of the `m` half chains of `n` draws, summed in pairs as long as these are positive, and
/// made monotone (Geyer). At most `m n log10(m n)`, which chains that swing around their mean reach; NaN where
/// they stand still.
///
/// # Errors
/// Those of [`split_r_hat`].
pub fn effective_sample_size<C: AsRef<[f64]>>(chains: &[C]) -> Result<f64> {
    let halves = Halves::of(split(chains)?);
    let draws = halves.draws();
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
    let halves = Halves::of(split(chains)?);
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

    /// Quantiles between equal draws are that value, whatever it is: figures of ranks do not depend on it.
    #[test]
    fn tails_do_not_depend_on_how_values_round() {
        let chains = |base: f64| {
            [0, 1].map(|c| (0..20).map(|k| base * f64::from((k * 7 + c) % 10 / 4 + 1)).collect::<Vec<_>>())
        };
        let expected = tail_sample_size(&chains(1.0)).unwrap();
        for k in 1..400 {
            let found = tail_sample_size(&chains(f64::from(k) * 0.137)).unwrap();
            assert_eq!(found, expected, "{k}");
        }
    }

    #[test]
    fn chains_that_stand_still_have_no_figures() {
        // 0.1 is no binary fraction: sums of it are rounded.
        for (n, value) in [(4, 0.1), (7, 0.1), (101, -1e-3)] {
            let chains = vec![vec![value; n]; 4];
            for figure in [split_r_hat, effective_sample_size, rank_r_hat, bulk_sample_size, tail_sample_size]
            {
                let found = figure(&chains).unwrap();
                assert!(found.is_nan(), "{n} draws of {value}: {found}");
            }
        }
        let apart = [vec![0.1; 6], vec![0.3; 6]];
        assert_eq!(split_r_hat(&apart).unwrap(), f64::INFINITY);
        assert_eq!(rank_r_hat(&apart).unwrap(), f64::INFINITY);
    }

    #[test]
    fn chains_of_one_mean_and_different_spreads_are_found() {
        let chain = |size: f64| (0..40).map(|k| if k % 2 == 0 { size } else { -size }).collect::<Vec<_>>();
        let chains = [chain(1.0), chain(1.0), chain(50.0), chain(50.0)];
        assert!(split_r_hat(&chains).unwrap() < 1.0);
        assert!(rank_r_hat(&chains).unwrap() > R_HAT_LIMIT);
        let noise = |c: u64, size: f64| -> Vec<f64> {
            let drawn = Vec::<f32>::try_from(Seed::new(5).at("noise", c).normal(&[500])).unwrap();
            drawn.into_iter().map(|x| size * f64::from(x)).collect()
        };
        let chains = [noise(0, 1.0), noise(1, 1.0), noise(2, 3.0), noise(3, 1.0)];
        assert!(split_r_hat(&chains).unwrap() < 1.02, "{}", split_r_hat(&chains).unwrap());
        assert!(rank_r_hat(&chains).unwrap() > R_HAT_LIMIT, "{}", rank_r_hat(&chains).unwrap());
    }
}
