//! WPPNets: one image for every observation.

use super::generator::{Generated, Generator};
use crate::acnet::AcNet;
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Result, Space};
use smalti_flows::Precision;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// A WPPNet in training. Its loss is
///
/// `mean (f(G(y)) - y)^2 + lambda W_2^2(patches of all G(y) of a batch, patches of the reference)`,
///
/// without an entropy. Gradients `g` in the results reach the weights as the gradient of `sum(x g)`.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023), section 4.
#[derive(Debug)]
pub struct WppNetGenerator {
    /// The network.
    pub net: AcNet,
    /// The dtype of convolutions; weights and their moments stay in float32.
    pub precision: Precision,
}

impl Generator for WppNetGenerator {
    const NAME: &'static str = "WPPNet";
    const RESULT: &'static str = "result";
    /// The images with their graph.
    type Pass = Tensor;

    fn settings(&self) -> String {
        format!("precision {:?}", self.precision)
    }

    fn provenance(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.net.provenance
    }

    fn device(&self) -> Device {
        self.net.device()
    }

    fn images(&self, h: i64, w: i64) -> Space {
        Space::image(1, self.net.factor() * h, self.net.factor() * w)
    }

    fn parameters(&self) -> Vec<Tensor> {
        self.net.parameters().into_iter().map(|(_, t)| t).collect()
    }

    fn generate(&self, _z: Option<&Tensor>, y: &Tensor) -> Result<Generated> {
        Ok(Generated { images: tch::no_grad(|| self.net.forward(y, self.precision))?, log_det: None })
    }

    fn pass(&self, _z: Option<&Tensor>, y: &Tensor) -> Result<(Generated, Tensor)> {
        let x = tch::with_grad(|| self.net.forward(y, self.precision))?;
        Ok((Generated { images: x.f_detach()?, log_det: None }, x))
    }

    fn pull_back(&self, pass: &Tensor, gradient: &Tensor, _batch: i64) -> Result<Vec<Tensor>> {
        let sum = tch::with_grad(|| (pass * gradient).f_sum(Kind::Float))?;
        Ok(Tensor::f_run_backward(&[sum], &self.parameters(), false, false)?)
    }

    fn data_term(&self, residual: &Tensor) -> Result<f64> {
        Ok(residual.square().f_mean(Kind::Double)?.f_double_value(&[])?)
    }

    fn data_gradient(&self, vjp: Tensor, residual: &Tensor) -> Tensor {
        vjp * (2.0 / residual.numel() as f64)
    }

    fn to_checkpoint(&self) -> Checkpoint {
        self.net.to_checkpoint()
    }

    fn restore(&mut self, state: &mut Checkpoint) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for (name, mut parameter) in self.net.parameters() {
            parameter.f_copy_(&state.take(&name, &parameter.size(), Kind::Float)?)?;
        }
        Ok(())
    }
}
