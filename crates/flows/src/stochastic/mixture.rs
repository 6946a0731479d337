//! Gaussian mixtures, and the inverse problem whose posteriors are such.

use super::energy::{ConditionalEnergy, Energy};
use crate::layer::check_vectors;
use smalti_base::{Error, Result, Seed, seed::Stream};
use tch::{Kind, Tensor};

/// `p(x) = sum_k w_k N(x; mu_k, diag(v))` on `R^d`, the same variances for all modes. As an [`Energy`] it is `-log p(x)`, with all
/// constants.
#[derive(Debug)]
pub struct DiagonalMixture {
    log_weights: Tensor,
    means: Tensor,
    variances: Tensor,
}

impl DiagonalMixture {
    /// Weights `[K]`, positive (they are normalised), means `[K, d]` and variances `[d]`, positive; of one dtype.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where shapes do not fit, or a weight or variance is not positive.
    pub fn new(weights: &Tensor, means: &Tensor, variances: &Tensor) -> Result<Self> {
        let size = means.size();
        let [k, d] = size[..] else { return Err(Error::shape("means of the modes", "[K, d]", size)) };
        for (what, t, n) in [("weights of the modes", weights, k), ("variances of the modes", variances, d)] {
            if t.size() != [n] || n < 1 {
                return Err(Error::shape(what, [n.max(1)], t.size()));
            }
            let good = t.f_gt(0.0)?.f_logical_and(&t.f_isfinite()?)?;
            if good.f_all()?.int64_value(&[]) == 0 {
                return Err(Error::value(what, "positive, finite numbers", "others among them"));
            }
        }
        if means.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(Error::value("means of the modes", "finite numbers", "others among them"));
        }
        Ok(Self {
            log_weights: (weights / weights.sum(weights.kind())).f_log()?,
            means: means.f_detach_copy()?,
            variances: variances.f_detach_copy()?,
        })
    }

    /// Weights `[K]`, means `[K, d]` and variances `[d]`.
    pub fn parts(&self) -> (Tensor, &Tensor, &Tensor) {
        (self.log_weights.exp(), &self.means, &self.variances)
    }

    /// `n` independent samples, `[n, d]`.
    pub fn sample(&self, n: i64, stream: &mut Stream) -> Tensor {
        let (kind, device) = (self.means.kind(), self.means.device());
        let u = stream.uniform(&[n, 1]).to_kind(kind).to_device(device);
        let below = self.log_weights.exp().cumsum(0, kind).unsqueeze(0).lt_tensor(&u);
        let modes = below.sum_dim_intlist(1i64, false, Kind::Int64).clamp_max(self.means.size()[0] - 1);
        let noise = stream.normal(&[n, self.means.size()[1]]).to_kind(kind).to_device(device);
        self.means.index_select(0, &modes) + noise * self.variances.sqrt()
    }

    /// `log w_k N(x; mu_k, diag(v))`: `[B, K]`.
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        check_vectors("samples of a mixture", x, self.means.size()[1])?;
        let distances = x.f_unsqueeze(1)?.f_sub(&self.means.f_unsqueeze(0)?)?.f_square()?;
        let squares = distances.f_div(&self.variances)?.f_sum_dim_intlist(2i64, false, None::<Kind>)?;
        let constant = (&self.variances * (2.0 * std::f64::consts::PI)).f_log()?.f_sum(x.kind())? / 2.0;
        Ok(&self.log_weights - squares / 2.0 - constant)
    }
}

impl Energy for DiagonalMixture {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.logits(x)?.f_logsumexp(1i64, false)?.f_neg()?)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let logits = self.logits(x)?;
        let centre = logits.f_softmax(1, logits.kind())?.f_matmul(&self.means)?;
        let value = logits.f_logsumexp(1i64, false)?.f_neg()?;
        Ok((value, x.f_sub(&centre)?.f_div(&self.variances)?))
    }
}

/// `y = A x + sigma xi` with `A = diag(a)` and `x` from a [`DiagonalMixture`]: the posteriors are Gaussian mixtures, too.
///
/// As a [`ConditionalEnergy`] it is `-log p(x) - log p(y | x)` with all constants, so that
/// `int exp(-E(x | y)) dx = p(y)`, the [evidence](Self::log_evidence).
#[derive(Debug)]
pub struct MixtureProblem {
    prior: DiagonalMixture,
    diagonal: Tensor,
    sigma: f64,
}

impl MixtureProblem {
    /// The diagonal `a: [d]` of the operator, in the dtype of the mixture, and the noise level `sigma > 0`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where they do not fit.
    pub fn new(prior: DiagonalMixture, diagonal: &Tensor, sigma: f64) -> Result<Self> {
        if diagonal.size() != prior.variances.size() {
            return Err(Error::shape("diagonal of the operator", prior.variances.size(), diagonal.size()));
        }
        if diagonal.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(Error::value("diagonal of the operator", "finite numbers", "others among them"));
        }
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(Error::value("noise level sigma", "a positive number", sigma));
        }
        Ok(Self { prior, diagonal: diagonal.f_detach_copy()?, sigma })
    }

    /// The experiment of Hagemann, Hertrich and Steidl 2022, section 6.1, in dimension `dim` (theirs is 100): 12 modes of
    /// equal weight, uniform in `[-1, 1]^dim`, variance 1e-4, `a_i = 0.1 / i`, `sigma = 0.1`; float32.
    ///
    /// # Errors
    /// [`Error::Value`] where `dim < 1`.
    pub fn published(dim: i64, seed: Seed) -> Result<Self> {
        if dim < 1 {
            return Err(Error::value("dimension of the mixture", "at least 1", dim));
        }
        let means = seed.at("means of the modes", 0).uniform(&[12, dim]) * 2.0 - 1.0;
        let of = |n: i64, value: f64| Tensor::full([n], value, (Kind::Float, tch::Device::Cpu));
        let prior = DiagonalMixture::new(&of(12, 1.0), &means, &of(dim, 1e-4))?;
        let diagonal: Vec<f32> = (1..=dim).map(|i| 0.1 / i as f32).collect();
        Self::new(prior, &Tensor::from_slice(&diagonal), 0.1)
    }

    /// The distribution of `x`.
    pub fn prior(&self) -> &DiagonalMixture {
        &self.prior
    }

    /// `n` pairs, `x: [n, d]` and `y: [n, d]`.
    pub fn pairs(&self, n: i64, stream: &mut Stream) -> (Tensor, Tensor) {
        let x = self.prior.sample(n, stream);
        let noise = stream.normal(&x.size()).to_kind(x.kind()).to_device(x.device());
        let y = &x * &self.diagonal + noise * self.sigma;
        (x, y)
    }

    /// `log w_k p(y | mode k)`: `[B, K]`.
    fn evidences(&self, y: &Tensor) -> Result<Tensor> {
        let variances = self.diagonal.f_square()? * &self.prior.variances + self.sigma.powi(2);
        let observed = DiagonalMixture {
            log_weights: self.prior.log_weights.shallow_clone(),
            means: self.prior.means.f_mul(&self.diagonal)?,
            variances,
        };
        observed.logits(y)
    }

    /// `log p(y)`: `[B, d] -> [B]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `y` does not fit.
    pub fn log_evidence(&self, y: &Tensor) -> Result<Tensor> {
        Ok(self.evidences(y)?.f_logsumexp(1i64, false)?)
    }

    /// `p(x | y)` for one observation `y: [d]`, in closed form: variances `1 / (1 / v + a^2 / sigma^2)`, means and weights by
    /// Bayes' formula, mode by mode.
    ///
    /// # Errors
    /// [`Error::Shape`] where `y` does not fit.
    pub fn posterior(&self, y: &Tensor) -> Result<DiagonalMixture> {
        if y.size() != self.diagonal.size() {
            return Err(Error::shape("observation", self.diagonal.size(), y.size()));
        }
        let noise = self.sigma.powi(2);
        let variances = (self.prior.variances.reciprocal() + self.diagonal.square() / noise).reciprocal();
        let means = (&self.prior.means / &self.prior.variances + &self.diagonal * y / noise) * &variances;
        let log_weights = self.evidences(&y.unsqueeze(0))?.squeeze_dim(0).f_log_softmax(0, y.kind())?;
        Ok(DiagonalMixture { log_weights, means, variances })
    }

    /// `A x - y`.
    fn residual(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        check_vectors("samples of a mixture", x, self.diagonal.numel() as i64)?;
        if x.size() != y.size() {
            return Err(Error::shape("observation", x.size(), y.size()));
        }
        Ok(x.f_mul(&self.diagonal)?.f_sub(y)?)
    }

    fn noise_energy(&self, residual: &Tensor) -> Result<Tensor> {
        let variance = self.sigma.powi(2);
        let constant = residual.size()[1] as f64 / 2.0 * (2.0 * std::f64::consts::PI * variance).ln();
        let squares = residual.f_square()?.f_sum_dim_intlist(1i64, false, None::<Kind>)?;
        Ok(squares / (2.0 * variance) + constant)
    }
}

impl ConditionalEnergy for MixtureProblem {
    fn dim(&self) -> i64 {
        self.diagonal.numel() as i64
    }

    fn condition(&self) -> i64 {
        self.dim()
    }

    fn energy(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(self.prior.energy(x)? + self.noise_energy(&self.residual(x, y)?)?)
    }

    fn energy_and_grad(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let residual = self.residual(x, y)?;
        let (value, slope) = self.prior.energy_and_grad(x)?;
        let of_noise = self.noise_energy(&residual)?;
        Ok((value + of_noise, slope + residual * &self.diagonal / self.sigma.powi(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> MixtureProblem {
        let double = |t: &[f64]| Tensor::from_slice(t);
        let means = double(&[-1.0, 0.5, 0.8, -0.3, 0.0, 0.9]).reshape([3, 2]);
        let prior = DiagonalMixture::new(&double(&[1.0, 2.0, 3.0]), &means, &double(&[0.04, 0.09])).unwrap();
        MixtureProblem::new(prior, &double(&[0.7, -0.4]), 0.3).unwrap()
    }

    #[test]
    fn posterior_times_evidence_is_the_joint_density() {
        let problem = problem();
        let x = Seed::new(1).at("x", 0).normal(&[50, 2]).to_kind(Kind::Double);
        let y = Tensor::from_slice(&[0.2, -0.5]);
        let posterior = problem.posterior(&y).unwrap().energy(&x).unwrap();
        let y = y.unsqueeze(0);
        let evidence = problem.log_evidence(&y).unwrap();
        let joint = problem.energy(&x, &y.expand([50, 2], false)).unwrap();
        assert!((posterior - evidence - joint).abs().max().double_value(&[]) < 1e-11);
    }

    #[test]
    fn gradients_are_those_of_autograd() {
        let problem = problem();
        let (x, y) = problem.pairs(20, &mut Seed::new(2).at("pairs", 0));
        let (value, slope) = problem.energy_and_grad(&x, &y).unwrap();
        let leaf = x.copy().set_requires_grad(true);
        let energy = problem.energy(&leaf, &y).unwrap();
        assert!((&value - energy.detach()).abs().max().double_value(&[]) < 1e-12);
        let expected = Tensor::run_backward(&[energy.sum(Kind::Double)], &[leaf], false, false);
        assert!((slope - &expected[0]).abs().max().double_value(&[]) < 1e-11);
    }

    #[test]
    fn samples_have_the_moments_of_the_mixture() {
        let problem = problem();
        let prior = problem.prior();
        let (weights, means, variances) = prior.parts();
        let x = prior.sample(100_000, &mut Seed::new(3).at("x", 0));
        let w = weights.unsqueeze(1);
        let mean = (&w * means).sum_dim_intlist(0i64, false, Kind::Double);
        let second = (&w * means.square()).sum_dim_intlist(0i64, false, Kind::Double) + variances;
        let over = |t: &Tensor| t.mean_dim(Some([0i64].as_slice()), false, Kind::Double);
        assert!((over(&x) - mean).abs().max().double_value(&[]) < 0.01);
        assert!((over(&x.square()) - second).abs().max().double_value(&[]) < 0.01);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let one = || Tensor::from_slice(&[1.0]);
        let means = one().reshape([1, 1]);
        let prior = || DiagonalMixture::new(&one(), &means, &one()).unwrap();
        assert!(DiagonalMixture::new(&(one() * -1.0), &means, &one()).is_err());
        assert!(DiagonalMixture::new(&one(), &one(), &one()).is_err());
        assert!(DiagonalMixture::new(&one(), &means, &Tensor::from_slice(&[1.0, 2.0])).is_err());
        for sigma in [0.0, -1.0, f64::NAN] {
            let line = MixtureProblem::new(prior(), &one(), sigma).unwrap_err().to_string();
            assert!(line.contains("noise level sigma"), "{line}");
        }
        assert!(problem().posterior(&one()).is_err() && MixtureProblem::published(0, Seed::new(1)).is_err());
    }
}
