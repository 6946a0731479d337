//! The noise of an image, from the image itself.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Side of the patches.
const SIDE: i64 = 5;

/// Patches that are looked at, at most about so many: of larger images those on a grid.
const MOST: i64 = 300_000;

/// Rounds of choosing patches without texture.
const ROUNDS: usize = 3;

/// Patches whose squared central differences add up to less than this many noise variances are taken for flat: the quantile `1 - 1e-6`
/// of that sum for pure noise, a gamma distribution with the mean `tr = 15` of 21 degrees of freedom (for patches of 5 x 5).
const FLAT: f64 = 48.5;

/// The standard deviation of white Gaussian noise on `image`.
///
/// The smallest eigenvalue of the covariance of the patches without texture: structure lies in few directions of the space of patches,
/// white noise in all of them. Which patches are flat follows from the noise found, in turn.
///
/// # Shapes
/// `[1, 1, H, W]`, or a volume, whose planes are looked at.
///
/// # Errors
/// [`Error::Shape`] where the image is too small.
///
/// X. Liu, M. Tanaka, M. Okutomi. Single-image noise level estimation for blind denoising. IEEE Transactions on Image Processing
/// 22(12), 2013.
pub(crate) fn estimate(image: &Tensor) -> Result<f64> {
    let size = image.size();
    let (h, w) = (size[size.len() - 2], size[size.len() - 1]);
    if h.min(w) < LEAST {
        let expected = format!("at least {LEAST} x {LEAST} pixels to estimate the noise of; give --noise");
        return Err(Error::shape("observation", expected, [h, w]));
    }
    let planes = image.f_reshape([-1, h, w])?.f_to_kind(Kind::Double)?;
    let all = planes.size()[0] * h * w;
    let step = ((all as f64 / MOST as f64).sqrt().ceil() as i64).max(1);
    let patches = planes.f_unfold(1, SIDE, step)?.f_unfold(2, SIDE, step)?.f_reshape([-1, SIDE, SIDE])?;
    let texture = energy(&patches, 1)? + energy(&patches, 2)?;
    let patches = patches.f_flatten(1, 2)?;
    let mut variance = smallest_variance(&patches)?;
    for _ in 0..ROUNDS {
        let flat = texture.f_lt(FLAT * variance)?;
        let chosen = patches.f_index_select(0, &flat.f_nonzero()?.f_flatten(0, -1)?)?;
        if chosen.size()[0] < 4 * SIDE * SIDE {
            break;
        }
        variance = smallest_variance(&chosen)?;
    }
    Ok(variance.max(0.0).sqrt())
}

/// Pixels along each side that it takes.
const LEAST: i64 = 24;

/// The sum of squared central differences of each patch along an axis.
fn energy(patches: &Tensor, axis: i64) -> Result<Tensor> {
    let n = SIDE - 2;
    let half = (patches.f_narrow(axis, 2, n)?.f_sub(&patches.f_narrow(axis, 0, n)?)? * 0.5).f_square()?;
    Ok(half.f_flatten(1, 2)?.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)?)
}

/// The smallest eigenvalue of the covariance of patches `[N, 25]`.
fn smallest_variance(patches: &Tensor) -> Result<f64> {
    let n = patches.size()[0].max(2);
    let centred = patches.f_sub(&patches.f_mean_dim([0i64].as_slice(), true, None::<Kind>)?)?;
    let covariance = centred.f_transpose(0, 1)?.f_matmul(&centred)? / (n - 1) as f64;
    Ok(covariance.f_linalg_eigvalsh("L")?.f_min()?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    #[test]
    fn pure_noise_has_its_standard_deviation() {
        for sigma in [0.003, 0.02, 0.3] {
            let image = Seed::new(1).at("noise", 0).normal(&[1, 1, 160, 200]) * sigma + 0.5;
            let found = estimate(&image).unwrap();
            assert!((found / sigma - 1.0).abs() < 0.05, "{found} of {sigma}");
        }
    }

    #[test]
    fn structure_does_not_count_as_noise() {
        let drawn = smalti_methods::synthetic::microstructure(256, 256, Seed::new(3), 0).unwrap();
        for sigma in [0.02, 0.1] {
            // Every second pixel, as an observation is.
            let coarse = drawn.slice(2, None, None, 2).slice(3, None, None, 2);
            let noisy = &coarse + Seed::new(2).at("noise", 0).normal(&coarse.size()) * sigma;
            let found = estimate(&noisy).unwrap();
            assert!((found / sigma - 1.0).abs() < 0.12, "{found} of {sigma}");
        }
    }

    #[test]
    fn small_images_are_refused() {
        let line = estimate(&Tensor::zeros([1, 1, 12, 40], tch::kind::FLOAT_CPU)).unwrap_err().to_string();
        assert!(line.contains("give --noise"), "{line}");
    }
}
