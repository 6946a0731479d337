//! WPPFlows: draws of the posterior of every observation.

use super::generator::{Generated, Generator};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::seed::Stream;
use smalti_base::{Error, Result, Space};
use smalti_flows::{Bijection, ForwardPass, Mapped, WppFlow};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// A WPPFlow in training. Its loss is
///
/// `mean_b |f(x_b) - y_b|^2 / 2 + lambda W_2^2(patches of all x_b, patches of the reference) - sigma^2 mean_b log |det J_T|`
///
/// for `x_b = T(z_b; y_b)` with fresh latents `z_b ~ N(0, I)` for the observed crops `y_b` of a batch; `|.|^2` and `log |det|` are
/// sums over an image. Divided by `sigma^2`, this is the backward Kullback-Leibler divergence between the flow's samples and the
/// posterior of Gaussian noise and the prior `exp(-rho W_2^2)`, `rho = lambda / sigma^2`, up to a constant.
///
/// A flow whose actnorms have not been initialised is initialised with the first batch. Gradients in the weights come by
/// recomputation ([`WppFlow::pull_back`]), then are clipped.
///
/// # Reference
/// Altekrueger and Hertrich, "WPPNets and WPPFlows: the power of Wasserstein patch priors for superresolution", SIAM
/// Journal on Imaging Sciences 16 (2023), section 5.
#[derive(Debug)]
pub struct WppFlowGenerator {
    /// The flow.
    pub flow: WppFlow,
    /// Standard deviation `sigma > 0` of the noise, in the units of the observations.
    pub noise: f64,
    /// Gradients whose Euclidean norm, over all parameters together, is larger are scaled down to it.
    pub clip: Option<f64>,
}

impl WppFlowGenerator {
    /// The authors' settings: noise 0.01. In their code gradients are clipped before they are computed, which does nothing; here
    /// they are clipped after it, at a norm of 50.
    pub fn altekrueger_2023(flow: WppFlow) -> Self {
        Self { flow, noise: 0.01, clip: Some(50.0) }
    }
}

impl Generator for WppFlowGenerator {
    const NAME: &'static str = "WPPFlow";
    const RESULT: &'static str = "sample";
    type Pass = ForwardPass;

    fn prepare(&mut self) -> Result<()> {
        let clip = self.clip.unwrap_or(1.0);
        for (what, value) in [("noise", self.noise), ("largest norm of a gradient", clip)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a positive number", value));
            }
        }
        self.flow.to(self.flow.device(), Kind::Float)
    }

    fn settings(&self) -> String {
        format!("noise {}, clip {:?}", self.noise, self.clip)
    }

    fn provenance(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.flow.provenance
    }

    fn device(&self) -> Device {
        self.flow.device()
    }

    fn images(&self, h: i64, w: i64) -> Space {
        self.flow.images(h, w)
    }

    fn parameters(&self) -> Vec<Tensor> {
        vec![self.flow.flat_parameters().shallow_clone()]
    }

    fn latents(&self, stream: &mut Stream, size: &[i64]) -> Result<Option<Tensor>> {
        Ok(Some(stream.normal(size).f_to_device(self.device())?))
    }

    fn initialise(&mut self, z: Option<&Tensor>, y: &Tensor) -> Result<()> {
        match z {
            Some(z) if !self.flow.is_initialised() => self.flow.initialise(z, y),
            _ => Ok(()),
        }
    }

    fn generate(&self, z: Option<&Tensor>, y: &Tensor) -> Result<Generated> {
        let Mapped { value, log_det } = self.flow.to_data(drawn(z)?, Some(y))?;
        Ok(Generated { images: value, log_det: Some(log_det) })
    }

    fn pass(&self, z: Option<&Tensor>, y: &Tensor) -> Result<(Generated, ForwardPass)> {
        let pass = self.flow.pass(drawn(z)?, y)?;
        let Mapped { value, log_det } = &pass.mapped;
        let generated = Generated { images: value.shallow_clone(), log_det: Some(log_det.shallow_clone()) };
        Ok((generated, pass))
    }

    fn pull_back(&self, pass: &ForwardPass, gradient: &Tensor, batch: i64) -> Result<Vec<Tensor>> {
        let grad_log_det = -self.entropy_weight() / batch as f64;
        Ok(vec![self.flow.pull_back(pass, gradient, grad_log_det)?.weights])
    }

    fn limited(&self, parts: Vec<Vec<Tensor>>) -> Result<(Vec<Vec<Tensor>>, Option<f64>)> {
        let mut parts = parts.into_iter().flatten();
        let mut total = parts.next().ok_or_else(|| Error::value("parts of a batch", "at least 1", 0))?;
        for part in parts {
            let _ = total.f_add_(&part)?;
        }
        let norm = total.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?;
        if let Some(clip) = self.clip
            && norm > clip
        {
            total = total.f_mul_scalar(clip / norm)?;
        }
        Ok((vec![vec![total]], Some(norm)))
    }

    fn data_term(&self, residual: &Tensor) -> Result<f64> {
        Ok(0.5 * residual.square().f_sum(Kind::Double)?.f_double_value(&[])? / residual.size()[0] as f64)
    }

    fn data_gradient(&self, vjp: Tensor, residual: &Tensor) -> Tensor {
        vjp / residual.size()[0] as f64
    }

    fn entropy_weight(&self) -> f64 {
        self.noise * self.noise
    }

    fn to_checkpoint(&self) -> Checkpoint {
        self.flow.to_checkpoint()
    }

    fn restore(&mut self, state: &mut Checkpoint) -> Result<()> {
        self.flow.take_parameters(state)
    }
}

/// The latents, without which there are no draws.
fn drawn(z: Option<&Tensor>) -> Result<&Tensor> {
    z.ok_or_else(|| Error::value("latents of a WPPFlow", "a tensor", "none"))
}
