//! A multiple of a regularizer.

use crate::Regularizer;
use smalti_base::{Error, Result, checkpoint::Checkpoint};
use tch::Tensor;

/// `c R(x)`: what [`RegularizerAlgebra::scaled`](crate::RegularizerAlgebra::scaled) gives. Its state is that of `R`.
#[derive(Debug)]
pub struct ScaledRegularizer<R> {
    regularizer: R,
    factor: f64,
}

impl<R: Regularizer> ScaledRegularizer<R> {
    /// `factor` times a regularizer of any type, also a `Box<dyn Regularizer>` or a unique reference.
    ///
    /// # Errors
    /// [`Error::Value`] where the factor is not finite.
    pub fn new(regularizer: R, factor: f64) -> Result<Self> {
        if factor.is_finite() {
            Ok(Self { regularizer, factor })
        } else {
            Err(Error::value("factor of a regularizer", "a finite number", factor))
        }
    }

    /// The regularizer without the factor.
    pub fn unscaled(&self) -> &R {
        &self.regularizer
    }
}

impl<R: Regularizer> Regularizer for ScaledRegularizer<R> {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.factor * self.regularizer.value(x)?)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (value, gradient) = self.regularizer.value_and_grad(x)?;
        Ok((self.factor * value, gradient.f_mul_scalar(self.factor)?))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.regularizer.refresh(step)
    }

    fn save(&self) -> Option<Checkpoint> {
        self.regularizer.save()
    }

    fn restore(&mut self, state: Checkpoint) -> Result<()> {
        self.regularizer.restore(state)
    }
}
