//! Total-variation reconstruction by a primal-dual method.

use crate::check;
use crate::run::{Iteration, Step};
use smalti_base::{Error, Result, Seed, checkpoint::Checkpoint};
use smalti_operators::{Gradient, LinearOperator, Operator, PowerIteration};
use tch::{Kind, Tensor};

/// L2-TV: `min_x 1/2 |A x - y|^2 + alpha sum over pixels |D x|`, both sums, isotropic, `D` forward differences.
///
/// Solved by the primal-dual method of Chambolle and Pock (2011, algorithm 1) on the saddle point
/// `<c A x, p> + <D x, q>`, both terms dualised, the two operators brought to the same norm by `c`. The norm of
/// `A` is found by power iteration. It is done when the relative changes of one iteration,
/// `|x_{k+1} - x_k| / |x_{k+1}|` and likewise those of `p` and of `q`, are all below the tolerance, which is looked
/// at in every 10th iteration; the objective is exact (no smoothing).
pub struct TvPrimalDual<'a> {
    operator: &'a dyn LinearOperator,
    gradient: Gradient,
    observation: &'a Tensor,
    alpha: f64,
    tolerance: f64,
    balance: f64,
    step: f64,
    x: Tensor,
    ahead: Tensor,
    p: Tensor,
    q: Tensor,
}

impl<'a> TvPrimalDual<'a> {
    /// The method for `alpha > 0`, started from `initial: [1, C, H, W]`, stopping at `tolerance`.
    ///
    /// # Errors
    /// [`Error::Shape`] where image or observation do not fit; [`Error::Value`] where they are not finite, differ
    /// in dtype or device, or a setting is out of range.
    pub fn new(
        operator: &'a dyn LinearOperator,
        observation: &'a Tensor,
        alpha: f64,
        tolerance: f64,
        initial: &Tensor,
    ) -> Result<Self> {
        check::images(operator, initial, observation)?;
        for (what, value) in [("TV weight alpha", alpha), ("tolerance", tolerance)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::value(what, "a positive number", value));
            }
        }
        let gradient = Gradient::new(operator.domain());
        let iteration = PowerIteration { tolerance: 1e-4, max_iterations: 200, ..PowerIteration::default() };
        // The estimate comes from below: a little more keeps the step sizes safe.
        let norm = 1.05 * iteration.norm(operator, Seed::new(0))?.norm;
        if norm <= 0.0 {
            return Err(Error::value("forward operator", "one that is not zero", "norm 0"));
        }
        let balance = Gradient::NORM_SQUARED.sqrt() / norm;
        let step = 1.0 / (2.0 * Gradient::NORM_SQUARED).sqrt();
        let q = gradient.apply(initial)?.zeros_like();
        Ok(Self {
            operator,
            gradient,
            observation,
            alpha,
            tolerance,
            balance,
            step,
            x: initial.detach().copy(),
            ahead: initial.detach().copy(),
            p: observation.zeros_like(),
            q,
        })
    }

    /// Lengths of the dual or gradient vectors, summed over the two directions: `[B, 1, C, H, W]`.
    fn lengths(&self, q: &Tensor) -> (Tensor, Tensor) {
        let d = self.gradient.domain();
        let q = q.reshape([-1, 2, d.channels, d.height, d.width]);
        let lengths = q.square().sum_dim_intlist(1i64, true, None::<Kind>).sqrt();
        (q, lengths)
    }

    fn objective(&self) -> Result<f64> {
        let r = self.operator.apply(&self.x)? - self.observation;
        let tv = self.lengths(&self.gradient.apply(&self.x)?).1.sum(Kind::Double).double_value(&[]);
        Ok(0.5 * r.square().sum(Kind::Double).double_value(&[]) + self.alpha * tv)
    }
}

/// By how much grey values change on the way from the initial image, in order of magnitude.
const GREY_VALUES: f64 = 0.03;

/// How often the objective and the stopping rule are evaluated.
const EVERY: u64 = 10;

impl Iteration for TvPrimalDual<'_> {
    type Output = Tensor;

    fn name(&self) -> String {
        "L2-TV".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        // Step sizes tau = ratio step and sigma = step / ratio, in the proportion of what they move: grey values by
        // some hundredths, duals of the total variation by up to alpha (and hardly more than 1, however large it is).
        let ratio = GREY_VALUES / self.alpha.min(1.0);
        let (tau, sigma, c) = (self.step * ratio, self.step / ratio, self.balance);
        // prox of the conjugate of p -> 1/2 |p/c - y|^2, that is |.|^2 c^2/2 + c <., y>.
        let forward = self.operator.apply(&self.ahead)? * c;
        let p = (&self.p + (forward - self.observation * c) * sigma) / (1.0 + sigma * c * c);
        let (q, lengths) = self.lengths(&(&self.q + self.gradient.apply(&self.ahead)? * sigma));
        let q = (q / (lengths / self.alpha).clamp_min(1.0)).reshape(self.q.size());
        let direction = self.operator.adjoint(&p)? * c + self.gradient.adjoint(&q)?;
        let x = &self.x - direction * tau;
        self.ahead = &x * 2.0 - &self.x;
        let mut step = Step::default();
        if (k + 1).is_multiple_of(EVERY) {
            let relative = |new: &Tensor, old: &Tensor| {
                ((new - old).norm() / new.norm().clamp_min(1e-12)).to_kind(Kind::Double).double_value(&[])
            };
            let change = relative(&x, &self.x).max(relative(&q, &self.q)).max(relative(&p, &self.p));
            if change < self.tolerance {
                step.done = Some(format!("relative change {change:.1e} in iteration {}", k + 1));
            }
            (self.x, self.p, self.q) = (x, p, q);
            step.terms = vec![("objective", self.objective()?), ("relative change", change)];
        } else {
            (self.x, self.p, self.q) = (x, p, q);
        }
        Ok(step)
    }

    fn finish(self) -> Result<Tensor> {
        Ok(self.x)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        for (name, t) in [("x", &self.x), ("ahead", &self.ahead), ("p", &self.p), ("q", &self.q)] {
            file.tensors.insert(name.into(), t.copy());
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        for (name, t) in
            [("x", &mut self.x), ("ahead", &mut self.ahead), ("p", &mut self.p), ("q", &mut self.q)]
        {
            let (size, kind, device) = (t.size(), t.kind(), t.device());
            *t = state.take(name, &size, kind)?.to_device(device);
        }
        Ok(())
    }
}
