//! Deterministic layers that depend on a condition.

use crate::bijection::{Bijection, Mapped};
use crate::clamp::SoftClamp;
use crate::coupling::Coupling;
use crate::gradients::Gradients;
use crate::layer::{Layer, check_vectors};
use crate::tape::Tape;
use smalti_base::{Error, Result, seed::Stream};
use tch::Tensor;

/// A bijection of vectors `[B, d]` given conditions `[B, m]`, whose gradients are known in closed form. Conditions are data: there
/// is no gradient in them. Several threads use a layer at the same time, as they do a [`Layer`].
pub trait ConditionalLayer: Bijection + Send + Sync {
    /// The dimension `d` of vectors.
    fn dim(&self) -> i64;

    /// The dimension `m` of conditions.
    fn condition(&self) -> i64;

    /// [`Bijection::to_latent`], putting on `tape` what the way back needs.
    ///
    /// # Errors
    /// Those of [`Bijection::to_latent`].
    fn to_latent_taped(&self, x: &Tensor, cond: &Tensor, tape: &mut Tape) -> Result<Mapped>;

    /// `dL/dx` from `dL/dz` and `grad_log_det = dL/dl_b`, the same for every row; see [`Layer::pull_back`].
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
}

/// The double affine coupling of GLOW ([`Coupling`]) whose subnets are also given the condition `y`:
/// `(s2, t2) = net2(x2, y)`, then `(s1, t1) = net1(y1, y)`.
///
/// (Ardizzone et al. 2019, "Guided image generation with conditional invertible neural networks"; FrEIA's
/// `GLOWCouplingBlock` with `dims_c`.)
#[derive(Debug)]
pub struct ConditionalCoupling {
    inner: Coupling,
    dim: i64,
    condition: i64,
}

impl ConditionalCoupling {
    /// A coupling on `R^dim` given conditions in `R^condition`, whose two subnets have the given hidden widths; `x1` has
    /// `floor(dim / 2)` values, as in FrEIA 0.2.
    ///
    /// # Errors
    /// [`Error::Value`] where `dim < 2`, `condition < 1`, or a width is not positive.
    pub fn new(
        dim: i64,
        condition: i64,
        hidden: &[i64],
        clamp: SoftClamp,
        stream: &mut Stream,
    ) -> Result<Self> {
        Self::split([dim / 2, dim - dim / 2], condition, hidden, clamp, stream)
    }

    /// The same with any lengths of `x1` and `x2`. (Later versions of FrEIA give the middle value to `x1`.)
    ///
    /// # Errors
    /// Those of [`ConditionalCoupling::new`].
    pub fn split(
        lengths: [i64; 2],
        condition: i64,
        hidden: &[i64],
        clamp: SoftClamp,
        stream: &mut Stream,
    ) -> Result<Self> {
        if condition < 1 {
            return Err(Error::value("dimension of a condition", "at least 1", condition));
        }
        let inner = Coupling::with_inputs(lengths, condition, hidden, clamp, stream)?;
        Ok(Self { inner, dim: lengths[0] + lengths[1], condition })
    }

    /// Checks a batch and its conditions.
    fn check<'a>(&self, x: &Tensor, cond: Option<&'a Tensor>) -> Result<&'a Tensor> {
        check_vectors("input of a coupling", x, self.dim)?;
        let expected = [x.size()[0], self.condition];
        let Some(cond) = cond else {
            return Err(Error::value("condition", format!("a tensor {expected:?}"), "none"));
        };
        if cond.size() != expected {
            return Err(Error::shape("condition", expected, cond.size()));
        }
        if (cond.kind(), cond.device()) != (x.kind(), x.device()) {
            let of = |t: &Tensor| format!("{:?} on {:?}", t.kind(), t.device());
            return Err(Error::value("condition", format!("{}, as the vectors", of(x)), of(cond)));
        }
        Ok(cond)
    }

    fn latent(&self, y: &Tensor, cond: &Tensor, mut tape: Option<&mut Tape>) -> Result<Mapped> {
        let with = |half: &Tensor| Tensor::f_cat(&[half, cond], 1);
        let (net1, net2) = self.inner.nets();
        let (y1, y2) = self.inner.split(y);
        let (x2, sum1) = self.inner.invert(net1, &with(&y1)?, &y2, tape.as_deref_mut())?;
        let (x1, sum2) = self.inner.invert(net2, &with(&x2)?, &y1, tape)?;
        Ok(Mapped { value: Tensor::f_cat(&[x1, x2], 1)?, log_det: -(sum1 + sum2) })
    }
}

impl Bijection for ConditionalCoupling {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        self.latent(x, self.check(x, cond)?, None)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let cond = self.check(z, cond)?;
        let with = |half: &Tensor| Tensor::f_cat(&[half, cond], 1);
        let (net1, net2) = self.inner.nets();
        let (x1, x2) = self.inner.split(z);
        let (y1, sum2) = self.inner.apply(net2, &with(&x2)?, &x1)?;
        let (y2, sum1) = self.inner.apply(net1, &with(&y1)?, &x2)?;
        Ok(Mapped { value: Tensor::f_cat(&[y1, y2], 1)?, log_det: sum1 + sum2 })
    }
}

impl ConditionalLayer for ConditionalCoupling {
    fn dim(&self) -> i64 {
        self.dim
    }

    fn condition(&self) -> i64 {
        self.condition
    }

    fn to_latent_taped(&self, x: &Tensor, cond: &Tensor, tape: &mut Tape) -> Result<Mapped> {
        self.latent(x, self.check(x, Some(cond))?, Some(tape))
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        let (net1, net2) = self.inner.nets();
        let (g1, g2) = self.inner.split(grad);
        let mut of_net = weights.as_ref().map(|_| (Gradients::default(), Gradients::default()));
        let mut invert = |net, g: &Tensor, weights: Option<&mut Gradients>| -> Result<(Tensor, Tensor)> {
            let (given, y) = self.inner.invert_backward(net, g, grad_log_det, tape, weights)?;
            // Without the columns of the condition.
            let half = given.size()[1] - self.condition;
            Ok((given.f_narrow(1, 0, half)?, y))
        };
        let (in2, y1) = invert(net2, &g1, of_net.as_mut().map(|w| &mut w.1))?;
        let (in1, y2) = invert(net1, &(g2 + in2), of_net.as_mut().map(|w| &mut w.0))?;
        if let (Some(weights), Some((first, second))) = (weights, of_net) {
            weights.append(first);
            weights.append(second);
        }
        Ok(Tensor::f_cat(&[y1 + in1, y2], 1)?)
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        self.inner.parameters()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        self.inner.parameters_mut()
    }
}
