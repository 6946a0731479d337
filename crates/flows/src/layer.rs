//! What layers of a flow can do besides mapping: analytic gradients and access to their parameters.

use crate::bijection::{Bijection, Mapped};
use crate::gradients::Gradients;
use crate::mlp::Mlp;
use smalti_base::{Error, Result};
use smalti_kernels::bf16::Engine;
use smalti_kernels::mlp::Pass;
use tch::{Device, Tensor};

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

/// A flow layer whose gradients are known in closed form in the direction that training and densities use.
///
/// For `z, l = to_latent(x)` and a loss `L(z, l)`, [`Layer::pull_back`] takes `dL/dz` and `dL/dl` to `dL/dx`,
/// without autograd; a law compares it with autograd in float64.
pub trait Layer: Bijection + Send {
    /// [`Bijection::to_latent`] without a condition, putting on `tape` what the way back needs.
    ///
    /// # Errors
    /// Those of [`Bijection::to_latent`].
    fn to_latent_taped(&self, x: &Tensor, tape: &mut Tape) -> Result<Mapped>;

    /// `dL/dx` (shape of `x`) from `grad = dL/dz` (shape of `z`) and `grad_log_det = dL/dl_b`, the same for
    /// every element `b`. Where `weights` is given, `dL/dw` of every parameter is appended to it in the
    /// order of [`Layer::parameters`].
    ///
    /// # Errors
    /// [`Error`] where the tape is not that of the pass before.
    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor>;

    /// The trainable parameters with their names, in a fixed order.
    fn parameters(&self) -> Vec<(String, &Tensor)>;

    /// The same parameters in the same order, to be replaced by tensors of the same shape.
    fn parameters_mut(&mut self) -> Vec<&mut Tensor>;

    /// Tensors that are not trained, such as permutations, to be replaced by copies on another device.
    fn buffers_mut(&mut self) -> Vec<&mut Tensor> {
        Vec::new()
    }

    /// Chooses the dtype that matrix products use from now on.
    ///
    /// # Errors
    /// Those of libtorch.
    fn set_precision(&mut self, _precision: Precision) -> Result<()> {
        Ok(())
    }

    /// The subnets that hold the parameters, in the order of [`Layer::parameters`], where nothing else holds any.
    fn subnets_mut(&mut self) -> Vec<&mut Mlp> {
        Vec::new()
    }

    /// Brings copies of the parameters in another dtype up to date; must follow every change of the parameters.
    ///
    /// # Errors
    /// Those of libtorch.
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The dtype of matrix products. Parameters, sums over patches and gradients in the patches stay in the
/// dtype of the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// That of the parameters (float32, or float64 in the laws).
    #[default]
    Full,
    /// bfloat16 operands with float32 accumulation between hidden layers; [`Precision::Full`] elsewhere.
    Bf16,
}

impl Precision {
    /// bfloat16 where products in it are known to be faster than those in float32: on GPUs, and on CPUs with a matrix
    /// unit (AMX).
    ///
    /// The dot products of AVX-512 BF16 alone are not enough: on an Intel Xeon without AMX, patchNR takes about twice and a WPPNet
    /// 1.4 times as long in bfloat16 as in float32 (`docs/benchmarks.md`, "Precision without a matrix unit").
    pub fn fastest(device: Device) -> Self {
        if Engine::best() == Engine::Amx || device.is_cuda() { Self::Bf16 } else { Self::Full }
    }
}

/// Refuses a condition given to a map that takes none.
pub(crate) fn refuse_condition(cond: Option<&Tensor>) -> Result<()> {
    match cond {
        None => Ok(()),
        Some(c) => {
            Err(Error::value("condition", "none: this flow is unconditional", format!("{:?}", c.size())))
        }
    }
}

/// Checks that `x` is `[B, dim]`, floating-point.
pub(crate) fn check_vectors(what: &str, x: &Tensor, dim: i64) -> Result<()> {
    if !x.is_floating_point() {
        return Err(Error::value(
            what,
            "floating-point values (convert with to_kind)",
            format!("{:?}", x.kind()),
        ));
    }
    match x.size()[..] {
        [_, d] if d == dim => Ok(()),
        _ => Err(Error::Shape {
            what: what.into(),
            expected: format!("[B, {dim}]"),
            got: format!("{:?}", x.size()),
        }),
    }
}
