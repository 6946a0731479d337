//! Patches with noise under a Gaussian mixture: the z-step of half-quadratic splitting.

use super::GaussianMixture;
use super::factors::Members;
use crate::regularizer::PatchDensity;
use smalti_base::parallel::{self, Shared};
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

impl GaussianMixture {
    /// The mixture of patches to which white noise of `variance >= 0` was added: `Sigma_k + variance I`.
    ///
    /// # Errors
    /// [`Error::Value`] where the variance is negative or not finite.
    pub fn with_noise(&self, variance: f64) -> Result<Self> {
        if !(variance >= 0.0 && variance.is_finite()) {
            return Err(Error::value("variance of the noise", "a number >= 0", variance));
        }
        let noise = Tensor::f_eye(self.dim(), (Kind::Double, self.device()))? * variance;
        Self::new(self.weights(), self.means(), &(self.covariances() + noise))
    }

    /// The most likely component of every patch, `argmax_k log w_k + log N(x; mu_k, Sigma_k)`: `[N, d] -> [N]`, int64.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where the patches are not `d` floats each.
    pub fn most_likely(&self, patches: &Tensor) -> Result<Tensor> {
        let (factors, patches) = (self.factors(patches)?, patches.detach());
        let labels = Tensor::f_empty(&patches.size()[..1], (Kind::Int64, patches.device()))?;
        let mut pieces = parallel::cut([&patches, &labels], &self.pieces(patches.size()[0]))?;
        parallel::for_each_mut(&mut pieces, |[x, labels]| {
            Ok(labels.f_copy_(&factors.log_joint(x)?.f_argmax(0, false)?)?)
        })?;
        Ok(labels)
    }

    /// Patches `z` with white noise of `variance`, denoised by the Wiener filter of their most likely component:
    ///
    /// ```text
    /// k = argmax_k log w_k + log N(z; mu_k, Sigma_k + variance I)
    /// (Sigma_k + variance I)^-1 (Sigma_k z + variance mu_k) = mu_k + Sigma_k (Sigma_k + variance I)^-1 (z - mu_k)
    /// ```
    ///
    /// With `variance = 1 / beta` it is the z-step of half-quadratic splitting.
    ///
    /// # Shapes
    /// `[N, d] -> [N, d]`, in float32 or float64.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] where the patches are not `d` floats each or the variance is negative.
    ///
    /// Source: Zoran & Weiss 2011, section 2.2.
    pub fn denoise(&self, patches: &Tensor, variance: f64) -> Result<Tensor> {
        let noisy = self.with_noise(variance)?;
        let (factors, patches) = (noisy.factors(patches)?, patches.detach());
        // (Sigma + v I)^-1 and Sigma commute.
        let gains = noisy.double.precisions.f_matmul(self.covariances())?;
        let gains = ((&gains + gains.f_transpose(1, 2)?) * 0.5).f_to_kind(patches.kind())?;
        let (gains, components) = (Shared::new(gains), self.components());
        let denoised = patches.f_empty_like()?;
        let mut pieces = parallel::cut([&patches, &denoised], &self.pieces(patches.size()[0]))?;
        parallel::for_each_mut(&mut pieces, |[z, denoised]| {
            let labels = factors.log_joint(z)?.f_argmax(0, false)?;
            let members = Members::of_labels(&labels, components, z.kind())?;
            let filtered = members.filtered(z, &factors.means, &gains)?;
            let _ = denoised.f_index_copy_(0, &members.rows, &filtered)?;
            let _ = denoised.f_add_(&factors.means.f_index_select(0, &labels)?)?;
            Ok(())
        })?;
        Ok(denoised)
    }
}
