//! Activation normalisation.

use crate::bijection::{Bijection, Mapped};
use crate::gradients::Gradients;
use crate::layer::{Layer, refuse_condition};
use crate::tape::Tape;
use smalti_base::{Error, Result, parallel::Shared};
use tch::{Kind, Tensor};

/// A standard deviation below this share of the largest value is rounding.
const CONSTANT: f64 = 1e-6;

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
    /// [`Error::Value`] where a channel of the batch is not finite, or constant: a standard deviation of at most 1e-6 of its
    /// largest value, which is float32 rounding and no variation.
    pub fn from_batch(batch: &Tensor) -> Result<Self> {
        let dim = match batch.size()[..] {
            [_, d, ..] => d,
            _ => return Err(Error::shape("batch for actnorm", "[B, d, ...]", batch.size())),
        };
        let values = batch.size()[2..].iter().product::<i64>() * batch.size()[0];
        let flat = batch.f_transpose(0, 1)?.f_reshape([dim, values])?;
        let mean = flat.f_mean_dim(1i64, false, None::<Kind>)?;
        let std = flat.f_std_dim(1i64, false, false)?;
        let size = flat.f_abs()?.f_amax(1i64, false)?;
        let numbers = |t: &Tensor| -> Result<Vec<f64>> { Ok(Vec::try_from(t.f_to_kind(Kind::Double)?)?) };
        for (c, (std, size)) in numbers(&std)?.into_iter().zip(numbers(&size)?).enumerate() {
            let what = format!("channel {c} of the batch for actnorm");
            if !std.is_finite() {
                return Err(Error::value(what, "finite values; mend the data", "NaN or infinity"));
            }
            if std <= CONSTANT * size {
                let expected = "values that vary; leave this channel out, or take data in which it varies";
                let got = format!("a constant channel (standard deviation {std:.1e}, size {size:.1e})");
                return Err(Error::value(what, expected, got));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_channels_are_refused_by_number() {
        let full = |value: f64| Tensor::full([7, 1], value, (Kind::Float, tch::Device::Cpu));
        let one_ulp = full(0.1);
        let _ = one_ulp.get(3).fill_(0.100_000_01);
        for constant in [full(0.1), full(0.0), full(-3e7), full(0.1).to_kind(Kind::Double), one_ulp] {
            let varying = Tensor::arange(7, (constant.kind(), constant.device())).reshape([7, 1]);
            let batch = Tensor::cat(&[varying, constant], 1);
            let line = ActNorm::from_batch(&batch).unwrap_err().to_string();
            assert!(
                line.starts_with("channel 1 of the batch for actnorm: expected values that vary"),
                "{line}"
            );
            assert!(line.contains("a constant channel"), "{line}");
            assert!(ActNorm::from_batch(&batch.narrow(1, 0, 1)).is_ok());
        }
        let line = ActNorm::from_batch(&full(f64::NAN)).unwrap_err().to_string();
        assert!(line.contains("channel 0") && line.contains("NaN or infinity"), "{line}");
    }

    #[test]
    fn small_variation_on_a_large_mean_is_none_of_rounding() {
        let batch = Tensor::arange(8, (Kind::Float, tch::Device::Cpu)).reshape([8, 1]) + 1000.0;
        let z = ActNorm::from_batch(&batch).unwrap().to_latent(&batch, None).unwrap().value;
        assert!((z.std(false).double_value(&[]) - 1.0).abs() < 1e-4);
    }
}
