//! Step sizes of the primal-dual method: the norm of the forward operator against that of the gradient.

use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Gradient, Grid, LinearOperator, Operator, PowerIteration};
use tch::Tensor;

/// The step sizes: of the image, of the dual of the gradient, and of that of the data term (for every value, or for all).
pub(super) struct Steps {
    pub(super) tau: f64,
    pub(super) sigma: f64,
    pub(super) s: Tensor,
}

/// The shape `m` of the data term's dual steps, `s = sigma balance^2 m`, and the `balance` that brings `sqrt(m) A` to the
/// norm of the gradient.
pub(super) struct Metric {
    shape: Tensor,
    balance: f64,
}

/// By how much grey values change on the way from the initial image, in order of magnitude.
const GREY_VALUES: f64 = 0.03;

/// Dual step of the photon counts over the curvature `h` of their likelihood. A mode of the singular value `a` swings on
/// its way to the solution unless this is about `2 a / |A|`, and creeps where it is much more: 0.03 suits the
/// middle frequencies of a tomograph.
const COUNTS: f64 = 0.03;

impl Metric {
    /// For a data term of the curvature `h` (of the observation's shape, or one number), `m = sqrt(h mean(h))` with the
    /// geometric mean.
    ///
    /// `m = h` would treat all rays alike and `m = mean(h)` gives bright rays, which pass the body by, shorter steps than
    /// their likelihood could take; half way between needs the fewest iterations for chests (in both geometries).
    pub(super) fn new(operator: &dyn LinearOperator, curvature: &Tensor) -> Result<Self> {
        let logs = curvature.f_log()?;
        let shape = ((&logs + logs.f_mean(logs.kind())?) * 0.5).f_exp()?;
        let weighted = Weighted { operator, weights: shape.f_sqrt()? };
        let iteration = PowerIteration {
            tolerance: 1e-4,
            max_iterations: 200,
            kind: curvature.kind(),
            device: curvature.device(),
        };
        // The estimate comes from below: a little more keeps the step sizes safe.
        let norm = 1.05 * iteration.norm(&weighted, Seed::new(0))?.norm;
        if norm <= 0.0 {
            return Err(Error::value("forward operator", "one that is not zero", "norm 0"));
        }
        Ok(Self { shape, balance: Gradient::NORM_SQUARED.sqrt() / norm })
    }

    /// `tau = ratio step` and `sigma = step / ratio` in the proportion of what they move: grey values by some hundredths,
    /// duals of the total variation by up to `alpha` (and hardly more than 1, however large it is).
    pub(super) fn steps_for_grey_values(&self, alpha: f64) -> Steps {
        self.steps(Self::step() / (GREY_VALUES / alpha.min(1.0)))
    }

    /// `s` is [`COUNTS`] of the curvature, whatever the weight of the total variation is.
    pub(super) fn steps_for_counts(&self) -> Steps {
        self.steps(COUNTS / self.balance.powi(2))
    }

    /// `sqrt(tau sigma)`: two operators of the gradient's norm.
    fn step() -> f64 {
        1.0 / (2.0 * Gradient::NORM_SQUARED).sqrt()
    }

    fn steps(&self, sigma: f64) -> Steps {
        let tau = Self::step().powi(2) / sigma;
        Steps { tau, sigma, s: &self.shape * (sigma * self.balance.powi(2)) }
    }
}

/// `x` to `weights A x`.
struct Weighted<'a> {
    operator: &'a dyn LinearOperator,
    weights: Tensor,
}

impl Operator for Weighted<'_> {
    fn domain(&self) -> Space {
        self.operator.domain()
    }
    fn range(&self) -> Space {
        self.operator.range()
    }
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.operator.apply(x)? * &self.weights)
    }
    fn vjp(&self, _: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.adjoint(v)
    }
    fn grid(&self) -> Grid {
        self.operator.grid()
    }
}

impl LinearOperator for Weighted<'_> {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.operator.adjoint(&(v * &self.weights))
    }
}
