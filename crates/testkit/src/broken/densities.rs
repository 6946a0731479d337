//! Broken patch densities.

use smalti_base::Result;
use smalti_flows::Bijection;
use smalti_priors::PatchDensity;
use tch::{Kind, Tensor};

/// The density of a flow with standard normal latents, without constant, with the wrong sign in front of the
/// log-determinant: `|z|^2 / 2 + log |det|`, and the gradient of just that.
pub struct WrongSignDensity {
    /// The flow.
    pub flow: Box<dyn Bijection>,
    /// The dimension of its data.
    pub dim: i64,
}

impl PatchDensity for WrongSignDensity {
    fn dim(&self) -> i64 {
        self.dim
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        let mapped = self.flow.to_latent(patches, None)?;
        let energy = mapped.value.square().sum_dim_intlist(1i64, false, None::<Kind>) * 0.5;
        Ok(energy + mapped.log_det)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let p = patches.detach().copy().set_requires_grad(true);
        let nll = self.nll(&p)?;
        let gradients = Tensor::f_run_backward(&[nll.sum(None::<Kind>)], &[p], false, false)?;
        Ok((nll.detach(), Tensor::f_cat(&gradients, 0)?))
    }
}

/// A density whose gradient is scaled by 1.01.
pub struct ScaledDensityGradient(pub Box<dyn PatchDensity>);

impl PatchDensity for ScaledDensityGradient {
    fn dim(&self) -> i64 {
        self.0.dim()
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        self.0.nll(patches)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let (nll, gradient) = self.0.nll_and_grad(patches)?;
        Ok((nll, gradient * 1.01))
    }
}

/// A density that removes the mean value of the patches given.
pub struct MixedPatches(pub Box<dyn PatchDensity>);

impl PatchDensity for MixedPatches {
    fn dim(&self) -> i64 {
        self.0.dim()
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        let nll = self.0.nll(patches)?;
        Ok(&nll - nll.mean(None::<Kind>))
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let (nll, gradient) = self.0.nll_and_grad(patches)?;
        Ok((&nll - nll.mean(None::<Kind>), &gradient - gradient.mean_dim(0i64, true, None::<Kind>)))
    }
}
