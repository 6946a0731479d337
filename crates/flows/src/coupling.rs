//! Affine coupling in the style of GLOW.

use crate::bijection::{Bijection, Mapped};
use crate::clamp::SoftClamp;
use crate::gradients::Gradients;
use crate::layer::{Layer, check_vectors, refuse_condition};
use crate::mlp::Mlp;
use crate::precision::Precision;
use crate::tape::Tape;
use smalti_base::slices::{self, Buffer};
use smalti_base::{Error, Result, parallel, seed::Stream};
use smalti_kernels::affine::{self, Inverse};
use smalti_kernels::mlp::Matrix;
use tch::{Kind, Tensor};

/// The double affine coupling of GLOW as FrEIA builds it, on vectors `[B, d]`.
///
/// With `x = (x1, x2)` of lengths `floor(d/2)` and `d - floor(d/2)`, latent to data:
///
/// `y1 = x1 exp(s2) + t2`, `(s2, t2) = net2(x2)`, then `y2 = x2 exp(s1) + t1`, `(s1, t1) = net1(y1)`,
///
/// each `s` passed through a [`SoftClamp`]; `log |det| = sum s1 + sum s2`. Data to latent inverts this.
/// (Kingma and Dhariwal 2018; Ardizzone et al. 2019, `GLOWCouplingBlock`.)
#[derive(Debug)]
pub struct Coupling {
    dim: i64,
    /// Length of `x1`.
    first: i64,
    net1: Mlp,
    net2: Mlp,
    clamp: SoftClamp,
}

impl Coupling {
    /// A coupling on `R^dim` whose two subnets have the given hidden widths.
    ///
    /// # Errors
    /// [`Error::Value`] where `dim < 2` or a width is not positive.
    pub fn new(dim: i64, hidden: &[i64], clamp: SoftClamp, stream: &mut Stream) -> Result<Self> {
        Self::with_inputs([dim / 2, dim - dim / 2], 0, hidden, clamp, stream)
    }

    /// The same with these lengths of `x1` and `x2`, and `more` further inputs of both subnets, after the part that
    /// they are given.
    pub(crate) fn with_inputs(
        [n1, n2]: [i64; 2],
        more: i64,
        hidden: &[i64],
        clamp: SoftClamp,
        stream: &mut Stream,
    ) -> Result<Self> {
        let dim = n1 + n2;
        if n1 < 1 || n2 < 1 {
            return Err(Error::value("dimension of a coupling", "at least 2", dim));
        }
        if let Some(w) = hidden.iter().find(|&&w| w < 1) {
            return Err(Error::value("hidden width", "at least 1", w));
        }
        let mut net = |from: i64, to: i64| {
            let widths: Vec<i64> =
                std::iter::once(from + more).chain(hidden.iter().copied()).chain([2 * to]).collect();
            Mlp::new(&widths, stream)
        };
        Ok(Self { dim, first: n1, net1: net(n1, n2), net2: net(n2, n1), clamp })
    }

    /// The soft clamp of the log-scale.
    pub fn clamp(&self) -> SoftClamp {
        self.clamp
    }

    /// `net1` and `net2`.
    pub(crate) fn nets(&self) -> (&Mlp, &Mlp) {
        (&self.net1, &self.net2)
    }

    /// `x1` and `x2`.
    pub(crate) fn split(&self, x: &Tensor) -> (Tensor, Tensor) {
        (x.narrow(1, 0, self.first), x.narrow(1, self.first, self.dim - self.first))
    }

    /// `x = (y - t) exp(-s)`, `(s, t) = net(given)`: the new half and `sum s`.
    pub(crate) fn invert(
        &self,
        net: &Mlp,
        given: &Tensor,
        y: &Tensor,
        tape: Option<&mut Tape>,
    ) -> Result<(Tensor, Tensor)> {
        let n = y.size()[1];
        let mut tape = tape;
        let out = net.forward(given, tape.as_deref_mut())?;
        if slices::readable(&out) && !out.requires_grad() && !y.requires_grad() {
            return self.undo_fused(&out, y, tape);
        }
        let (raw, t) = (out.narrow(1, 0, n), out.narrow(1, n, n));
        let s = self.clamp.apply(&raw);
        let scale = (-&s).exp();
        let x = (y - t) * &scale;
        if let Some(tape) = tape {
            tape.push(scale);
            tape.push(x.shallow_clone());
            tape.push(self.clamp.derivative(&raw));
        }
        Ok((x, s.sum_dim_intlist(1i64, false, None::<Kind>)))
    }

    /// The same in one pass over memory.
    #[allow(unsafe_code)]
    fn undo_fused(&self, out: &Tensor, y: &Tensor, tape: Option<&mut Tape>) -> Result<(Tensor, Tensor)> {
        let [rows, n] = [y.size()[0], y.size()[1]];
        let new = || Buffer::zeros(&[rows, n]);
        let (mut x, mut scale, mut derivative) = (new()?, new()?, new()?);
        let mut log_det = Buffer::zeros(&[rows])?;
        let to = Inverse { x: &mut x, scale: &mut scale, derivative: &mut derivative, log_det: &mut log_det };
        let y = slices::with_rows(y)?;
        // SAFETY: until `invert` is done, which is the last use of the slices, this thread writes into new memory only; and
        // no other thread writes into tensors that it has lent (decision 013).
        let (out, (values, stride)) = unsafe { (slices::values(out)?, slices::rows(&y)?) };
        let (bound, slope) = self.clamp.factors();
        let clamp = affine::Clamp { bound: bound as f32, slope: slope as f32 };
        affine::invert(out, Matrix { values, stride }, n as usize, clamp, to);
        let x = x.into_tensor();
        if let Some(tape) = tape {
            tape.push(scale.into_tensor());
            tape.push(x.shallow_clone());
            tape.push(derivative.into_tensor());
        }
        Ok((x, log_det.into_tensor()))
    }

    /// `y = x exp(s) + t`, `(s, t) = net(given)`: the new half and `sum s`.
    pub(crate) fn apply(&self, net: &Mlp, given: &Tensor, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = x.size()[1];
        let out = net.forward(given, None)?;
        let s = self.clamp.apply(&out.narrow(1, 0, n));
        let y = x * s.exp() + out.narrow(1, n, n);
        Ok((y, s.sum_dim_intlist(1i64, false, None::<Kind>)))
    }

    /// The way back through [`Coupling::invert`]: from the gradient in its result to those in `given` and `y`.
    #[allow(unsafe_code)]
    pub(crate) fn invert_backward(
        &self,
        net: &Mlp,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<(Tensor, Tensor)> {
        let (slope, x, scale) = (tape.pop()?, tape.pop()?, tape.pop()?);
        if [&slope, &x, &scale].into_iter().all(slices::readable) {
            let n = x.size()[1];
            let mut grad_out = Buffer::zeros(&[x.size()[0], 2 * n])?;
            let mut grad_y = Buffer::zeros(&x.size())?;
            let grad = slices::with_rows(grad)?;
            // SAFETY: as in `undo_fused`.
            let (grad, given) = unsafe {
                let (values, stride) = slices::rows(&grad)?;
                let given = [slices::values(&x)?, slices::values(&scale)?, slices::values(&slope)?];
                (Matrix { values, stride }, given)
            };
            affine::invert_backward(grad, grad_log_det as f32, n as usize, given, &mut grad_out, &mut grad_y);
            let grad_in = net.pull_back(&grad_out.into_tensor(), tape, weights)?;
            return Ok((grad_in, grad_y.into_tensor()));
        }
        let grad_y = grad * scale;
        let grad_raw = ((grad * x) + grad_log_det) * slope;
        let grad_out = Tensor::f_cat(&[grad_raw, grad_y.shallow_clone()], 1)?.neg();
        Ok((net.pull_back(&grad_out, tape, weights)?, grad_y))
    }

    fn latent(&self, y: &Tensor, mut tape: Option<&mut Tape>) -> Result<Mapped> {
        check_vectors("input of a coupling", y, self.dim)?;
        // Products and sums would be rounded in another order for other strides.
        let (y1, y2) = self.split(&y.f_contiguous()?);
        let (x2, sum1) = self.invert(&self.net1, &y1, &y2, tape.as_deref_mut())?;
        let (x1, sum2) = self.invert(&self.net2, &x2, &y1, tape)?;
        Ok(Mapped { value: Tensor::f_cat(&[x1, x2], 1)?, log_det: -(sum1 + sum2) })
    }
}

impl Bijection for Coupling {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        refuse_condition(cond)?;
        self.latent(x, None)
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        refuse_condition(cond)?;
        check_vectors("input of a coupling", z, self.dim)?;
        let (x1, x2) = self.split(&z.f_contiguous()?);
        let (y1, sum2) = self.apply(&self.net2, &x2, &x1)?;
        let (y2, sum1) = self.apply(&self.net1, &y1, &x2)?;
        Ok(Mapped { value: Tensor::f_cat(&[y1, y2], 1)?, log_det: sum1 + sum2 })
    }
}

impl Layer for Coupling {
    fn to_latent_taped(&self, x: &Tensor, tape: &mut Tape) -> Result<Mapped> {
        self.latent(x, Some(tape))
    }

    fn pull_back(
        &self,
        grad: &Tensor,
        grad_log_det: f64,
        tape: &mut Tape,
        weights: Option<&mut Gradients>,
    ) -> Result<Tensor> {
        let (g1, g2) = self.split(grad);
        let mut of_net = weights.as_ref().map(|_| (Gradients::default(), Gradients::default()));
        let (in2, y1) =
            self.invert_backward(&self.net2, &g1, grad_log_det, tape, of_net.as_mut().map(|w| &mut w.1))?;
        let g2 = g2 + in2;
        let (in1, y2) =
            self.invert_backward(&self.net1, &g2, grad_log_det, tape, of_net.as_mut().map(|w| &mut w.0))?;
        if let (Some(weights), Some((first, second))) = (weights, of_net) {
            weights.append(first);
            weights.append(second);
        }
        Ok(Tensor::f_cat(&[y1 + in1, y2], 1)?)
    }

    fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = self.net1.parameters("subnet1");
        all.extend(self.net2.parameters("subnet2"));
        all
    }

    fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        let mut all = self.net1.parameters_mut();
        all.extend(self.net2.parameters_mut());
        all
    }

    fn set_precision(&mut self, precision: Precision) -> Result<()> {
        self.net1.set_precision(precision)?;
        self.net2.set_precision(precision)
    }

    fn subnets_mut(&mut self) -> Vec<&mut Mlp> {
        vec![&mut self.net1, &mut self.net2]
    }

    fn refresh(&mut self) -> Result<()> {
        parallel::for_each_mut(&mut [&mut self.net1, &mut self.net2], |net| net.refresh())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clamp::ClampForm;
    use smalti_base::Seed;

    #[test]
    fn couplings_are_finite_or_their_clamp_is_refused() {
        for form in [ClampForm::AlphaAtan, ClampForm::AtanOverAlpha] {
            for alpha in [f64::NAN, f64::INFINITY, -1.0, 0.0, 100.0, 40.5] {
                let line = SoftClamp::new(form, alpha).unwrap_err().to_string();
                assert!(line.starts_with("clamp: expected a positive number of at most 40"), "{line}");
            }
            let clamp = SoftClamp::new(form, 40.0).unwrap();
            let mut coupling = Coupling::new(4, &[16], clamp, &mut Seed::new(3).at("weights", 0)).unwrap();
            for parameter in coupling.parameters_mut() {
                // Far into both ends of the clamp.
                *parameter = &*parameter * 20.0;
            }
            let x = Seed::new(3).at("x", 0).normal(&[50, 4]);
            for mapped in [coupling.to_latent(&x, None).unwrap(), coupling.to_data(&x, None).unwrap()] {
                assert_eq!(mapped.value.isfinite().all().int64_value(&[]), 1, "{form}");
                assert_eq!(mapped.log_det.isfinite().all().int64_value(&[]), 1, "{form}");
            }
        }
    }
}
