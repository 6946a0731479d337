//! The affine injector: an affine map of all channels that the condition alone determines.

use super::layer::{ImageLayer, check_images, condition_of, sum_of_each};
use super::subnet::{ConvNet, ConvShape};
use crate::bijection::{Bijection, Mapped};
use crate::clamp::SoftClamp;
use smalti_base::{Result, seed::Stream};
use tch::Tensor;

/// `x = z exp(s(c)) + t(c)`, latent to data, with one subnet of the condition `c: [B, c, H, W]` for log-scales and
/// shifts of all channels, the log-scales passed through a [`SoftClamp`]; `log |det| = sum s`. It starts as the identity.
/// (Lugmayr et al. 2020, SRFlow, section 3.3; FrEIA's `ConditionalAffineTransform`.)
#[derive(Debug)]
pub struct ConditionalAffine {
    channels: i64,
    condition: i64,
    net: ConvNet,
    clamp: SoftClamp,
}

impl ConditionalAffine {
    /// A map of `channels` channels by `condition` channels of a condition; kernels of `side` pixels, `hidden` hidden
    /// channels.
    ///
    /// # Errors
    /// Those of [`ConvNet::new`].
    pub fn new(
        channels: i64,
        condition: i64,
        (side, hidden): (i64, i64),
        clamp: SoftClamp,
        stream: &mut Stream,
    ) -> Result<Self> {
        let shape = ConvShape { inputs: condition, hidden, outputs: 2 * channels, side };
        Ok(Self { channels, condition, net: ConvNet::new(shape, stream)?, clamp })
    }

    /// Log-scale and shift for images like `x`.
    fn affine(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        check_images("input of a conditional affine map", x, self.channels)?;
        let out = self.net.forward(condition_of(cond, x, self.condition)?)?;
        let n = self.channels;
        Ok((self.clamp.apply(&out.f_narrow(1, 0, n)?), out.f_narrow(1, n, n)?))
    }
}

impl Bijection for ConditionalAffine {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let (s, t) = self.affine(x, cond)?;
        let value = x.f_sub(&t)?.f_mul(&s.f_neg()?.f_exp()?)?;
        Ok(Mapped { value, log_det: sum_of_each(&s)?.f_neg()? })
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let (s, t) = self.affine(z, cond)?;
        Ok(Mapped { value: z.f_mul(&s.f_exp()?)?.f_add(&t)?, log_det: sum_of_each(&s)? })
    }
}

impl ImageLayer for ConditionalAffine {
    fn conditional(&self) -> bool {
        true
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        self.net.parameters("subnet")
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.net.parameters_mut()
    }
}
