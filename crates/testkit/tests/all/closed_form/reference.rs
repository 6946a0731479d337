//! The simplest correct flow, density and regularizers, in closed form: the laws are tried on these.

use smalti_base::{Result, Seed};
use smalti_flows::{Bijection, Mapped};
use smalti_operators::{Gradient, LinearOperator, Operator};
use smalti_priors::{PatchDensity, Regularizer};
use tch::{Kind, Tensor};

/// `x = M (z + 0.3 sinh z) + b` on vectors, with a lower triangular `M`; the log-determinant differs from
/// element to element. The inverse of `sinh` part by Newton's method.
pub(crate) struct Curved {
    matrix: Tensor,
    bias: Tensor,
}

impl Curved {
    /// On vectors with `n` values.
    pub(crate) fn new(n: i64) -> Self {
        let seed = Seed::new(31);
        let random = seed.at("matrix", 0).normal(&[n, n]).to_kind(Kind::Double) * 0.3;
        let diagonal = Tensor::linspace(0.6, 1.7, n, (Kind::Double, tch::Device::Cpu)).diag(0);
        Self {
            matrix: random.tril(-1) + diagonal,
            bias: seed.at("bias", 0).normal(&[n]).to_kind(Kind::Double),
        }
    }

    fn log_det(&self, z: &Tensor) -> Tensor {
        let bend = (z.cosh() * 0.3 + 1.0).log().sum_dim_intlist(1i64, false, Kind::Double);
        bend + self.matrix.diag(0).abs().log().sum(Kind::Double)
    }
}

impl Bijection for Curved {
    fn to_latent(&self, x: &Tensor, _cond: Option<&Tensor>) -> Result<Mapped> {
        let t =
            Tensor::linalg_solve_triangular(&self.matrix, &(x - &self.bias).tr(), false, true, false).tr();
        let mut z = t.detach().arcsinh();
        for _ in 0..40 {
            z = &z - (&z + z.sinh() * 0.3 - t.detach()) / (z.cosh() * 0.3 + 1.0);
        }
        // One more step, in which autograd sees t: the derivative of the inverse function.
        let z = &z - (&z + z.sinh() * 0.3 - t) / (z.cosh() * 0.3 + 1.0);
        let log_det = -self.log_det(&z);
        Ok(Mapped { value: z, log_det })
    }

    fn to_data(&self, z: &Tensor, _cond: Option<&Tensor>) -> Result<Mapped> {
        let bent = z + z.sinh() * 0.3;
        Ok(Mapped { value: bent.matmul(&self.matrix.tr()) + &self.bias, log_det: self.log_det(z) })
    }
}

/// `x = z exp(cond) + 1`, value by value, on tensors of any shape.
pub(crate) struct Conditional;

impl Bijection for Conditional {
    fn to_latent(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let log_scale = cond.map_or_else(|| x.zeros_like(), Tensor::shallow_clone);
        Ok(Mapped {
            value: (x - 1.0) * (-&log_scale).exp(),
            log_det: -log_scale.flatten(1, -1).sum_dim_intlist(1i64, false, Kind::Double),
        })
    }

    fn to_data(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Mapped> {
        let log_scale = cond.map_or_else(|| z.zeros_like(), Tensor::shallow_clone);
        Ok(Mapped {
            value: z * log_scale.exp() + 1.0,
            log_det: log_scale.flatten(1, -1).sum_dim_intlist(1i64, false, Kind::Double),
        })
    }
}

/// `N(0, sigma^2)` in `dim` dimensions, constant and all.
pub(crate) struct Normal {
    pub(crate) dim: i64,
    pub(crate) sigma: f64,
}

impl PatchDensity for Normal {
    fn dim(&self) -> i64 {
        self.dim
    }

    fn nll(&self, patches: &Tensor) -> Result<Tensor> {
        let variance = self.sigma * self.sigma;
        let constant = self.dim as f64 / 2.0 * (2.0 * std::f64::consts::PI * variance).ln();
        Ok(patches.square().sum_dim_intlist(1i64, false, Kind::Double) / (2.0 * variance) + constant)
    }

    fn nll_and_grad(&self, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.nll(patches)?, patches / (self.sigma * self.sigma)))
    }
}

/// `|D x|^2 / 2`, times a random mask of pixels that `refresh` draws where `subset` is set.
pub(crate) struct Quadratic {
    gradient: Gradient,
    mask: Tensor,
    subset: bool,
}

impl Quadratic {
    pub(crate) fn new(x: &Tensor, subset: bool) -> Result<Self> {
        let gradient = Gradient::new(smalti_base::Space::of("x", x)?);
        let mask = gradient.apply(x)?.ones_like();
        let mut new = Self { gradient, mask, subset };
        new.refresh(0)?;
        Ok(new)
    }
}

impl Regularizer for Quadratic {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok((self.gradient.apply(x)? * &self.mask).square().sum(Kind::Double).double_value(&[]) / 2.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        Ok((self.value(x)?, self.gradient.adjoint(&(self.gradient.apply(x)? * &self.mask))?))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        if self.subset {
            let drawn = Seed::new(32).at("subset", step).uniform(&self.mask.size());
            self.mask = drawn.lt(0.4).to_kind(Kind::Double);
        }
        Ok(())
    }
}
