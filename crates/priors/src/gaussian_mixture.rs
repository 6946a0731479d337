//! Mixtures of normal distributions with full covariances, as densities on patches.

mod factors;
mod file;
mod moments;
mod wiener;

pub use moments::Moments;

use crate::regularizer::PatchDensity;
use factors::{Factors, Members, pieces};
use smalti_base::{Error, Result, parallel, seed::Stream};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// The mixture `p(x) = sum_k w_k N(x; mu_k, Sigma_k)` on patches as vectors of `d` grey values, with its constant:
/// it integrates to 1.
///
/// ```text
/// nll(x)      = -log sum_k w_k N(x; mu_k, Sigma_k)
/// grad nll(x) = sum_k r_k(x) Sigma_k^-1 (x - mu_k),   r_k(x) = w_k N(x; mu_k, Sigma_k) / p(x)
/// ```
///
/// Expected Patch Log Likelihood (EPLL) is [`PatchPrior`](crate::PatchPrior) of it; half-quadratic splitting uses
/// [`GaussianMixture::denoise`]. `smalti_solvers::GaussianMixtureTraining` learns one from images.
///
/// # Shapes
/// `K` components: weights `[K]`, means `[K, d]`, covariances `[K, d, d]`, kept in float64. Patches `[N, d]` in
/// float32 or float64; results have their dtype. In float32 `nll` is off by about 1e-4 where variances go down to 3e-6.
///
/// # Conventions
/// No mean is removed from patches. Shares `r_k` below 1e-12 (float32: 1e-9) are left out of gradients. A piece of the
/// patches at a time is evaluated by each thread, so memory stays bounded; results do not depend on the number of
/// threads. Gradients of `nll` by autograd are not supported.
///
/// Source: Zoran & Weiss, *From learning models of natural image patches to whole image restoration*, ICCV 2011.
///
/// ```
/// use smalti_base::Seed;
/// use smalti_priors::{GaussianMixture, PatchDensity};
/// use tch::{Kind, Tensor};
/// let weights = Tensor::from_slice(&[0.3, 0.7]);
/// let means = Tensor::from_slice(&[0.2, 0.2, 0.2, 0.2, 0.6, 0.7, 0.7, 0.6]).reshape([2, 4]);
/// let covariances = Tensor::eye(4, (Kind::Double, tch::Device::Cpu)).repeat([2, 1, 1]) * 0.01;
/// let mixture = GaussianMixture::new(&weights, &means, &covariances)?;
/// let patches = mixture.sample(10, &mut Seed::new(1).at("patches", 0))?;
/// let (nll, grad) = mixture.nll_and_grad(&patches)?;
/// assert_eq!((nll.size(), grad.size()), (vec![10], vec![10, 4]));
/// # Ok::<(), smalti_base::Error>(())
/// ```
#[derive(Debug)]
pub struct GaussianMixture {
    weights: Tensor,
    means: Tensor,
    covariances: Tensor,
    double: Factors,
    single: Factors,
    /// Where the mixture comes from: value range, hash of the training data, settings; goes into its file.
    pub provenance: BTreeMap<String, String>,
}

impl GaussianMixture {
    /// The mixture of `weights: [K]`, `means: [K, d]` and `covariances: [K, d, d]`, in floats on one device.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not fit; [`Error::Value`] where values are not finite, weights are negative
    /// or do not add up to 1 (to 1e-6), or a covariance is not symmetric (to 1e-5 of its largest value) or not positive
    /// definite.
    pub fn new(weights: &Tensor, means: &Tensor, covariances: &Tensor) -> Result<Self> {
        let &[k, d] = &means.size()[..] else {
            return Err(Error::shape("means of a Gaussian mixture", "[K, d]", means.size()));
        };
        if k < 1 || d < 1 {
            return Err(Error::shape("means of a Gaussian mixture", "[K, d] with K, d >= 1", means.size()));
        }
        let prepared = |what: &str, t: &Tensor, size: &[i64]| -> Result<Tensor> {
            let what = format!("{what} of a Gaussian mixture");
            if t.size() != size {
                return Err(Error::shape(what, size, t.size()));
            }
            if !t.is_floating_point() {
                return Err(Error::value(what, "floating-point values", format!("{:?}", t.kind())));
            }
            if t.device() != means.device() {
                return Err(Error::value(
                    what,
                    format!("on {:?}", means.device()),
                    format!("{:?}", t.device()),
                ));
            }
            let t = t.detach().f_to_kind(Kind::Double)?.f_contiguous()?;
            match t.f_isfinite()?.f_all()?.f_int64_value(&[])? {
                1 => Ok(t),
                _ => Err(Error::value(what, "finite values", "NaN or infinity in it")),
            }
        };
        let means = prepared("means", means, &[k, d])?;
        let weights = prepared("weights", weights, &[k])?;
        let covariances = prepared("covariances", covariances, &[k, d, d])?;
        let (least, sum) = (weights.f_min()?, weights.f_sum(Kind::Double)?);
        let (least, sum) = (least.f_double_value(&[])?, sum.f_double_value(&[])?);
        if least < 0.0 || (sum - 1.0).abs() > 1e-6 {
            let got = format!("a least weight of {least} and a sum of {sum}");
            return Err(Error::value("weights of a Gaussian mixture", "weights >= 0 of sum 1", got));
        }
        let transposed = covariances.f_transpose(1, 2)?;
        let largest = |t: Tensor| -> Result<Tensor> { Ok(t.f_abs()?.f_amax([1, 2], false)?) };
        let skew = largest(covariances.f_sub(&transposed)?)?;
        let skewed = skew.f_gt_tensor(&(largest(covariances.shallow_clone())? * 1e-5))?;
        if skewed.f_any()?.f_int64_value(&[])? != 0 {
            return Err(Error::value("covariances of a Gaussian mixture", "symmetric matrices", "others"));
        }
        let covariances = (&covariances + transposed) * 0.5;
        let double = Factors::new(&weights, &means, &covariances)?;
        let single = double.to_kind(Kind::Float)?;
        Ok(Self { weights, means, covariances, double, single, provenance: BTreeMap::new() })
    }

    /// Number `K` of components.
    pub fn components(&self) -> i64 {
        self.means.size()[0]
    }

    /// The weights: float64 `[K]`.
    pub fn weights(&self) -> &Tensor {
        &self.weights
    }

    /// The means: float64 `[K, d]`.
    pub fn means(&self) -> &Tensor {
        &self.means
    }

    /// The covariances: float64 `[K, d, d]`.
    pub fn covariances(&self) -> &Tensor {
        &self.covariances
    }

    /// Device of the parameters, on which patches must be, too.
    pub fn device(&self) -> Device {
        self.means.device()
    }

    /// The same mixture on another device.
    ///
    /// # Errors
    /// Those of libtorch where there is no such device.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        let [weights, means, covariances] =
            [&self.weights, &self.means, &self.covariances].map(|t| t.f_to_device(device));
        let moved = Self::new(&weights?, &means?, &covariances?)?;
        Ok(Self { provenance: self.provenance.clone(), ..moved })
    }

    /// `n` independent patches: float64 `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Value`] where `n` is negative; those of libtorch.
    pub fn sample(&self, n: i64, stream: &mut Stream) -> Result<Tensor> {
        if n < 0 {
            return Err(Error::value("number of samples", "0 or more", n));
        }
        let d = self.dim();
        let on = |t: Tensor| t.f_to_kind(Kind::Double)?.f_to_device(self.device());
        let levels = self.weights.f_cumsum(0, Kind::Double)?;
        let levels = levels.f_narrow(0, 0, self.components() - 1)?;
        let drawn = on(stream.uniform(&[n]))?;
        let labels = drawn.f_unsqueeze(1)?.f_ge_tensor(&levels)?;
        let labels = labels.f_sum_dim_intlist(1i64, false, Kind::Int64)?;
        let members = Members::of_labels(&labels, self.components(), Kind::Double)?;
        let lower = self.covariances.f_linalg_cholesky(false)?;
        let origin = self.means.f_zeros_like()?;
        let normal = on(stream.normal(&[n, d]))?;
        let mut samples = self.means.f_index_select(0, &labels)?;
        members.each(&normal, &origin, |k, at, normal, _| {
            let rows = members.rows.f_narrow(0, at, normal.size()[0])?;
            let _ = samples.f_index_add_(0, &rows, &normal.f_mm(&lower.f_select(0, k)?.f_tr()?)?)?;
            Ok(())
        })?;
        Ok(samples)
    }

    /// Shares below this are none, in the dtype of patches.
    fn negligible(kind: Kind) -> f64 {
        if kind == Kind::Double { 1e-12 } else { 1e-9 }
    }

    /// The factors for `patches`, which are checked.
    fn factors(&self, patches: &Tensor) -> Result<&Factors> {
        let d = self.dim();
        if patches.dim() != 2 || patches.size()[1] != d {
            return Err(Error::shape("patches", format!("[N, {d}]"), patches.size()));
        }
        if patches.device() != self.device() {
            let got = format!("{:?}", patches.device());
            return Err(Error::value("patches", format!("on {:?}, as the mixture", self.device()), got));
        }
        match patches.kind() {
            Kind::Double => Ok(&self.double),
            Kind::Float => Ok(&self.single),
            kind => {
                Err(Error::value("patches", "float32 or float64 (convert with to_kind)", format!("{kind:?}")))
            }
        }
    }

    /// Starts and lengths of the pieces of `n` patches that a thread takes at once.
    fn pieces(&self, n: i64) -> Vec<(i64, i64)> {
        pieces(n, size_of_pieces(&self.means))
    }
}

/// Patches whose members of all components, up to `rows K d` values, are at most 16 million; 64 to 4096.
fn size_of_pieces(means: &Tensor) -> i64 {
    ((1 << 24) / means.numel().max(1) as i64).clamp(64, 4096)
}

impl PatchDensity for GaussianMixture {
    fn dim(&self) -> i64 {
        self.means.size()[1]
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        let (factors, patches) = (self.factors(patches)?, patches.detach());
        let nll = Tensor::f_empty(&patches.size()[..1], (patches.kind(), patches.device()))?;
        let mut pieces = parallel::cut([&patches, &nll], &self.pieces(patches.size()[0]))?;
        parallel::for_each_mut(&mut pieces, |[x, nll]| {
            let joint = factors.log_joint(x)?;
            Ok(nll.f_copy_(&joint.f_logsumexp(0i64, false)?.f_neg()?)?)
        })?;
        Ok(nll)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let (factors, patches) = (self.factors(patches)?, patches.detach());
        let nll = Tensor::f_empty(&patches.size()[..1], (patches.kind(), patches.device()))?;
        let grad = Tensor::f_zeros(patches.size(), (patches.kind(), patches.device()))?;
        let negligible = Self::negligible(patches.kind());
        let mut pieces = parallel::cut([&patches, &nll, &grad], &self.pieces(patches.size()[0]))?;
        parallel::for_each_mut(&mut pieces, |[x, nll, grad]| {
            let (log_density, shares) = shares(&factors.log_joint(x)?)?;
            nll.f_copy_(&log_density.f_neg()?)?;
            let members = Members::of_shares(&shares, negligible)?;
            let pulls = members.filtered(x, &factors.means, &factors.precisions)?;
            let _ = grad.f_index_add_(0, &members.rows, &pulls)?;
            Ok(())
        })?;
        Ok((nll, grad))
    }
}

/// `log p(x_n)` and the shares `r_k(x_n)` of `log_joint: [K, n]`: `[n]`, `[K, n]`.
fn shares(log_joint: &Tensor) -> Result<(Tensor, Tensor)> {
    let log_density = log_joint.f_logsumexp(0i64, false)?;
    let shares = log_joint.f_sub(&log_density)?.f_exp_()?;
    Ok((log_density, shares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_by_their_members() {
        for (k, d, size) in [(1, 4, 4096), (64, 64, 4096), (300, 64, 873), (512, 1024, 64)] {
            let means = Tensor::zeros([k, 1], (Kind::Double, tch::Device::Cpu)).expand([k, d], false);
            assert_eq!(size_of_pieces(&means), size, "{k} {d}");
        }
        let m = GaussianMixture::new(
            &Tensor::ones([1], (Kind::Double, tch::Device::Cpu)),
            &Tensor::zeros([1, 2], (Kind::Double, tch::Device::Cpu)),
            &Tensor::eye(2, (Kind::Double, tch::Device::Cpu)).unsqueeze(0),
        );
        assert_eq!(m.unwrap().pieces(5000), [(0, 4096), (4096, 904)]);
    }
}
