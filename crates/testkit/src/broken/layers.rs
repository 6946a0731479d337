//! Flow layers with wrong analytic gradients.

use smalti_base::Result;
use smalti_flows::{Bijection, Gradients, Layer, Mapped, Tape};
use tch::Tensor;

/// What is wrong with the gradients of a [`BrokenLayer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// The gradient in the input is 1.01 times too large.
    ScaledInput,
    /// The last gradient of the parameters is 1.01 times too large.
    ScaledParameter,
    /// The log-determinant is forgotten on the way back.
    NoLogDet,
}

/// A layer with one [`Mistake`] in its [`Layer::pull_back`].
pub struct BrokenLayer {
    /// The correct layer.
    pub layer: Box<dyn Layer>,
    /// What is wrong.
    pub mistake: Mistake,
}

impl Bijection for BrokenLayer {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.layer.to_latent(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.layer.to_data(z, cond)
    }
}

impl Layer for BrokenLayer {
    fn to_latent_taped(&self, x: &Tensor, tape: &mut Tape) -> Result<Mapped> {
        self.layer.to_latent_taped(x, tape)
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        let c = if self.mistake == Mistake::NoLogDet { 0.0 } else { grad_log_det };
        let mut right = Gradients::default();
        let back = self.layer.pull_back(grad, c, tape, weights.is_some().then_some(&mut right))?;
        if let Some(weights) = weights {
            let right = Gradients::sum(&[right])?;
            let last = right.len().saturating_sub(1);
            for (k, gradient) in right.into_iter().enumerate() {
                let wrong = self.mistake == Mistake::ScaledParameter && k == last;
                weights.push(if wrong { gradient * 1.01 } else { gradient });
            }
        }
        Ok(if self.mistake == Mistake::ScaledInput { back * 1.01 } else { back })
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        self.layer.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.layer.parameters_mut()
    }
}
