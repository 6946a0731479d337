//! Markov kernels that leave an energy invariant.

use super::energy::Energy;
use crate::bijection::Mapped;
use smalti_base::{Error, Result, seed::Stream};
use tch::{Kind, Tensor};

/// A Markov kernel, row by row: every row of a batch is a chain of its own.
pub trait MarkovKernel: Send {
    /// `steps` steps from `x: [B, d]`. The log-determinant of the result is the importance term of the path, see [`super`].
    ///
    /// # Errors
    /// Those of the energy; [`Error::Value`] where a chain leaves all bounds.
    fn walk(&self, energy: &dyn Energy, x: &Tensor, steps: u32, stream: &mut Stream) -> Result<Mapped>;
}

/// Random-walk Metropolis: proposes `x + sigma xi`, `xi ~ N(0, I)`, and takes it with probability
/// `min(1, exp(u(x) - u(x')))`. Needs no gradient.
#[derive(Debug, Clone, Copy)]
pub struct Metropolis {
    sigma: f64,
}

/// Metropolis-adjusted Langevin: proposes `x - h grad u(x) + sqrt(2 h) xi`, and takes it with the probability that makes
/// `exp(-u)` invariant.
#[derive(Debug, Clone, Copy)]
pub struct Mala {
    step: f64,
}

/// Unadjusted Langevin: takes every proposal of [`Mala`]. `exp(-u)` is invariant only up to order `h`, but the importance term is
/// exact: `l = log N(a; b - h grad u(b), 2 h) / N(b; a - h grad u(a), 2 h)`, which is `u(b) - u(a)` up to
/// higher orders.
#[derive(Debug, Clone, Copy)]
pub struct Ula {
    step: f64,
}

fn positive(what: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::value(what, "a positive number", value))
    }
}

impl Metropolis {
    /// Proposals of standard deviation `sigma > 0`.
    ///
    /// # Errors
    /// [`Error::Value`] where it is not.
    pub fn new(sigma: f64) -> Result<Self> {
        Ok(Self { sigma: positive("standard deviation of Metropolis proposals", sigma)? })
    }
}

impl Mala {
    /// Step size `h > 0`. (Hagemann, Hertrich and Steidl write `h = a_1 = a_2^2 / 2`.)
    ///
    /// # Errors
    /// [`Error::Value`] where it is not.
    pub fn new(step: f64) -> Result<Self> {
        Ok(Self { step: positive("step size of MALA", step)? })
    }
}

impl Ula {
    /// Step size `h > 0`.
    ///
    /// # Errors
    /// [`Error::Value`] where it is not.
    pub fn new(step: f64) -> Result<Self> {
        Ok(Self { step: positive("step size of Langevin layers", step)? })
    }
}

fn normal(like: &Tensor, stream: &mut Stream) -> Tensor {
    stream.normal(&like.size()).to_kind(like.kind()).to_device(like.device())
}

/// Which proposals are taken, `[B]`, given `log` of their acceptance; those with NaN are not.
fn taken(log_acceptance: &Tensor, stream: &mut Stream) -> Result<Tensor> {
    let u = stream.uniform(&log_acceptance.size()).to_device(log_acceptance.device());
    Ok(u.f_to_kind(log_acceptance.kind())?.f_log()?.f_lt_tensor(log_acceptance)?)
}

fn rowwise(product: Tensor) -> Result<Tensor> {
    Ok(product.f_sum_dim_intlist(1i64, false, None::<Kind>)?)
}

/// `log N(a; b - h grad u(b), 2 h) / N(b; a - h grad u(a), 2 h)` for `b = a - h grad u(a) + sqrt(2 h) xi`, without the
/// difference of large numbers: `sqrt(h/2) <s, xi> - h/4 |s|^2`, `s = grad u(a) + grad u(b)`.
fn reversal(h: f64, grads: (&Tensor, &Tensor), xi: &Tensor) -> Result<Tensor> {
    let s = grads.0.f_add(grads.1)?;
    Ok(rowwise(&s * xi)? * (h / 2.0).sqrt() - rowwise(s.f_square()?)? * (h / 4.0))
}

fn finite(what: &str, mapped: Mapped) -> Result<Mapped> {
    if mapped.log_det.f_isfinite()?.f_all()?.int64_value(&[]) == 1 {
        return Ok(mapped);
    }
    let got = "NaN or infinity; take smaller steps or another start";
    Err(Error::value(format!("importance term of {what}"), "finite values", got))
}

impl MarkovKernel for Metropolis {
    fn walk(&self, energy: &dyn Energy, x: &Tensor, steps: u32, stream: &mut Stream) -> Result<Mapped> {
        let mut x = x.shallow_clone();
        let mut u = energy.energy(&x)?;
        let start = u.shallow_clone();
        for _ in 0..steps {
            let proposed = &x + normal(&x, stream) * self.sigma;
            let next = energy.energy(&proposed)?;
            let taken = taken(&(&u - &next), stream)?;
            x = proposed.f_where_self(&taken.f_unsqueeze(1)?, &x)?;
            u = next.f_where_self(&taken, &u)?;
        }
        finite("Metropolis steps", Mapped { value: x, log_det: u - start })
    }
}

impl MarkovKernel for Mala {
    fn walk(&self, energy: &dyn Energy, x: &Tensor, steps: u32, stream: &mut Stream) -> Result<Mapped> {
        let h = self.step;
        let mut x = x.shallow_clone();
        let (mut u, mut grad) = energy.energy_and_grad(&x)?;
        let start = u.shallow_clone();
        for _ in 0..steps {
            let xi = normal(&x, stream);
            let proposed = &x - &grad * h + &xi * (2.0 * h).sqrt();
            let (next, slope) = energy.energy_and_grad(&proposed)?;
            let log_acceptance = &u - &next + reversal(h, (&grad, &slope), &xi)?;
            let taken = taken(&log_acceptance, stream)?;
            let rows = taken.f_unsqueeze(1)?;
            x = proposed.f_where_self(&rows, &x)?;
            grad = slope.f_where_self(&rows, &grad)?;
            u = next.f_where_self(&taken, &u)?;
        }
        finite("MALA steps", Mapped { value: x, log_det: u - start })
    }
}

impl MarkovKernel for Ula {
    fn walk(&self, energy: &dyn Energy, x: &Tensor, steps: u32, stream: &mut Stream) -> Result<Mapped> {
        let h = self.step;
        let mut x = x.shallow_clone();
        let (u, mut grad) = energy.energy_and_grad(&x)?;
        let mut log_det = u.zeros_like();
        for _ in 0..steps {
            let xi = normal(&x, stream);
            x = &x - &grad * h + &xi * (2.0 * h).sqrt();
            let (_, slope) = energy.energy_and_grad(&x)?;
            log_det += reversal(h, (&grad, &slope), &xi)?;
            grad = slope;
        }
        finite("Langevin steps", Mapped { value: x, log_det })
    }
}
