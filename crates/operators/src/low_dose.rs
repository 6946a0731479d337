//! Simulated low-dose tomography: photon noise on exact projections, and the finer image that they are made from.

use crate::Poisson;
use smalti_base::{Error, Result, Seed, Space};
use tch::Tensor;

/// What a detector sees of the exact projections `u` (line integrals of attenuation / `mu_max`, in m):
/// `k ~ Poisson(N0 exp(-mu_max u))`, independent, at least 0.1, and `y = -log(k / N0) / mu_max`.
///
/// Image `b` of a batch draws from a stream of its own, `seed.at("photons", b)`, so that the first image does not depend
/// on how many there are. The counts are drawn exactly ([`smalti_base::seed::Stream::poisson`]), in float64.
///
/// `E[y]` is not `u`: the logarithm makes it larger by about `1 / (2 mu_max k)`.
///
/// # Shapes
/// `u: [B, C, H, W]` to the same, in its dtype and on its device.
///
/// # Errors
/// [`Error::Shape`] where `u` is no batch; [`Error::Value`] where it is not finite, or so negative that the mean count is
/// no number of photons (more than 1e15).
///
/// # Reference
/// Leuschner et al. (2021), see [`Poisson`].
pub fn low_dose(u: &Tensor, noise: &Poisson, seed: Seed) -> Result<Tensor> {
    crate::check::element("projections", u, Space::of("projections", u)?)?;
    let means = noise.counts(&u.f_to_kind(tch::Kind::Double)?)?.f_to_device(tch::Device::Cpu)?;
    if means.numel() == 0 {
        return Ok(u.f_zeros_like()?);
    }
    let largest = means.f_max()?.double_value(&[]);
    let finite = u.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0;
    if !finite || largest.is_nan() || largest > 1e15 {
        let got = if finite { format!("a mean of {largest} photons") } else { "NaN or infinity".to_owned() };
        return Err(Error::value("projections", "finite line integrals in metres, not far below zero", got));
    }
    let counts = (0..u.size()[0])
        .map(|b| seed.at("photons", b as u64).poisson(&means.f_narrow(0, b, 1)?))
        .collect::<Result<Vec<_>>>()?;
    let y = noise.observation(&Tensor::f_cat(&counts, 0)?)?;
    Ok(y.f_to_kind(u.kind())?.f_to_device(u.device())?)
}

/// `x` on a finer grid over the same area, by bilinear interpolation between pixel centres; beyond the outermost centres
/// the outermost value holds.
///
/// Data simulated with the very operator that reconstructs them flatter the reconstruction (the inverse crime):
/// LoDoPaB-CT projects 362 x 362 images at 1000 x 1000 pixels. Values are attenuations, which do not depend on the size
/// of a pixel; the pixels of the projector must be smaller in proportion.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, C, height, width]`, in the dtype and on the device of `x`.
///
/// # Errors
/// [`Error::Shape`] where `x` is no batch of images with pixels; [`Error::Value`] where `height` or `width` is smaller
/// than that of `x`.
pub fn upsample(x: &Tensor, height: i64, width: i64) -> Result<Tensor> {
    let space = Space::of("image", x)?;
    crate::check::domain(space)?;
    crate::check::element("image", x, space)?;
    let [h, w] = space.plane("image")?;
    for (what, fine, coarse) in [("height", height, h), ("width", width, w)] {
        if fine < coarse {
            let expected = format!("at least {coarse} pixels, those of the image");
            return Err(Error::value(format!("{what} of the finer grid"), expected, fine));
        }
    }
    Ok(x.f_upsample_bilinear2d([height, width], false, None, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn number(t: &Tensor) -> f64 {
        t.double_value(&[])
    }

    #[test]
    fn counts_have_the_mean_and_variance_of_poisson() {
        // From a fraction of a photon to all of them; 40000 rays each.
        for (photons, u) in [(4096.0, 0.0), (4096.0, 0.03), (4096.0, 0.06), (40.0, 0.01), (2.0, 0.02)] {
            let noise = Poisson::new(photons, Poisson::MU_MAX).unwrap();
            let n = 40_000;
            let u = Tensor::full([1, 1, 200, 200], u, (Kind::Double, Device::Cpu));
            let mean = number(&noise.counts(&u).unwrap().mean(Kind::Double));
            let counts = noise.counts(&low_dose(&u, &noise, Seed::new(5)).unwrap()).unwrap();
            // Whole numbers, and 0.1 in the place of 0.
            let zeros = counts.lt(0.5).to_kind(Kind::Double);
            let counts = &counts - &zeros * Poisson::MIN_COUNT;
            assert!(number(&(&counts - counts.round()).abs().max()) < 1e-9);
            let found = number(&counts.mean(Kind::Double));
            assert!((found - mean).abs() < 5.0 * (mean / n as f64).sqrt(), "{found} {mean}");
            let variance = number(&(&counts - mean).square().mean(Kind::Double));
            // The standard error of a variance is sqrt((m4 - var^2) / n) with m4 = mean + 3 mean^2.
            let error = ((mean + 2.0 * mean * mean) / n as f64).sqrt();
            assert!((variance - mean).abs() < 5.0 * error, "variance {variance} of mean {mean}");
            let none = (-mean).exp();
            let share = number(&zeros.mean(Kind::Double));
            assert!((share - none).abs() < 5.0 * (none / n as f64).sqrt() + 1e-12, "{share} {none}");
        }
    }

    #[test]
    fn rays_are_independent_and_seeded() {
        let noise = Poisson::lodopab();
        let u = Seed::new(1).at("u", 0).uniform(&[2, 1, 60, 50]) * 0.06;
        let y = low_dose(&u, &noise, Seed::new(2)).unwrap();
        assert_eq!((y.size(), y.kind()), (u.size(), Kind::Float));
        assert_eq!(y, low_dose(&u, &noise, Seed::new(2)).unwrap());
        assert_ne!(y, low_dose(&u, &noise, Seed::new(3)).unwrap());
        assert_eq!(y.narrow(0, 0, 1), low_dose(&u.narrow(0, 0, 1), &noise, Seed::new(2)).unwrap());
        // Standardised by Var y ~ 1 / (mu^2 k): unit variance, no correlation with the neighbour or the other image.
        let same = Tensor::full([2, 1, 60, 50], 0.03, (Kind::Double, Device::Cpu));
        let z = low_dose(&same, &noise, Seed::new(2)).unwrap() - 0.03;
        let z = z * noise.counts(&same).unwrap().sqrt() * noise.mu_max();
        let variance = number(&z.square().mean(Kind::Double));
        assert!((variance - 1.0).abs() < 0.1, "{variance}");
        let product = |a: Tensor, b: Tensor| number(&(a * b).mean(Kind::Double));
        assert!(product(z.narrow(3, 0, 49), z.narrow(3, 1, 49)).abs() < 0.06);
        assert!(product(z.narrow(0, 0, 1), z.narrow(0, 1, 1)).abs() < 0.08);
    }

    #[test]
    fn what_is_no_projection_is_refused() {
        let noise = Poisson::lodopab();
        let u = Tensor::zeros([1, 1, 4, 5], (Kind::Float, Device::Cpu));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5] {
            let u = u.copy();
            let _ = u.narrow(3, 2, 1).fill_(bad);
            let line = low_dose(&u, &noise, Seed::new(1)).unwrap_err().to_string();
            assert!(line.starts_with("projections: expected finite"), "{line}");
        }
        assert!(low_dose(&u.get(0), &noise, Seed::new(1)).is_err());
        assert!(low_dose(&u.to_kind(Kind::Int64), &noise, Seed::new(1)).is_err());
        assert_eq!(low_dose(&u.narrow(0, 0, 0), &noise, Seed::new(1)).unwrap().size(), [0, 1, 4, 5]);
    }

    #[test]
    fn finer_images_show_the_same() {
        // A ramp stays a ramp of its pixel centres, but for half a coarse pixel at the border.
        let (h, w) = (10, 20);
        let ramp = |n: i64, factor: f64| {
            (Tensor::arange((n as f64 * factor) as i64, (Kind::Double, Device::Cpu)) + 0.5) / factor
        };
        let plane = |f: f64| {
            (ramp(h, f).unsqueeze(1) * 0.3 - ramp(w, f).unsqueeze(0) * 0.1).reshape([
                1,
                1,
                -1,
                (w as f64 * f) as i64,
            ])
        };
        let fine = upsample(&plane(1.0), 25, 50).unwrap();
        let cut = |x: &Tensor| x.narrow(2, 2, 21).narrow(3, 2, 46);
        assert!(number(&(cut(&fine) - cut(&plane(2.5))).abs().max()) < 1e-12);
        // The corner is the corner, the mean that of a symmetric image.
        assert_eq!(fine.double_value(&[0, 0, 0, 0]), plane(1.0).double_value(&[0, 0, 0, 0]));
        assert!(number(&(fine.mean(Kind::Double) - plane(1.0).mean(Kind::Double))).abs() < 1e-12);
        assert_eq!(upsample(&plane(1.0), h, w).unwrap(), plane(1.0));
        let line = upsample(&plane(1.0), 9, 40).unwrap_err().to_string();
        assert!(line.contains("height of the finer grid") && line.contains("got 9"), "{line}");
        assert!(upsample(&plane(1.0).get(0), 20, 40).is_err());
    }
}
