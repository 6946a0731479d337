//! Activation normalisation.

use crate::bijection::{Bijection, Mapped};
use crate::gradients::Gradients;
use crate::layer::{Layer, refuse_condition};
use crate::tape::Tape;
use smalti_base::{Error, Result, parallel::Shared};
use tch::{Kind, Tensor};

/// `z = x exp(a) + b` per channel (axis 1 of `[B, d, ...]`), data to latent; with `n` positions a channel,
/// `log |det J_{T^-1}| = n sum a`. (Kingma and Dhariwal 2018, section 3.1.)
#[derive(Debug)]
pub struct ActNorm {
    log_scale: Shared<Tensor>,
    bias: Shared<Tensor>,
}

impl ActNorm {
    /// The identity on `dim` channels.
    pub fn identity(dim: i64) -> Self {
        let zeros = || Shared::new(Tensor::zeros([dim], (Kind::Float, tch::Device::Cpu)));
        Self { log_scale: zeros(), bias: zeros() }
    }

    /// Initialised from a batch of data so that its latents have mean 0 and standard deviation 1 in every
    /// channel: `exp(a) = 1/std`, `b = -mean/std`.
    ///
    /// # Errors
    /// [`Error::Value`] where a channel of the batch is constant or not finite.
    pub fn from_batch(batch: &Tensor) -> Result<Self> {
        let dim = match batch.size()[..] {
            [_, d, ..] => d,
            _ => return Err(Error::shape("batch for actnorm", "[B, d, ...]", batch.size())),
        };
        let values = batch.size()[2..].iter().product::<i64>() * batch.size()[0];
        let flat = batch.f_transpose(0, 1)?.f_reshape([dim, values])?;
        let mean = flat.f_mean_dim(1i64, false, None::<Kind>)?;
        let std = flat.f_std_dim(1i64, false, false)?;
        if (std.f_gt(0.0)?.f_logical_and(&std.f_isfinite()?)?).f_all()?.f_int64_value(&[])? == 0 {
            let expected = "channels that vary, of finite values";
            return Err(Error::value("batch for actnorm", expected, "a constant channel, NaN or infinity"));
        }
        Ok(Self { log_scale: Shared::new(-std.log()), bias: Shared::new(-mean / std) })
    }

    fn per_channel(t: &Tensor, x: &Tensor) -> Result<Tensor> {
        let size = x.size();
        if size.len() < 2 || size[1] != t.size()[0] {
            return Err(Error::Shape {
                what: "input of an actnorm".into(),
                expected: format!("[B, {}, ...]", t.size()[0]),
                got: format!("{size:?}"),
            });
        }
        let mut shape = vec![1; size.len()];
        shape[1] = size[1];
        Ok(t.reshape(&shape[..]))
    }

    fn log_det(&self, x: &Tensor) -> Tensor {
        let positions: i64 = x.size()[2..].iter().product();
        (self.log_scale.sum(None::<Kind>) * positions).expand([x.size()[0]], false)
    }

    /// Sum over all axes but the channel's.
    fn reduce(t: &Tensor) -> Tensor {
        let size = t.size();
        t.transpose(0, 1).reshape([size[1], -1]).sum_dim_intlist(1i64, false, None::<Kind>)
    }
}

impl Bijection for ActNorm {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        refuse_condition(cond)?;
        let scale = Self::per_channel(&self.log_scale, x)?.exp();
        Ok(Mapped { value: x * scale + Self::per_channel(&self.bias, x)?, log_det: self.log_det(x) })
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        refuse_condition(cond)?;
        let scale = Self::per_channel(&self.log_scale, z)?.neg().exp();
        Ok(Mapped { value: (z - Self::per_channel(&self.bias, z)?) * scale, log_det: -self.log_det(z) })
    }
}

impl Layer for ActNorm {
    fn to_latent_taped(&self, x: &Tensor, tape: &mut Tape) -> Result<Mapped> {
        tape.push(x.shallow_clone());
        self.to_latent(x, None)
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        let x = tape.pop()?;
        let scaled = grad * Self::per_channel(&self.log_scale, grad)?.exp();
        if let Some(weights) = weights {
            let elements = x.size()[0] * x.size()[2..].iter().product::<i64>();
            weights.push(Self::reduce(&(&scaled * x)) + grad_log_det * elements as f64);
            weights.push(Self::reduce(grad));
        }
        Ok(scaled)
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        vec![("scale".into(), &self.log_scale), ("bias".into(), &self.bias)]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut *self.log_scale, &mut *self.bias]
    }
}
