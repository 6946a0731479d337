//! Total-variation reconstruction by a primal-dual method.

mod data_term;
mod omega;
mod primal;

use crate::check;
use crate::run::{Iteration, Step};
use data_term::{Counts, DataTerm, Squares};
use primal::Steps;
use smalti_base::{Error, Result, checkpoint::Checkpoint};
use smalti_operators::{Gradient, LinearOperator, Operator, Poisson};
use tch::{Kind, Tensor};

/// Total variation with white noise or photon counts, `D` being forward differences:
///
/// ```text
/// new:     min_x 1/2 |A x - y|^2 + alpha sum over pixels |D x|                       both sums
/// poisson: min_x 1/n nll(A x, y) + w mean over channels and pixels |D x|             both means
/// ```
///
/// isotropic, exact (no smoothing), and for `x >= 0` where [`TvPrimalDual::nonnegative`] says so.
///
/// # Method
/// Chambolle and Pock (2011, algorithm 1) for `F(A x) + alpha sum |D x|` on the saddle point `<A x, p> + <D x, q>`, both
/// terms dualised, and `x >= 0` as a third one, `<x, r>` with `r <= 0`. Steps are preconditioned (Pock and Chambolle 2011): `sigma`
/// for `q`, `rho` for `r`, `s` for `p`, one number for every value of the observation, and for the image a periodic filter
/// `T` near to `(A^T s A + sigma D^T D + rho)^-1`, scaled by power iteration so that
/// `|sqrt(T) (A^T s A + sigma D^T D + rho) sqrt(T)| <= 1`, which is all that convergence asks for. A tomograph sees the
/// finest structures a hundred times less than the coarsest: with a number in place of the filter they would take
/// thousands of iterations. All proximal maps are exact; that of the photon counts is the Wright omega function, so that
/// steps need not be as short as the curvature of the brightest rays (`mu_max^2 N0`, some 20 times that of rays
/// through a chest) would make them.
///
/// It is done when the relative changes of one iteration, `|x_{k+1} - x_k| / |x_{k+1}|` and likewise those of `p` and of
/// `q`, are all below the tolerance, which is looked at in every 10th iteration.
pub struct TvPrimalDual<'a> {
    operator: &'a dyn LinearOperator,
    gradient: Gradient,
    data: Box<dyn DataTerm + 'a>,
    name: &'static str,
    alpha: f64,
    /// What the sums are divided by in the objective that is reported.
    divisor: f64,
    tolerance: f64,
    /// The dual of nonnegativity, where there is that.
    r: Option<Tensor>,
    steps: Steps,
    x: Tensor,
    ahead: Tensor,
    p: Tensor,
    q: Tensor,
}

impl std::fmt::Debug for TvPrimalDual<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TvPrimalDual").finish_non_exhaustive()
    }
}

impl<'a> TvPrimalDual<'a> {
    /// L2-TV for `alpha > 0`, started from `initial: [1, C, H, W]` or `[1, C, D, H, W]`, stopping at `tolerance`.
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
        check_settings("TV weight alpha", alpha, tolerance)?;
        let data = Squares(observation);
        Self::start("L2-TV", operator, Box::new(data), (alpha, 1.0), tolerance, (initial, observation))
    }

    /// Poisson-TV for the weight `w > 0`, started from `initial: [1, C, H, W]` or `[1, C, D, H, W]`, stopping at `tolerance`.
    ///
    /// The weight is that of [`crate::Objective`] with the regularizer [`smalti_priors::TotalVariation`], of which this is the
    /// limit for `eps` to 0.
    ///
    /// # Errors
    /// As for [`TvPrimalDual::new`].
    pub fn poisson(
        operator: &'a dyn LinearOperator,
        noise: Poisson,
        observation: &'a Tensor,
        weight: f64,
        tolerance: f64,
        initial: &Tensor,
    ) -> Result<Self> {
        check::images(operator, initial, observation)?;
        check_settings("weight of the total variation", weight, tolerance)?;
        let _no_grad = tch::no_grad_guard();
        let data = Counts::new(noise, observation)?;
        let n = observation.numel() as f64;
        let alpha = weight * n / initial.numel() as f64;
        Self::start("Poisson-TV", operator, Box::new(data), (alpha, n), tolerance, (initial, observation))
    }

    /// The same with `x >= 0` (attenuations, brightnesses) in every pixel.
    #[must_use]
    pub fn nonnegative(mut self) -> Self {
        self.x = self.x.clamp_min(0.0);
        self.ahead = self.x.copy();
        self.r = Some(self.x.zeros_like());
        self
    }

    fn start(
        name: &'static str,
        operator: &'a dyn LinearOperator,
        data: Box<dyn DataTerm + 'a>,
        (alpha, divisor): (f64, f64),
        tolerance: f64,
        (initial, observation): (&Tensor, &Tensor),
    ) -> Result<Self> {
        let gradient = Gradient::new(operator.domain());
        let steps = Steps::new(operator, &data.curvature()?, alpha)?;
        Ok(Self {
            operator,
            gradient,
            data,
            name,
            alpha,
            divisor,
            tolerance,
            r: None,
            steps,
            x: initial.detach().copy(),
            ahead: initial.detach().copy(),
            p: observation.detach().f_zeros_like()?,
            q: gradient.apply(initial)?.detach().f_zeros_like()?,
        })
    }

    /// The dual or gradient vectors and their lengths, `[B, 2, C, H, W]` and `[B, 1, C, H, W]`; of volumes `[B, 3, C, D, H, W]`
    /// and `[B, 1, C, D, H, W]`.
    fn lengths(&self, q: &Tensor) -> (Tensor, Tensor) {
        let d = self.gradient.domain();
        let mut size = d.batch(-1);
        size.insert(1, d.axes().len() as i64);
        let q = q.reshape(size);
        let lengths = q.square().sum_dim_intlist(1i64, true, None::<Kind>).sqrt();
        (q, lengths)
    }

    fn objective(&self) -> Result<f64> {
        let tv = self.lengths(&self.gradient.apply(&self.x)?).1.sum(Kind::Double).double_value(&[]);
        Ok((self.data.value(&self.operator.apply(&self.x)?)? + self.alpha * tv) / self.divisor)
    }
}

fn check_settings(weight_name: &str, weight: f64, tolerance: f64) -> Result<()> {
    for (what, value) in [(weight_name, weight), ("tolerance", tolerance)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(Error::value(what, "a positive number", value));
        }
    }
    Ok(())
}

/// How often the objective and the stopping rule are evaluated.
const EVERY: u64 = 10;

impl Iteration for TvPrimalDual<'_> {
    type Output = Tensor;

    fn name(&self) -> String {
        self.name.into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let Steps { s, sigma, rho, tau } = &self.steps;
        let p = self.data.dual_step(&(&self.p + self.operator.apply(&self.ahead)? * s), s)?;
        let (q, lengths) = self.lengths(&(&self.q + self.gradient.apply(&self.ahead)? * *sigma));
        let q = (q / (lengths / self.alpha).clamp_min(1.0)).reshape(self.q.size());
        let mut direction = self.operator.adjoint(&p)? + self.gradient.adjoint(&q)?;
        if let Some(r) = &mut self.r {
            *r = (&*r + &self.ahead * *rho).f_clamp_max(0.0)?;
            direction += &*r;
        }
        let x = &self.x - tau.apply(&direction)?;
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
        Ok(if self.r.is_some() { self.x.clamp_min(0.0) } else { self.x })
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        for (name, t) in [("x", &self.x), ("ahead", &self.ahead), ("p", &self.p), ("q", &self.q)] {
            file.tensors.insert(name.into(), t.copy());
        }
        if let Some(r) = &self.r {
            file.tensors.insert("r".into(), r.copy());
        }
        Some(file)
    }

    fn restore(&mut self, mut state: Checkpoint) -> Result<()> {
        for (name, t) in
            [("x", &mut self.x), ("ahead", &mut self.ahead), ("p", &mut self.p), ("q", &mut self.q)]
                .into_iter()
                .chain(self.r.as_mut().map(|r| ("r", r)))
        {
            let (size, kind, device) = (t.size(), t.kind(), t.device());
            *t = state.take(name, &size, kind)?.to_device(device);
        }
        Ok(())
    }
}
