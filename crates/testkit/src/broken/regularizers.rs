//! Broken regularizers.

use smalti_base::{Result, checkpoint::Checkpoint};
use smalti_priors::Regularizer;
use std::cell::Cell;
use tch::Tensor;

/// A regularizer whose gradient is scaled by 1.01.
pub struct ScaledGradient(pub Box<dyn Regularizer>);

impl Regularizer for ScaledGradient {
    fn value(&self, x: &Tensor) -> Result<f64> {
        self.0.value(x)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (value, gradient) = self.0.value_and_grad(x)?;
        Ok((value, gradient * 1.01))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.0.refresh(step)
    }
}

/// A regularizer that is another function in every call: its values grow by 1e-3 each time, as those of one
/// that draws its subset within `value` would jitter.
pub struct Forgetful {
    original: Box<dyn Regularizer>,
    calls: Cell<u32>,
}

impl Forgetful {
    /// The twin of `original`.
    pub fn new(original: Box<dyn Regularizer>) -> Self {
        Self { original, calls: Cell::new(0) }
    }

    fn drift(&self) -> f64 {
        self.calls.set(self.calls.get() + 1);
        1e-3 * f64::from(self.calls.get())
    }
}

impl Regularizer for Forgetful {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.original.value(x)? * (1.0 + self.drift()))
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let ((value, gradient), scale) = (self.original.value_and_grad(x)?, 1.0 + self.drift());
        Ok((value * scale, gradient * scale))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.original.refresh(step)
    }
}

/// A regularizer that ignores `refresh` and keeps its first subset.
pub struct NeverRefreshed(pub Box<dyn Regularizer>);

impl Regularizer for NeverRefreshed {
    fn value(&self, x: &Tensor) -> Result<f64> {
        self.0.value(x)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        self.0.value_and_grad(x)
    }
}

/// The value of one regularizer with the gradient of another, as where the chain rule was forgotten for a part.
pub struct GradientOfAnother {
    /// Whose value it is.
    pub value: Box<dyn Regularizer>,
    /// Whose gradient it is.
    pub gradient: Box<dyn Regularizer>,
}

impl Regularizer for GradientOfAnother {
    fn value(&self, x: &Tensor) -> Result<f64> {
        self.value.value(x)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value.value(x)?, self.gradient.value_and_grad(x)?.1))
    }
}

/// A regularizer that saves its state and takes none back.
pub struct Amnesiac(pub Box<dyn Regularizer>);

impl Regularizer for Amnesiac {
    fn value(&self, x: &Tensor) -> Result<f64> {
        self.0.value(x)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        self.0.value_and_grad(x)
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.0.refresh(step)
    }

    fn save(&self) -> Option<Checkpoint> {
        self.0.save()
    }
}

/// A regularizer with another curvature than it says: `strength / 2 |x|^2` is added to it, a negative one bends it down. It also sees
/// constants.
pub struct PlusSquares {
    /// What it is added to.
    pub original: Box<dyn Regularizer>,
    /// How much is added.
    pub strength: f64,
}

impl Regularizer for PlusSquares {
    fn value(&self, x: &Tensor) -> Result<f64> {
        let squares = x.square().sum(tch::Kind::Double).double_value(&[]);
        Ok(self.original.value(x)? + 0.5 * self.strength * squares)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value(x)?, self.original.value_and_grad(x)?.1 + x * self.strength))
    }
}
