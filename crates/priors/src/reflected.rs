//! A regularizer of the image continued by reflection.

use crate::Regularizer;
use smalti_base::{Error, Result, Space, checkpoint::Checkpoint};
use tch::Tensor;

/// `R(E x)`: the regularizer `R` of the image `x: [1, C, H, W]` (or volume `[1, C, D, H, W]`) after `E` continued it by so
/// many pixels on all sides, mirrored about its edge pixels, which are not repeated. The pixels at the edges then lie in about as many patches as the
/// others, so that they are regularized, too (Altekrueger et al. 2023, section 4.1, do so for computed tomography): with patches
/// of 6 pixels and a padding of 4, the pixels of a row in 5, 10, 9, 8, 7, 6, 6, ... of them, counted with their images.
///
/// The gradient is `E^T` of that of `R`.
#[derive(Debug)]
pub struct Reflected<R> {
    inner: R,
    padding: i64,
}

impl<R: Regularizer> Reflected<R> {
    /// The regularizer of images of `domain` that are continued by `padding` pixels; `inner` makes that of the
    /// continued images.
    ///
    /// # Errors
    /// [`Error::Value`] where `padding` is negative or not less than a side of the image; those of `inner`.
    pub fn new(domain: Space, padding: i64, inner: impl FnOnce(Space) -> Result<R>) -> Result<Self> {
        let shortest = domain.axes().into_iter().fold(i64::MAX, i64::min);
        if padding < 0 || padding >= shortest {
            let expected = format!("0 to {} pixels, less than a side of the image", shortest - 1);
            return Err(Error::value("padding by reflection", expected, padding));
        }
        Ok(Self { inner: inner(domain.map_axes(|n| n + 2 * padding))?, padding })
    }

    fn extend(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match x.dim() {
            5 => x.f_reflection_pad3d([self.padding; 6])?,
            _ => x.f_reflection_pad2d([self.padding; 4])?,
        })
    }
}

impl<R: Regularizer> Regularizer for Reflected<R> {
    fn value(&self, x: &Tensor) -> Result<f64> {
        self.inner.value(&self.extend(x)?)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (value, grad) = self.inner.value_and_grad(&self.extend(x)?)?;
        let grad = match x.dim() {
            5 => x.f_reflection_pad3d_backward(&grad, [self.padding; 6])?,
            _ => x.f_reflection_pad2d_backward(&grad, [self.padding; 4])?,
        };
        Ok((value, grad))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.inner.refresh(step)
    }

    fn save(&self) -> Option<Checkpoint> {
        self.inner.save()
    }

    fn restore(&mut self, state: Checkpoint) -> Result<()> {
        self.inner.restore(state)
    }
}
