//! The identity: denoising.

use crate::{Grid, LinearOperator, Operator, check};
use smalti_base::{Result, Space};
use tch::Tensor;

/// `A x = x`, its own adjoint.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    space: Space,
}

impl Identity {
    /// The identity of `space`.
    pub fn new(space: Space) -> Self {
        Self { space }
    }
}

impl Operator for Identity {
    fn domain(&self) -> Space {
        self.space
    }

    fn range(&self) -> Space {
        self.space
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.space)?;
        Ok(x.shallow_clone())
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.space)?;
        self.adjoint(v)
    }

    fn grid(&self) -> Grid {
        Grid::IDENTITY
    }
}

impl LinearOperator for Identity {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("observation", v, self.space)?;
        Ok(v.shallow_clone())
    }
}
