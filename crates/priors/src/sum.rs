//! The sum of two regularizers.

use crate::Regularizer;
use smalti_base::{Result, checkpoint::Checkpoint};
use tch::Tensor;

/// `R(x) + S(x)`: what [`RegularizerAlgebra::plus`](crate::RegularizerAlgebra::plus) gives. Both are refreshed for the same step.
///
/// A checkpoint keeps the states of the two under `first` and `second`.
#[derive(Debug)]
pub struct RegularizerSum<R, S> {
    first: R,
    second: S,
}

impl<R: Regularizer, S: Regularizer> RegularizerSum<R, S> {
    /// The sum of regularizers of any type, also `Box<dyn Regularizer>` and unique references.
    pub fn new(first: R, second: S) -> Self {
        Self { first, second }
    }

    /// The two.
    pub fn parts(&self) -> (&R, &S) {
        (&self.first, &self.second)
    }
}

impl<R: Regularizer, S: Regularizer> Regularizer for RegularizerSum<R, S> {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.first.value(x)? + self.second.value(x)?)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (value, gradient) = self.first.value_and_grad(x)?;
        let (more, slope) = self.second.value_and_grad(x)?;
        Ok((value + more, gradient.f_add(&slope)?))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.first.refresh(step)?;
        self.second.refresh(step)
    }

    fn save(&self) -> Option<Checkpoint> {
        let states = [("first", self.first.save()), ("second", self.second.save())];
        if states.iter().all(|(_, state)| state.is_none()) {
            return None;
        }
        let mut file = Checkpoint::default();
        for (name, state) in states {
            file.insert_part(name, state.unwrap_or_default());
        }
        Some(file)
    }

    fn restore(&mut self, mut file: Checkpoint) -> Result<()> {
        self.first.restore(file.take_part("first"))?;
        self.second.restore(file.take_part("second"))
    }
}
