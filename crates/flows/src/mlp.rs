//! Fully connected subnets with ReLU between layers, and their analytic gradients.

use crate::layer::{Precision, Tape};
use smalti_base::{Result, seed::Stream};
use tch::{Kind, Tensor};

/// `x W^T + b`, with `W: [out, in]`, `b: [out]`.
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
    /// The same in bfloat16, where products run in it.
    cast: Option<(Tensor, Tensor)>,
}

impl Linear {
    fn operands(&self) -> (&Tensor, &Tensor) {
        self.cast.as_ref().map_or((&self.weight, &self.bias), |(w, b)| (w, b))
    }
}

/// `W_K relu(... relu(W_1 x + b_1) ...) + b_K`: `[B, in] -> [B, out]`.
#[derive(Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Layers of the given widths, e.g. `[18, 512, 512, 36]`, initialised as PyTorch does: weights and biases
    /// uniform in `(-1, 1) / sqrt(in)`.
    pub fn new(widths: &[i64], stream: &mut Stream) -> Self {
        let mut draw = |shape: &[i64], fan_in: i64| (stream.uniform(shape) * 2 - 1) / (fan_in as f64).sqrt();
        let layers = widths.windows(2).map(|w| Linear {
            weight: draw(&[w[1], w[0]], w[0]),
            bias: draw(&[w[1]], w[0]),
            cast: None,
        });
        Self { layers: layers.collect() }
    }

    /// The net's value; what [`Mlp::pull_back`] needs goes on `tape` where one is given.
    ///
    /// # Errors
    /// Where `x` does not have the width of the first layer.
    pub fn forward(&self, x: &Tensor, mut tape: Option<&mut Tape>) -> Result<Tensor> {
        let mut h = x.shallow_clone();
        for (k, layer) in self.layers.iter().enumerate() {
            let (weight, bias) = layer.operands();
            h = h.f_to_kind(weight.kind())?;
            let out = h.f_linear(weight, Some(bias))?;
            if let Some(tape) = tape.as_deref_mut() {
                tape.push(h);
            }
            h = if k + 1 < self.layers.len() { out.f_relu()? } else { out };
        }
        Ok(h.f_to_kind(x.kind())?)
    }

    /// `dL/dx` from `dL/d out`; the parameters' gradients are appended to `weights` in the order of
    /// [`Mlp::parameters`].
    ///
    /// # Errors
    /// Where the tape is not that of [`Mlp::forward`].
    pub fn pull_back(
        &self,
        grad: &Tensor,
        tape: &mut Tape,
        weights: Option<&mut Vec<Tensor>>,
    ) -> Result<Tensor> {
        let mut reversed = weights.as_ref().map(|_| Vec::with_capacity(2 * self.layers.len()));
        let mut g = grad.shallow_clone();
        for (k, layer) in self.layers.iter().enumerate().rev() {
            let input = tape.pop()?;
            g = g.f_to_kind(input.kind())?;
            if let Some(out) = &mut reversed {
                out.push(g.f_sum_dim_intlist(0i64, false, None::<Kind>)?);
                out.push(g.tr().f_matmul(&input)?);
            }
            g = g.f_matmul(layer.operands().0)?;
            if k > 0 {
                g = input.f_threshold_backward(&g, 0.0)?;
            }
        }
        if let (Some(weights), Some(reversed)) = (weights, reversed) {
            weights.extend(reversed.into_iter().rev());
        }
        Ok(g.f_to_kind(grad.kind())?)
    }

    /// Weights and biases with the names that PyTorch gives them in a `Sequential` with ReLU between.
    pub fn parameters(&self, prefix: &str) -> Vec<(String, &Tensor)> {
        let named = |(k, l)| {
            let l: &Linear = l;
            let name = format!("{prefix}.{}", 2 * k);
            [(format!("{name}.weight"), &l.weight), (format!("{name}.bias"), &l.bias)]
        };
        self.layers.iter().enumerate().flat_map(named).collect()
    }

    /// The same tensors in the same order.
    pub fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.layers.iter_mut().flat_map(|l| [&mut l.weight, &mut l.bias]).collect()
    }

    /// Chooses the dtype of matrix products.
    ///
    /// With [`Precision::Bf16`] only products between hidden layers run in bfloat16: rounding a patch or a shift
    /// to 8 bits would cost more accuracy than these small products cost time.
    pub fn set_precision(&mut self, precision: Precision) {
        let last = self.layers.len().saturating_sub(1);
        for (k, layer) in self.layers.iter_mut().enumerate() {
            let bf16 = |t: &Tensor| t.detach().to_kind(Kind::BFloat16);
            let hidden = k > 0 && k < last;
            layer.cast =
                (hidden && precision == Precision::Bf16).then(|| (bf16(&layer.weight), bf16(&layer.bias)));
        }
    }

    /// Brings the operands of the matrix products up to date with the parameters.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn refresh(&self) -> Result<()> {
        for layer in &self.layers {
            if let Some((weight, bias)) = &layer.cast {
                weight.shallow_clone().copy_(&layer.weight.detach());
                bias.shallow_clone().copy_(&layer.bias.detach());
            }
        }
        Ok(())
    }
}
