//! The patchNR flow as a density on patches.

use crate::regularizer::PatchDensity;
use smalti_base::Result;
use smalti_flows::PatchNr;
use tch::Tensor;

/// `nll = |T^-1(x)|^2 / 2 - log |det|`, without the constant `d/2 log(2 pi)`.
impl PatchDensity for PatchNr {
    fn dim(&self) -> i64 {
        self.shape().dim()
    }

    fn axes(&self) -> Option<usize> {
        Some(self.shape().axes as usize)
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        PatchNr::nll(self, patches)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        PatchNr::nll_and_grad(self, patches)
    }
}
