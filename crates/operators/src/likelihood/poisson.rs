//! Photon counts behind an absorbing body, seen through the logarithm.

use super::{Likelihood, per_image, same_shape};
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Poisson noise of transmission tomography, in the form of LoDoPaB-CT: `photons` `N0` are sent along every ray, the
/// counts are `k ~ Poisson(N0 exp(-mu_max u))`, and what is observed is `y = -log(k / N0) / mu_max`.
///
/// With `u` and `y` in metres (line integrals of attenuation / `mu_max`) and the counts `k = N0 exp(-mu_max y)`
///
/// ```text
/// nll(u, y) = sum [N0 exp(-mu_max u) - k (-mu_max u + log N0)] + const
///           = sum k (exp(-t) - 1 + t),   t = mu_max (u - y)
/// d nll / du = mu_max (k - N0 exp(-mu_max u)) = mu_max k (1 - exp(-t))
/// ```
///
/// # Conventions
/// Summed over each image, as every likelihood. The dropped constant `sum k (1 + mu_max y - log N0)` (and `log k!`)
/// makes the least value, that of `u = y`, zero: float32 then keeps the digits that tell two reconstructions apart, where
/// the published form sums half a million terms of a few thousand each. `nll` is convex in `u`.
///
/// # Ranges
/// `u` and `y` are 0 to 0.13 m for `N0 = 4096` (0.13 m are a tenth of a photon). Values with `|t| > 80` overflow float32.
///
/// # Reference
/// J. Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography reconstruction", Scientific
/// Data 8 (2021), section "Methods".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Poisson {
    photons: f64,
    mu_max: f64,
}

impl Poisson {
    /// Attenuation in 1/m that the images of LoDoPaB-CT are divided by: that of the largest value of a scanner, 3071 HU,
    /// with 20 / m for water and 0.02 / m for air.
    pub const MU_MAX: f64 = 3071.0 * (20.0 - 0.02) / 1000.0 + 20.0;

    /// Photons that LoDoPaB-CT sends along every ray.
    pub const PHOTONS: f64 = 4096.0;

    /// A count of zero has no logarithm: it is taken for so many photons, as in LoDoPaB-CT.
    pub const MIN_COUNT: f64 = 0.1;

    /// `photons > 0` along every ray and images of attenuation / `mu_max`, `mu_max > 0` in 1/m.
    ///
    /// # Errors
    /// [`Error::Value`] where a number is not positive and finite.
    pub fn new(photons: f64, mu_max: f64) -> Result<Self> {
        for (what, value) in [("photons along a ray", photons), ("mu_max", mu_max)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a positive number", value));
            }
        }
        Ok(Self { photons, mu_max })
    }

    /// The noise of LoDoPaB-CT: 4096 photons, 81.35858 / m.
    pub fn lodopab() -> Self {
        Self { photons: Self::PHOTONS, mu_max: Self::MU_MAX }
    }

    /// Photons sent along every ray, `N0`.
    pub fn photons(&self) -> f64 {
        self.photons
    }

    /// Attenuation of the image value 1, in 1/m.
    pub fn mu_max(&self) -> f64 {
        self.mu_max
    }

    /// The counts that belong to line integrals: `N0 exp(-mu_max u)`, of the shape of `u`.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn counts(&self, u: &Tensor) -> Result<Tensor> {
        Ok((u * -self.mu_max).f_exp()? * self.photons)
    }

    /// The observation that belongs to counts: `y = -log(max(k, 0.1) / N0) / mu_max` in m, of the shape of `counts`.
    ///
    /// # Errors
    /// [`Error::Value`] where counts are negative, NaN or infinite, or no floating-point numbers.
    pub fn observation(&self, counts: &Tensor) -> Result<Tensor> {
        if !counts.is_floating_point() {
            let got = format!("{:?}", counts.kind());
            return Err(Error::value("photon counts", "floating-point values (convert with to_kind)", got));
        }
        let wrong = counts.f_ge(0.0)?.f_logical_and(&counts.f_isfinite()?)?.f_logical_not()?;
        if let Ok(true) = wrong.f_any().map(|any| any.int64_value(&[]) != 0) {
            let first = wrong.f_flatten(0, -1)?.f_to_kind(Kind::Int)?.f_argmax(0, false)?.int64_value(&[]);
            let value = counts.f_flatten(0, -1)?.f_double_value(&[first])?;
            let got =
                format!("{value} at position {first}; leave the ray out or correct the detector's offset");
            return Err(Error::value("photon counts", "finite numbers >= 0", got));
        }
        Ok((counts.f_clamp_min(Self::MIN_COUNT)? / self.photons).f_log()? / -self.mu_max)
    }

    /// The counts `k` that `y` stands for, `exp(-t) - 1`, and the value.
    fn parts(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        same_shape(u, y)?;
        if y.numel() > 0 && !y.f_sum(Kind::Double)?.double_value(&[]).is_finite() {
            let remedy =
                "NaN or infinity in it (counts of zero or less have no logarithm: see Poisson::observation)";
            return Err(Error::value("observation", "finite values", remedy));
        }
        let (counts, t) = (self.counts(y)?, u.f_sub(y)? * self.mu_max);
        let seen = t.f_neg()?.f_expm1()?;
        let value = per_image(&(&counts * (&seen + t)))?;
        Ok((counts, seen, value))
    }
}

impl Likelihood for Poisson {
    /// # Errors
    /// Also [`Error::Value`] where the observation is not finite.
    fn nll(&self, u: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.parts(u, y)?.2)
    }

    /// # Errors
    /// Also [`Error::Value`] where the observation is not finite.
    fn value_and_grad(&self, u: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (counts, seen, value) = self.parts(u, y)?;
        Ok((value, counts * seen * -self.mu_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    fn draw(purpose: &str) -> Tensor {
        Seed::new(3).at(purpose, 0).uniform(&[2, 1, 40, 30]).to_kind(Kind::Double) * 0.1
    }

    /// The published form, term by term.
    fn published(noise: &Poisson, u: &Tensor, y: &Tensor) -> Tensor {
        let (n, mu) = (noise.photons(), noise.mu_max());
        let terms = (u * -mu).exp() * n - (y * -mu).exp() * n * (u * -mu + n.ln());
        terms.sum_dim_intlist([1i64, 2, 3].as_slice(), false, None::<Kind>)
    }

    #[test]
    fn it_is_the_published_form_less_a_constant() {
        let noise = Poisson::lodopab();
        assert!((noise.mu_max() - 81.35858).abs() < 1e-12);
        let (u, other, y) = (draw("u"), draw("other"), draw("y"));
        let ours = noise.nll(&u, &y).unwrap() - noise.nll(&other, &y).unwrap();
        let theirs = published(&noise, &u, &y) - published(&noise, &other, &y);
        assert!(((ours / theirs) - 1.0).abs().max().double_value(&[]) < 1e-10);
        // The constant that the documentation names.
        let k = noise.counts(&y).unwrap();
        let constant = &k * (&y * noise.mu_max() + 1.0 - noise.photons().ln());
        let constant = constant.sum_dim_intlist([1i64, 2, 3].as_slice(), false, None::<Kind>);
        let difference = published(&noise, &u, &y) - noise.nll(&u, &y).unwrap() - &constant;
        assert!((difference / constant).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn the_observation_itself_is_the_most_probable() {
        let noise = Poisson::new(500.0, 30.0).unwrap();
        let y = draw("y");
        assert_eq!(noise.nll(&y, &y).unwrap(), Tensor::zeros([2], (Kind::Double, tch::Device::Cpu)));
        assert_eq!(noise.grad(&y, &y).unwrap(), y.zeros_like());
        assert!(noise.nll(&draw("u"), &y).unwrap().min().double_value(&[]) > 0.0);
    }

    #[test]
    fn single_precision_keeps_the_digits() {
        let noise = Poisson::lodopab();
        let y = draw("y");
        // Two candidates within the noise, of nearly the same value.
        let u = &y + draw("u") * 3e-3;
        let exact = noise.nll(&u, &y).unwrap();
        let single = noise.nll(&u.to_kind(Kind::Float), &y.to_kind(Kind::Float)).unwrap();
        let error = |found: Tensor, exact: &Tensor| {
            ((found.to_kind(Kind::Double) - exact) / exact).abs().max().double_value(&[])
        };
        let kept = error(single, &exact);
        let terms = |kind| published(&noise, &u.to_kind(kind), &y.to_kind(kind)).to_kind(Kind::Double);
        let least = |kind| published(&noise, &y.to_kind(kind), &y.to_kind(kind)).to_kind(Kind::Double);
        let lost = error(terms(Kind::Float) - least(Kind::Float), &exact);
        assert!(kept < 1e-4 && lost > 30.0 * kept, "ours {kept:.1e}, the published form {lost:.1e}");
    }

    #[test]
    fn counts_and_observations_belong_together() {
        let noise = Poisson::lodopab();
        let y = draw("y");
        let again = noise.observation(&noise.counts(&y).unwrap()).unwrap();
        assert!((again - &y).abs().max().double_value(&[]) < 1e-15);
        let few = Tensor::from_slice(&[0.0, 0.05, 0.1, 4096.0]);
        let least = (40960f64).ln() / Poisson::MU_MAX;
        let found = Vec::<f64>::try_from(noise.observation(&few).unwrap()).unwrap();
        let expected = [least, least, least, 0.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?}");
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Poisson::new(bad, 80.0).unwrap_err().to_string().contains("photons"));
            assert!(Poisson::new(80.0, bad).unwrap_err().to_string().contains("mu_max"));
        }
        let noise = Poisson::lodopab();
        for bad in [-1.0, -1e-9, f64::NAN, f64::INFINITY] {
            let line = noise.observation(&Tensor::from_slice(&[5.0, bad, bad])).unwrap_err().to_string();
            assert!(
                line.contains(&format!("got {bad} at position 1")) && line.lines().count() == 1,
                "{line}"
            );
        }
        assert!(noise.observation(&Tensor::from_slice(&[5, 6])).is_err());
        let (u, y) = (draw("u"), draw("y"));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let y = y.copy();
            let _ = y.narrow(3, 4, 2).fill_(bad);
            for line in [noise.nll(&u, &y).unwrap_err(), noise.grad(&u, &y).unwrap_err()] {
                assert!(line.to_string().starts_with("observation: expected finite"), "{line}");
            }
        }
        let narrow = y.narrow(3, 0, 29);
        assert!(noise.nll(&u, &narrow).is_err() && noise.grad(&u, &narrow).is_err());
        assert_eq!(noise.nll(&u.narrow(0, 0, 0), &y.narrow(0, 0, 0)).unwrap().size(), [0]);
    }
}
