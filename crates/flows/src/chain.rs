//! Composition of layers.

use crate::bijection::{Bijection, Mapped};
use crate::gradients::Gradients;
use crate::layer::Layer;
use crate::mlp::Mlp;
use crate::precision::Precision;
use crate::tape::Tape;
use smalti_base::{Result, parallel};
use tch::Tensor;

/// `T = T_K o ... o T_1`, latent to data; log-determinants add up.
#[derive(Default)]
pub struct Chain {
    layers: Vec<Box<dyn Layer>>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

impl Chain {
    /// Layers in the order latent to data.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Self {
        Self { layers }
    }

    /// Runs `step` over the layers, adding up log-determinants.
    fn run<'a>(
        layers: impl Iterator<Item = &'a Box<dyn Layer>>,
        x: &Tensor,
        mut step: impl FnMut(&'a dyn Layer, &Tensor) -> Result<Mapped>,
    ) -> Result<Mapped> {
        let mut total: Option<Mapped> = None;
        for layer in layers {
            let next = step(layer.as_ref(), total.as_ref().map_or(x, |m| &m.value))?;
            total = Some(match total {
                None => next,
                Some(before) => Mapped { log_det: before.log_det + next.log_det, ..next },
            });
        }
        Ok(total.unwrap_or_else(|| Mapped {
            value: x.shallow_clone(),
            log_det: Tensor::zeros([x.size().first().copied().unwrap_or(0)], (x.kind(), x.device())),
        }))
    }
}

impl Bijection for Chain {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        Self::run(self.layers.iter().rev(), x, |layer, x| layer.to_latent(x, cond))
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        Self::run(self.layers.iter(), z, |layer, z| layer.to_data(z, cond))
    }
}

impl Layer for Chain {
    fn to_latent_taped(&self, x: &Tensor, tape: &mut Tape) -> Result<Mapped> {
        Self::run(self.layers.iter().rev(), x, |layer, x| layer.to_latent_taped(x, tape))
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        mut weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        let mut grad = grad.shallow_clone();
        for layer in &self.layers {
            grad = layer.pull_back(&grad, grad_log_det, tape, weights.as_deref_mut())?;
        }
        Ok(grad)
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::new();
        for (k, layer) in self.layers.iter().enumerate() {
            all.extend(
                layer.parameters().into_iter().map(|(name, t)| (format!("module_list.{k}.{name}"), t)),
            );
        }
        all
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.layers.iter_mut().flat_map(|layer| layer.parameters_mut()).collect()
    }

    fn buffers_mut(&mut self) -> Vec<&mut Tensor> {
        self.layers.iter_mut().flat_map(|layer| layer.buffers_mut()).collect()
    }

    fn set_precision(&mut self, precision: Precision) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.set_precision(precision))
    }

    fn subnets_mut(&mut self) -> Vec<&mut Mlp> {
        self.layers.iter_mut().flat_map(|layer| layer.subnets_mut()).collect()
    }

    fn refresh(&mut self) -> Result<()> {
        parallel::for_each_mut(&mut self.layers, |layer| layer.refresh())
    }
}
