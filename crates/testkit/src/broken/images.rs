//! Layers on images with wrong gradients.

use super::Mistake;
use smalti_base::Result;
use smalti_flows::{Bijection, ImageLayer, Mapped, PulledBack};
use tch::Tensor;

/// A layer with one [`Mistake`] in its [`ImageLayer::pull_back`].
pub struct BrokenImageLayer {
    /// The correct layer.
    pub layer: Box<dyn ImageLayer>,
    /// What is wrong.
    pub mistake: Mistake,
}

impl Bijection for BrokenImageLayer {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.layer.to_latent(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.layer.to_data(z, cond)
    }
}

impl ImageLayer for BrokenImageLayer {
    fn pull_back(
        &self,
        z: &Tensor,
        cond: Option<&Tensor>,
        grad: &Tensor,
        grad_log_det: f64,
    ) -> Result<PulledBack> {
        let c = if self.mistake == Mistake::NoLogDet { 0.0 } else { grad_log_det };
        let PulledBack { mut latent, mut weights } = self.layer.pull_back(z, cond, grad, c)?;
        match (self.mistake, weights.last_mut()) {
            (Mistake::ScaledInput, _) => latent = &latent * 1.01,
            (Mistake::ScaledParameter, Some(last)) => *last = &*last * 1.01,
            _ => {}
        }
        Ok(PulledBack { latent, weights })
    }

    fn conditional(&self) -> bool {
        self.layer.conditional()
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        self.layer.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.layer.parameters_mut()
    }
}
