//! The data terms that total variation goes with, each as the primal-dual method sees it.

use super::omega::wright_omega;
use smalti_base::Result;
use smalti_operators::{Likelihood, Poisson};
use tch::{Kind, Tensor};

/// A convex `F(u)`, a sum over the observation's values.
pub(super) trait DataTerm {
    /// `F(u)`.
    fn value(&self, u: &Tensor) -> Result<f64>;

    /// About the second derivative of `F` near the observation: of its shape, or one number for all values.
    fn curvature(&self) -> Result<Tensor>;

    /// The proximal map of the conjugate with one step size `s` for every value (or for all): the `p` with
    /// `p = F'(u)` and `u = (v - p) / s`.
    fn dual_step(&self, v: &Tensor, s: &Tensor) -> Result<Tensor>;
}

/// `|u - y|^2 / 2`.
pub(super) struct Squares<'a>(pub(super) &'a Tensor);

impl DataTerm for Squares<'_> {
    fn value(&self, u: &Tensor) -> Result<f64> {
        Ok(0.5 * u.f_sub(self.0)?.f_square()?.f_sum(Kind::Double)?.double_value(&[]))
    }

    fn curvature(&self) -> Result<Tensor> {
        Ok(Tensor::f_ones([1i64; 4].as_slice(), (self.0.kind(), self.0.device()))?)
    }

    fn dual_step(&self, v: &Tensor, s: &Tensor) -> Result<Tensor> {
        Ok((v - s * self.0).f_div(&(s + 1.0))?)
    }
}

/// `sum k (exp(-t) - 1 + t)`, `t = mu (u - y)`: the negative log-likelihood of [`Poisson`].
pub(super) struct Counts<'a> {
    noise: Poisson,
    observation: &'a Tensor,
    /// `mu k`.
    slope: Tensor,
}

impl<'a> Counts<'a> {
    pub(super) fn new(noise: Poisson, observation: &'a Tensor) -> Result<Self> {
        let slope = noise.counts(observation)? * noise.mu_max();
        Ok(Self { noise, observation, slope })
    }
}

impl DataTerm for Counts<'_> {
    fn value(&self, u: &Tensor) -> Result<f64> {
        Ok(self.noise.nll(u, self.observation)?.f_sum(Kind::Double)?.double_value(&[]))
    }

    /// `mu^2 k`, where no photon came as for one.
    fn curvature(&self) -> Result<Tensor> {
        let mu = self.noise.mu_max();
        Ok(self.slope.f_clamp_min(mu)? * mu)
    }

    /// With `F'(u) = mu (k - N0 exp(-mu u))` and `q = mu^2 N0 exp(-mu u) / s` the two equations become
    /// `q + log q = log(mu^2 N0 / s) + mu (mu k - v) / s`, so `q` is the Wright omega function of the right side, and
    /// `p = mu k - s q / mu`: no exponential of anything large, whatever `v` is.
    fn dual_step(&self, v: &Tensor, s: &Tensor) -> Result<Tensor> {
        let mu = self.noise.mu_max();
        let relative = s / mu;
        let right =
            (&self.slope - v).f_div(&relative)? - (&relative / (mu * self.noise.photons())).f_log()?;
        Ok(&self.slope - wright_omega(&right)? * relative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    fn draw(purpose: &str) -> Tensor {
        Seed::new(6).at(purpose, 0).uniform(&[1, 1, 20, 30]).to_kind(Kind::Double)
    }

    fn largest(t: &Tensor) -> f64 {
        t.abs().max().double_value(&[])
    }

    #[test]
    fn dual_steps_are_proximal_maps() {
        let noise = Poisson::lodopab();
        // Line integrals up to those that let a tenth of a photon through.
        let y = draw("y") * 0.13;
        let counts = Counts::new(noise, &y).unwrap();
        let curvature = counts.curvature().unwrap();
        for step in [1e-4, 1e-2, 1.0, 30.0] {
            let s = &curvature * (draw("s") * step + 0.1 * step);
            let v = (draw("v") - 0.5) * noise.mu_max() * 400.0 + &s * &y;
            let p = counts.dual_step(&v, &s).unwrap();
            let u = (&v - &p) / &s;
            let slope = noise.grad(&u, &y).unwrap();
            let scale = largest(&slope).max(1.0);
            assert!(largest(&(&p - slope)) < 1e-8 * scale, "step {step}");
            // In single precision, relative to the size of its terms.
            let single = |t: &Tensor| t.to_kind(Kind::Float);
            let y = single(&y);
            let found = Counts::new(noise, &y).unwrap().dual_step(&single(&v), &single(&s)).unwrap();
            let size = largest(&(&v.abs() + counts.slope.abs()));
            assert!(largest(&(found.to_kind(Kind::Double) - p)) < 1e-5 * size, "step {step}");
        }
        let squares = Squares(&y);
        let (v, s) = (draw("v"), draw("s") + 0.1);
        let p = squares.dual_step(&v, &s).unwrap();
        assert!(largest(&((&v - &p) / s - &y - p)) < 1e-12);
    }
}
