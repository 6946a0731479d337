//! Convolutional couplings, with or without a condition.

use super::layer::{ImageLayer, check_images, condition_of, sum_of_each};
use super::subnet::{ConvNet, ConvShape};
use crate::bijection::{Bijection, Mapped};
use crate::clamp::SoftClamp;
use crate::layer::refuse_condition;
use smalti_base::{Error, Result, seed::Stream};
use tch::Tensor;

/// The double affine coupling of [`crate::Coupling`] on images `[B, C, H, W]`, `C` even, with halves of the channels.
///
/// Latent to data, with a condition `c: [B, c, H, W]` that is appended to the channels which a subnet sees:
///
/// `x1 = z1 exp(s2) + t2`, `(s2, t2) = net2(z2, c)`, then `x2 = z2 exp(s1) + t1`, `(s1, t1) = net1(x1, c)`,
///
/// each `s` passed through a [`SoftClamp`]; `log |det| = sum s1 + sum s2`. It starts as the identity.
/// (Kingma and Dhariwal 2018; Ardizzone et al. 2019; FrEIA's `GLOWCouplingBlock`, whose halves and names these are.)
#[derive(Debug)]
pub struct ConvCoupling {
    channels: i64,
    condition: i64,
    net1: ConvNet,
    net2: ConvNet,
    clamp: SoftClamp,
}

impl ConvCoupling {
    /// A coupling of `channels` channels with `condition` (0: none) channels of a condition; kernels of `side` pixels,
    /// `hidden` hidden channels.
    ///
    /// # Errors
    /// [`Error::Value`] where the channels are not even and positive, and those of [`ConvNet::new`].
    pub fn new(
        channels: i64,
        condition: i64,
        (side, hidden): (i64, i64),
        clamp: SoftClamp,
        stream: &mut Stream,
    ) -> Result<Self> {
        if channels < 2 || channels % 2 != 0 || condition < 0 {
            let got = format!("{channels} channels, {condition} of the condition");
            return Err(Error::value("channels of a coupling", "an even positive number", got));
        }
        let shape = ConvShape { inputs: channels / 2 + condition, hidden, outputs: channels, side };
        let (net1, net2) = (ConvNet::new(shape, stream)?, ConvNet::new(shape, stream)?);
        Ok(Self { channels, condition, net1, net2, clamp })
    }

    fn halves(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        check_images("input of a coupling", x, self.channels)?;
        let n = self.channels / 2;
        Ok((x.f_narrow(1, 0, n)?, x.f_narrow(1, n, n)?))
    }

    /// The condition, checked.
    fn given<'a>(&self, cond: Option<&'a Tensor>, x: &Tensor) -> Result<Option<&'a Tensor>> {
        if self.condition == 0 {
            return refuse_condition(cond).map(|()| None);
        }
        condition_of(cond, x, self.condition).map(Some)
    }

    /// Log-scale and shift from the other half and the condition.
    fn affine(&self, net: &ConvNet, half: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let out = match cond {
            None => net.forward(half)?,
            Some(cond) => net.forward(&Tensor::f_cat(&[half, cond], 1)?)?,
        };
        let n = self.channels / 2;
        Ok((self.clamp.apply(&out.f_narrow(1, 0, n)?), out.f_narrow(1, n, n)?))
    }
}

impl Bijection for ConvCoupling {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let (x1, x2) = self.halves(x)?;
        let cond = self.given(cond, x)?;
        let (s1, t1) = self.affine(&self.net1, &x1, cond)?;
        let z2 = (x2.f_sub(&t1)?).f_mul(&s1.f_neg()?.f_exp()?)?;
        let (s2, t2) = self.affine(&self.net2, &z2, cond)?;
        let z1 = (x1.f_sub(&t2)?).f_mul(&s2.f_neg()?.f_exp()?)?;
        let log_det = sum_of_each(&s1)?.f_add(&sum_of_each(&s2)?)?.f_neg()?;
        Ok(Mapped { value: Tensor::f_cat(&[z1, z2], 1)?, log_det })
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let (z1, z2) = self.halves(z)?;
        let cond = self.given(cond, z)?;
        let (s2, t2) = self.affine(&self.net2, &z2, cond)?;
        let x1 = z1.f_mul(&s2.f_exp()?)?.f_add(&t2)?;
        let (s1, t1) = self.affine(&self.net1, &x1, cond)?;
        let x2 = z2.f_mul(&s1.f_exp()?)?.f_add(&t1)?;
        let log_det = sum_of_each(&s1)?.f_add(&sum_of_each(&s2)?)?;
        Ok(Mapped { value: Tensor::f_cat(&[x1, x2], 1)?, log_det })
    }
}

impl ImageLayer for ConvCoupling {
    fn conditional(&self) -> bool {
        self.condition > 0
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = self.net1.parameters("subnet1");
        all.extend(self.net2.parameters("subnet2"));
        all
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.net1.parameters_mut().into_iter().chain(self.net2.parameters_mut()).collect()
    }
}
