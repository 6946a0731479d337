//! Activation normalisation of images on their way from the latent.

use super::layer::ImageLayer;
use crate::actnorm::ActNorm;
use crate::bijection::{Bijection, Mapped};
use crate::layer::Layer;
use smalti_base::Result;
use tch::{Kind, Tensor};

/// `x = z exp(a) + b` per channel, **latent to data** (an [`ActNorm`] the other way round, since flows that are trained on
/// what they generate normalise what they generate); with `n` pixels, `log |det| = n sum a`.
///
/// [`ImageLayer::initialise`] gives every channel of its results mean 0 and standard deviation 1 on the first batch:
/// `exp(a) = 1/std`, `b = -mean/std`, `std^2` being the mean squared deviation. (Kingma and Dhariwal 2018, section 3.1.
/// FrEIA's `ActNorm` divides by one value less, so that its `a` is `log(n / (n - 1)) / 2` smaller.)
#[derive(Debug)]
pub struct ImageNorm(ActNorm);

impl ImageNorm {
    /// The identity on `channels` channels.
    pub fn identity(channels: i64) -> Self {
        let mut norm = ActNorm::identity(channels);
        for parameter in Layer::parameters_mut(&mut norm) {
            *parameter = parameter.set_requires_grad(true);
        }
        Self(norm)
    }
}

impl Bijection for ImageNorm {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_data(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.0.to_latent(z, cond)
    }
}

impl ImageLayer for ImageNorm {
    fn initialise(&mut self, z: &Tensor) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let fitted = ActNorm::from_batch(&z.f_to_kind(Kind::Double)?)?;
        for (parameter, (_, value)) in self.parameters_mut().into_iter().zip(Layer::parameters(&fitted)) {
            parameter.f_copy_(value)?;
        }
        Ok(())
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        Layer::parameters(&self.0)
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        Layer::parameters_mut(&mut self.0)
    }
}
