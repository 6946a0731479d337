//! What layers of a flow can do besides mapping: analytic gradients and access to their parameters.

use crate::bijection::{Bijection, Mapped};
use crate::gradients::Gradients;
use crate::mlp::Mlp;
use crate::precision::Precision;
use crate::tape::Tape;
use smalti_base::{Error, Result};
use tch::Tensor;

/// A flow layer whose gradients are known in closed form in the direction that training and densities use.
///
/// For `z, l = to_latent(x)` and a loss `L(z, l)`, [`Layer::pull_back`] takes `dL/dz` and `dL/dl` to `dL/dx`,
/// without autograd; a law compares it with autograd in float64.
///
/// Several threads use a layer at the same time: its tensors are [`Shared`](smalti_base::parallel::Shared).
pub trait Layer: Bijection + Send + Sync {
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
