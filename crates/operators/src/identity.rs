//! The identity: denoising.

use crate::check::{self, linear};
use crate::resolvent::Diagonal;
use crate::{Grid, LinearOperator, Operator, PixelGrid, Resolvent};
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
    linear!(space => space);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.space)?;
        Ok(x.shallow_clone())
    }
}

impl LinearOperator for Identity {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("observation", v, self.space)?;
        Ok(v.shallow_clone())
    }

    fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
        Some(Box::new(Diagonal { operator: self, diagonal: Tensor::from(1.0) }))
    }
}

impl PixelGrid for Identity {
    fn grid(&self) -> Grid {
        Grid::IDENTITY
    }
}
