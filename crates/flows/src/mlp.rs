//! Fully connected subnets with ReLU between layers, and their analytic gradients.

use crate::gradients::{Gradient, Gradients};
use crate::precision::Precision;
use crate::tape::Tape;
use smalti_base::slices::{self, Buffer};
use smalti_base::{Result, parallel::Shared, seed::Stream};
use smalti_kernels::adam::{self, Update};
use smalti_kernels::mlp::{Bf16Mlp, Matrix};
use tch::{Device, Kind, Tensor};

/// `x W^T + b`, with `W: [out, in]`, `b: [out]`.
#[derive(Debug)]
struct Linear {
    weight: Shared<Tensor>,
    bias: Shared<Tensor>,
    /// The same in bfloat16, where products run in it.
    cast: Option<Shared<(Tensor, Tensor)>>,
}

impl Linear {
    fn operands(&self) -> (&Tensor, &Tensor) {
        match self.cast.as_deref() {
            Some((weight, bias)) => (weight, bias),
            None => (&self.weight, &self.bias),
        }
    }
}

/// First and second moment of a gradient, of the shape of its parameter.
pub type AdamMoments = [Tensor; 2];

/// `W_K relu(... relu(W_1 x + b_1) ...) + b_K`: `[B, in] -> [B, out]`.
#[derive(Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    /// The same net without libtorch, where a CPU multiplies in bfloat16.
    fused: Option<Bf16Mlp>,
}

impl Mlp {
    /// Layers of the given widths, e.g. `[18, 512, 512, 36]`, initialised as PyTorch does: weights and biases
    /// uniform in `(-1, 1) / sqrt(in)`.
    pub fn new(widths: &[i64], stream: &mut Stream) -> Self {
        let mut draw = |shape: &[i64], fan_in: i64| (stream.uniform(shape) * 2 - 1) / (fan_in as f64).sqrt();
        let layers = widths.windows(2).map(|w| Linear {
            weight: Shared::new(draw(&[w[1], w[0]], w[0])),
            bias: Shared::new(draw(&[w[1]], w[0])),
            cast: None,
        });
        Self { layers: layers.collect(), fused: None }
    }

    /// The net's value; what [`Mlp::pull_back`] needs goes on `tape` where one is given.
    ///
    /// # Errors
    /// Where `x` does not have the width of the first layer.
    pub fn forward(&self, x: &Tensor, mut tape: Option<&mut Tape>) -> Result<Tensor> {
        // Autograd, where somebody wants it, must see every operation.
        if let Some(fused) = &self.fused
            && !x.requires_grad()
        {
            return self.fused_forward(fused, x, tape);
        }
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
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        if let Some(fused) = &self.fused {
            return self.fused_pull_back(fused, grad, tape, weights);
        }
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
            reversed.into_iter().rev().for_each(|g| weights.push(g));
        }
        Ok(g.f_to_kind(grad.kind())?)
    }

    #[allow(unsafe_code)]
    fn fused_forward(&self, fused: &Bf16Mlp, x: &Tensor, tape: Option<&mut Tape>) -> Result<Tensor> {
        let outputs = self.layers.last().map_or(0, |l| l.bias.numel() as i64);
        let mut out = Buffer::zeros(&[x.size()[0], outputs])?;
        let x = slices::with_rows(x)?;
        // SAFETY: until `forward` is done, which is the last use of the slice, this thread writes into new memory only; and
        // no other thread writes into tensors that it has lent (decision 013).
        let (values, stride) = unsafe { slices::rows(&x) }?;
        let pass = fused.forward(Matrix { values, stride }, x.size()[0] as usize, &mut out);
        if let Some(tape) = tape {
            tape.push_pass(pass);
        }
        Ok(out.into_tensor())
    }

    #[allow(unsafe_code)]
    fn fused_pull_back(
        &self,
        fused: &Bf16Mlp,
        grad: &Tensor,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        let inputs = self.layers.first().map_or(0, |l| l.weight.size()[1]);
        let mut grad_x = Buffer::zeros(&[grad.size()[0], inputs])?;
        let grad = slices::with_rows(grad)?;
        // SAFETY: as in `fused_forward`.
        let (values, stride) = unsafe { slices::rows(&grad) }?;
        let rows = grad.size()[0] as usize;
        let grad = Matrix { values, stride };
        let of_layers = fused.pull_back(tape.pop_pass()?, grad, rows, &mut grad_x, weights.is_some());
        if let Some(weights) = weights {
            for (of_layer, layer) in of_layers.into_iter().zip(&self.layers) {
                let size = layer.weight.size();
                weights.push_product(of_layer.weight, [size[0], size[1]]);
                weights.push(Tensor::from_slice(&of_layer.bias));
            }
        }
        Ok(grad_x.into_tensor())
    }

    /// Weights and biases with the names that PyTorch gives them in a `Sequential` with ReLU between.
    pub fn parameters(&self, prefix: &str) -> Vec<(String, &Tensor)> {
        let named = |(k, l)| {
            let l: &Linear = l;
            let name = format!("{prefix}.{}", 2 * k);
            [(format!("{name}.weight"), &*l.weight), (format!("{name}.bias"), &*l.bias)]
        };
        self.layers.iter().enumerate().flat_map(named).collect()
    }

    /// The same tensors in the same order.
    pub fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.layers.iter_mut().flat_map(|l| [&mut *l.weight, &mut *l.bias]).collect()
    }

    /// Chooses the dtype of matrix products.
    ///
    /// With [`Precision::Bf16`] only products between hidden layers run in bfloat16: rounding a patch or a shift
    /// to 8 bits would cost more accuracy than these small products cost time.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn set_precision(&mut self, precision: Precision) -> Result<()> {
        let on_cpu = self.layers.iter().all(|l| slices::readable(&l.weight) && slices::readable(&l.bias));
        self.fused = (on_cpu && precision == Precision::Bf16).then(|| Bf16Mlp::new(&self.widths()));
        let last = self.layers.len().saturating_sub(1);
        for (k, layer) in self.layers.iter_mut().enumerate() {
            let bf16 = |t: &Tensor| t.detach().to_kind(Kind::BFloat16);
            let hidden = k > 0 && k < last && layer.weight.device() != Device::Cpu;
            layer.cast = (hidden && precision == Precision::Bf16)
                .then(|| Shared::new((bf16(&layer.weight), bf16(&layer.bias))));
        }
        self.refresh()
    }

    fn widths(&self) -> Vec<usize> {
        let outputs = self.layers.iter().map(|l| l.weight.size()[0] as usize);
        self.layers.first().map(|l| l.weight.size()[1] as usize).into_iter().chain(outputs).collect()
    }

    /// How many parameters there are.
    pub(crate) fn count(&self) -> usize {
        2 * self.layers.len()
    }

    /// Whether [`Mlp::descend`] works: in bfloat16 on a CPU.
    pub(crate) fn is_fused(&self) -> bool {
        self.fused.is_some()
    }

    /// One step of Adam on all parameters, whose gradients are the sums of `parts` and whose moments are changed, and
    /// [`Mlp::refresh`], in one pass over memory.
    ///
    /// # Safety
    /// Nobody else reads or writes the parameters and moments meanwhile, or writes the gradients; no two of parameters and
    /// moments share memory, nor does one of them with a gradient.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn descend(
        &mut self,
        parts: &[&[Gradient]],
        moments: &[AdamMoments],
        update: Update,
    ) -> Result<()> {
        let Some(fused) = &mut self.fused else { return Ok(()) };
        for (k, (layer, moments)) in self.layers.iter_mut().zip(moments.as_chunks::<2>().0).enumerate() {
            let [of_weight, of_bias] = moments.each_ref().map(|m| m.each_ref().map(Tensor::shallow_clone));
            let (mut factors, mut biases) = (Vec::new(), Vec::new());
            for part in parts {
                if let [Gradient::Product(factor, _), Gradient::Ready(bias)] = &part[2 * k..2 * k + 2] {
                    factors.push(factor);
                    // SAFETY: promised by the caller.
                    biases.push(adam::GradientTerm::F32(unsafe { slices::values(bias) }?));
                }
            }
            let [mut first, mut second] = of_weight;
            // SAFETY: promised by the caller.
            let (weight, m, v) = unsafe {
                let moments = (slices::values_mut(&mut first)?, slices::values_mut(&mut second)?);
                (slices::values_mut(&mut layer.weight)?, moments.0, moments.1)
            };
            fused.descend(k, &factors, weight, [m, v], update);
            let [mut first, mut second] = of_bias;
            // SAFETY: the same.
            let (bias, m, v) = unsafe {
                let moments = (slices::values_mut(&mut first)?, slices::values_mut(&mut second)?);
                (slices::values_mut(&mut layer.bias)?, moments.0, moments.1)
            };
            adam::adam(bias, m, v, &biases, update);
            fused.set_bias(k, bias);
        }
        Ok(())
    }

    /// Brings the operands of the matrix products up to date with the parameters.
    ///
    /// # Errors
    /// Those of libtorch.
    #[allow(unsafe_code)]
    pub fn refresh(&mut self) -> Result<()> {
        for (k, layer) in self.layers.iter_mut().enumerate() {
            if let Some(fused) = &mut self.fused {
                // SAFETY: nothing is written into the parameters before `set` has copied them; they are borrowed mutably.
                let (weight, bias) =
                    unsafe { (slices::values(&layer.weight)?, slices::values(&layer.bias)?) };
                fused.set(k, weight, bias);
            }
            if let Some((weight, bias)) = layer.cast.as_deref_mut() {
                weight.f_copy_(&layer.weight.detach())?;
                bias.f_copy_(&layer.bias.detach())?;
            }
        }
        Ok(())
    }
}
