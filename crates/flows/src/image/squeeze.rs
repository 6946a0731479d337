//! Space into channels and back.

use super::layer::{ImageLayer, PulledBack, no_log_det};
use crate::bijection::{Bijection, Mapped};
use crate::layer::refuse_condition;
use smalti_base::{Error, Result};
use tch::Tensor;

/// Latent to data, every 2x2 block of pixels becomes one pixel of four times the channels:
/// `x[4 c + 2 i + j, r, q] = z[c, 2 r + i, 2 q + j]`; `log |det| = 0`.
///
/// The order is that of FrEIA's `IRevNetDownsampling` (of its default backend) and of PyTorch's `pixel_unshuffle`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Squeeze;

/// Latent to data, four channels of one pixel become a 2x2 block: the inverse of [`Squeeze`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsqueeze;

/// `[B, C, 2 H, 2 W] -> [B, 4 C, H, W]`.
fn fold(x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
    refuse_condition(cond)?;
    match x.size()[..] {
        [_, _, h, w] if h % 2 == 0 && w % 2 == 0 => {}
        _ => {
            return Err(Error::shape("images to squeeze", "[B, C, H, W] with even H and W", x.size()));
        }
    }
    Ok(Mapped { value: x.f_pixel_unshuffle(2)?, log_det: no_log_det(x) })
}

/// `[B, 4 C, H, W] -> [B, C, 2 H, 2 W]`.
fn unfold(x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
    refuse_condition(cond)?;
    match x.size()[..] {
        [_, c, _, _] if c % 4 == 0 => {}
        _ => {
            let expected = "[B, C, H, W] with C divisible by 4";
            return Err(Error::shape("images to unsqueeze", expected, x.size()));
        }
    }
    Ok(Mapped { value: x.f_pixel_shuffle(2)?, log_det: no_log_det(x) })
}

impl Bijection for Squeeze {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        unfold(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        fold(z, cond)
    }
}

impl Bijection for Unsqueeze {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        fold(x, cond)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        unfold(z, cond)
    }
}

/// The transpose of a reordering is its inverse.
impl ImageLayer for Squeeze {
    fn pull_back(&self, _: &Tensor, cond: Option<&Tensor>, grad: &Tensor, _: f64) -> Result<PulledBack> {
        Ok(PulledBack { latent: unfold(grad, cond)?.value, weights: Vec::new() })
    }
}

impl ImageLayer for Unsqueeze {
    fn pull_back(&self, _: &Tensor, cond: Option<&Tensor>, grad: &Tensor, _: f64) -> Result<PulledBack> {
        Ok(PulledBack { latent: fold(grad, cond)?.value, weights: Vec::new() })
    }
}
