//! What layers of image flows can do besides mapping: gradients by recomputation, and access to their parameters.

use crate::bijection::{Bijection, Mapped};
use crate::permutation::Permutation;
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// The gradients of a loss `L(x, l)`, `x, l = T(z; cond)`.
#[derive(Debug)]
pub struct PulledBack {
    /// `dL/dz`, of the shape of `z`.
    pub latent: Tensor,
    /// `dL/dw` of every parameter, in the order of [`ImageLayer::parameters`].
    pub weights: Vec<Tensor>,
}

/// An invertible layer on images `[B, C, H, W]`, trained in the direction latent to data.
///
/// All of its parameters require gradients, so that [`Bijection::to_data`] leaves a graph where gradients are on.
/// A flow that keeps only the input of every layer does without that graph: [`ImageLayer::pull_back`] runs one layer
/// again, and holds the activations of that layer only. Several threads use a layer at the same time: its tensors are
/// [`Shared`](smalti_base::parallel::Shared).
pub trait ImageLayer: Bijection + Send + Sync {
    /// From `grad = dL/dx` (shape of `x`) and `grad_log_det = dL/dl_b`, the same for every element `b`, to the
    /// gradients in the latent and the parameters, by autograd through the layer run again at `z`.
    ///
    /// # Errors
    /// Those of [`Bijection::to_data`]; those of libtorch where `grad` does not have the shape of `x`.
    fn pull_back(
        &self,
        z: &Tensor,
        cond: Option<&Tensor>,
        grad: &Tensor,
        grad_log_det: f64,
    ) -> Result<PulledBack> {
        let (leaf, sum) = tch::with_grad(|| {
            let leaf = z.f_detach()?.f_set_requires_grad(true)?;
            let Mapped { value, log_det } = self.to_data(&leaf, cond)?;
            let in_value = value.f_mul(grad)?.f_sum(None::<Kind>)?;
            let in_log_det = log_det.f_sum(None::<Kind>)?.f_mul_scalar(grad_log_det)?;
            Ok::<_, Error>((leaf, in_value.f_add(&in_log_det)?))
        })?;
        let wanted: Vec<&Tensor> =
            std::iter::once(&leaf).chain(self.parameters().into_iter().map(|(_, t)| t)).collect();
        let mut weights = Tensor::f_run_backward(&[sum], &wanted, false, false)?;
        let latent = weights.remove(0);
        Ok(PulledBack { latent, weights })
    }

    /// Whether the layer takes a condition, of its own resolution.
    fn conditional(&self) -> bool {
        false
    }

    /// Chooses what depends on the first batch, of which `z` is the input of this layer.
    ///
    /// # Errors
    /// [`Error::Value`] where the batch does not determine it.
    fn initialise(&mut self, _z: &Tensor) -> Result<()> {
        Ok(())
    }

    /// The trainable parameters with their names, in a fixed order.
    fn parameters(&self) -> Vec<(String, &Tensor)> {
        Vec::new()
    }

    /// The same parameters in the same order, to be replaced by tensors of the same shape that require gradients.
    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        Vec::new()
    }

    /// Tensors that are not trained, such as permutations, to be replaced by copies on another device.
    fn buffers_mut(&mut self) -> Vec<&mut Tensor> {
        Vec::new()
    }
}

impl ImageLayer for Permutation {
    fn pull_back(
        &self,
        _z: &Tensor,
        cond: Option<&Tensor>,
        grad: &Tensor,
        _grad_log_det: f64,
    ) -> Result<PulledBack> {
        Ok(PulledBack { latent: self.to_latent(grad, cond)?.value, weights: Vec::new() })
    }

    fn buffers_mut(&mut self) -> Vec<&mut Tensor> {
        crate::layer::Layer::buffers_mut(self)
    }
}

/// Checks that `x` is `[B, channels, H, W]`, floating-point.
pub(crate) fn check_images(what: &str, x: &Tensor, channels: i64) -> Result<()> {
    if !x.is_floating_point() {
        let expected = "floating-point values (convert with to_kind)";
        return Err(Error::value(what, expected, format!("{:?}", x.kind())));
    }
    match x.size()[..] {
        [_, c, _, _] if c == channels => Ok(()),
        _ => Err(Error::Shape {
            what: what.into(),
            expected: format!("[B, {channels}, H, W]"),
            got: format!("{:?}", x.size()),
        }),
    }
}

/// The condition of images `x`, checked to have `channels` channels at the same resolution.
pub(crate) fn condition_of<'a>(cond: Option<&'a Tensor>, x: &Tensor, channels: i64) -> Result<&'a Tensor> {
    let size = x.size();
    let expected = [size[0], channels, size[2], size[3]];
    match cond {
        Some(c) if c.size() == expected && c.kind() == x.kind() => Ok(c),
        other => Err(Error::Shape {
            what: "condition".into(),
            expected: format!("{:?} {expected:?}", x.kind()),
            got: other.map_or("none".into(), |c| format!("{:?} {:?}", c.kind(), c.size())),
        }),
    }
}

/// The log-determinant 0 of every element.
pub(crate) fn no_log_det(x: &Tensor) -> Tensor {
    Tensor::zeros([x.size()[0]], (x.kind(), x.device()))
}

/// Sum over all axes but that of the batch: `[B, C, H, W] -> [B]`.
pub(crate) fn sum_of_each(s: &Tensor) -> Result<Tensor> {
    Ok(s.f_sum_dim_intlist([1i64, 2, 3].as_slice(), false, None::<Kind>)?)
}
