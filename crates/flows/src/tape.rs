//! What a pass through a flow leaves behind for its analytic gradients.

use smalti_base::{Error, Result};
use smalti_kernels::mlp::Pass;
use tch::Tensor;

/// What a pass towards the latent space leaves behind for the way back: a stack of tensors, and one of the passes of
/// subnets that do without libtorch.
///
/// Every layer takes off exactly what it put on.
#[derive(Debug, Default)]
pub struct Tape {
    tensors: Vec<Tensor>,
    passes: Vec<Pass>,
}

impl Tape {
    /// Puts a tensor on.
    pub fn push(&mut self, t: Tensor) {
        self.tensors.push(t);
    }

    /// Takes the latest tensor off.
    ///
    /// # Errors
    /// [`Error::Value`] where the tape is empty: the pass before did not fit this one.
    pub fn pop(&mut self) -> Result<Tensor> {
        self.tensors.pop().ok_or_else(Self::misfit)
    }

    /// Puts a pass on.
    pub(crate) fn push_pass(&mut self, pass: Pass) {
        self.passes.push(pass);
    }

    /// Takes the latest pass off.
    pub(crate) fn pop_pass(&mut self) -> Result<Pass> {
        self.passes.pop().ok_or_else(Self::misfit)
    }

    fn misfit() -> Error {
        Error::value("tape of a flow", "what one pass has left on it", "nothing left")
    }

    /// Whether everything has been taken off.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty() && self.passes.is_empty()
    }
}
