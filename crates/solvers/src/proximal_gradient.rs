//! Accelerated proximal gradient descent.

use crate::check;
use crate::map::Objective;
use crate::run::{Iteration, Step, finite};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// Minimises an [`Objective`] `J` whose regularizer draws nothing, over all images or over `x >= 0`
/// ([`ProximalGradient::nonnegative`]), by accelerated proximal gradients with backtracking:
///
/// ```text
/// x_new = P(z - grad J(z) / L),   z_new = x_new + (t - 1) / t_new (x_new - x),   t_new = (1 + sqrt(1 + 4 t^2)) / 2
/// ```
///
/// `P` sets negative values to 0, the proximal map of `x >= 0`. `L` is doubled until
/// `J(x_new) <= J(z) + <grad J(z), x_new - z> + L/2 |x_new - z|^2`, and made a little smaller in every step; no Lipschitz constant has
/// to be known, which for photon counts would be that of the brightest ray.
///
/// The momentum starts anew (`t = 1`) where it points upwards, `<z - x_new, x_new - x> > 0`. Where `J(x_new) > J(x)` the step is taken
/// back and done anew from `x` without momentum: `J` never grows but for rounding, whether it is convex or not. It converges to a minimiser of convex `J`
/// and to critical points of others, such as those with weakly convex regularizers.
///
/// It is done when `|x_new - x| <= tolerance |x_new|` after a step that was not taken back.
///
/// # References
/// A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM Journal on Imaging
/// Sciences 2 (2009); B. O'Donoghue, E. Candes, "Adaptive restart for accelerated gradient schemes", Foundations of Computational
/// Mathematics 15 (2015); H. Li, Z. Lin, "Accelerated proximal gradient methods for nonconvex programming", NIPS (2015), for the step
/// that is taken back.
pub struct ProximalGradient<'a> {
    problem: Objective<'a>,
    tolerance: f64,
    nonnegative: bool,
    x: Tensor,
    z: Tensor,
    /// `J(x)`; `None` before the first step.
    value: Option<f64>,
    t: f64,
    /// The curvature `L`.
    curvature: f64,
}

impl std::fmt::Debug for ProximalGradient<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProximalGradient").field("objective", &self.problem).finish_non_exhaustive()
    }
}

/// What the curvature is multiplied by where it was too small, and after a step.
const GROWTH: f64 = 2.0;
const SHRINKAGE: f64 = 0.97;

impl<'a> ProximalGradient<'a> {
    /// From `initial: [1, C, H, W]` or `[1, C, D, H, W]`, to the tolerance, a positive number.
    ///
    /// # Errors
    /// [`Error::Shape`] where image or observation do not fit the operator; [`Error::Value`] where they are not finite, differ in dtype
    /// or device, or a setting is out of range.
    pub fn new(problem: Objective<'a>, initial: &Tensor, tolerance: f64) -> Result<Self> {
        check::images(problem.operator, initial, problem.observation)?;
        if !(problem.weight >= 0.0 && problem.weight.is_finite()) {
            return Err(Error::value("weight of the regularizer", "a number >= 0", problem.weight));
        }
        if !(tolerance > 0.0 && tolerance.is_finite()) {
            return Err(Error::value("tolerance of the proximal gradients", "a positive number", tolerance));
        }
        let x = initial.detach().contiguous().copy();
        let z = x.copy();
        Ok(Self { problem, tolerance, nonnegative: false, x, z, value: None, t: 1.0, curvature: 0.0 })
    }

    /// The same over images without negative values: those below zero become zero in the initial image and after every step.
    #[must_use]
    pub fn nonnegative(mut self) -> Self {
        self.nonnegative = true;
        let _ = self.x.clamp_min_(0.0);
        self.z = self.x.copy();
        self
    }

    /// `J`, its data term and its regularizer.
    fn value(&self, x: &Tensor) -> Result<f64> {
        let p = &self.problem;
        let nll = p.likelihood.nll(&p.operator.apply(x)?, p.observation)?;
        let data = nll.f_sum(Kind::Double)?.f_double_value(&[])? / p.observation.numel() as f64;
        Ok(data + p.weight * p.prior.value(x)?)
    }

    /// `J` and its gradient.
    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let p = &self.problem;
        let n = p.observation.numel() as f64;
        let (nll, slope) = p.likelihood.value_and_grad(&p.operator.apply(x)?, p.observation)?;
        let data = nll.f_sum(Kind::Double)?.f_double_value(&[])? / n;
        let (prior, gradient) = p.prior.value_and_grad(x)?;
        let gradient = p.operator.vjp(x, &slope)?.f_div_scalar(n)?.f_add(&(gradient * p.weight))?;
        Ok((data + p.weight * prior, gradient))
    }

    /// The value in the initial image, and the curvature along its gradient.
    fn begin(&mut self, k: u64) -> Result<f64> {
        let (value, gradient) = self.value_and_grad(&self.x)?;
        finite("objective", k, value)?;
        let steep = length(&gradient)?;
        let short = 1e-3 * length(&self.x)?.max(1e-3 * (self.x.numel() as f64).sqrt());
        self.curvature = if steep > 0.0 {
            let probe = self.x.f_sub(&(&gradient * (short / steep)))?;
            length(&self.value_and_grad(&probe)?.1.f_sub(&gradient)?)? / short
        } else {
            0.0
        };
        // Something positive to begin with, where the objective is flat.
        self.curvature = self.curvature.max(1e-12 * steep.max(f64::MIN_POSITIVE));
        finite("curvature of the objective", k, self.curvature)?;
        Ok(value)
    }

    /// The image after a step from `z`, and its value.
    fn descend(&mut self, k: u64, (value, gradient): (f64, &Tensor)) -> Result<(Tensor, f64)> {
        let rounding = if self.x.kind() == Kind::Double { 1e-13 } else { 1e-6 };
        loop {
            let mut next = self.z.f_sub(&gradient.f_div_scalar(self.curvature)?)?;
            if self.nonnegative {
                next = next.f_clamp_min_(0.0)?;
            }
            let moved = next.f_sub(&self.z)?;
            let found = self.value(&next)?;
            let bound = value + inner(gradient, &moved)? + 0.5 * self.curvature * inner(&moved, &moved)?;
            if found <= bound + rounding * value.abs() {
                return Ok((next, found));
            }
            self.curvature *= GROWTH;
            finite("curvature of the objective", k, self.curvature)?;
        }
    }
}

fn inner(x: &Tensor, y: &Tensor) -> Result<f64> {
    Ok(x.f_mul(y)?.f_sum(Kind::Double)?.f_double_value(&[])?)
}

fn length(x: &Tensor) -> Result<f64> {
    Ok(inner(x, x)?.sqrt())
}

impl Iteration for ProximalGradient<'_> {
    type Output = Tensor;

    fn name(&self) -> String {
        "proximal gradients".into()
    }

    fn step(&mut self, k: u64) -> Result<Step> {
        let _no_grad = tch::no_grad_guard();
        let before = match self.value {
            Some(value) => value,
            None => self.begin(k)?,
        };
        self.value = Some(before);
        let momentum = self.t > 1.0;
        let at = self.value_and_grad(&self.z)?;
        // Far out, where momentum leads, likelihoods may overflow.
        let landed = match at.0.is_finite() {
            true => Some(self.descend(k, (at.0, &at.1))?),
            false => None,
        };
        // Without momentum a step leads down but for rounding.
        let Some((next, value)) = landed.filter(|(_, value)| !momentum || *value <= before) else {
            finite("objective", k, if momentum { before } else { at.0 })?;
            (self.t, self.z) = (1.0, self.x.copy());
            return Ok(Step { terms: vec![("objective", before)], done: None });
        };
        self.curvature *= SHRINKAGE;
        let moved = next.f_sub(&self.x)?;
        let upwards = inner(&self.z.f_sub(&next)?, &moved)? > 0.0;
        let t = if upwards { 1.0 } else { 0.5 * (1.0 + (1.0 + 4.0 * self.t * self.t).sqrt()) };
        self.z = if upwards { next.copy() } else { next.f_add(&(&moved * ((self.t - 1.0) / t)))? };
        let change = length(&moved)? / length(&next)?.max(f64::MIN_POSITIVE);
        (self.x, self.value, self.t) = (next, Some(value), t);
        let done = (change <= self.tolerance)
            .then(|| format!("relative change {change:.1e} in iteration {}", k + 1));
        Ok(Step { terms: vec![("objective", value), ("relative change", change)], done })
    }

    fn finish(self) -> Result<Tensor> {
        Ok(self.x)
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        file.tensors.insert("x".into(), self.x.copy());
        file.tensors.insert("z".into(), self.z.copy());
        // NaN stands for a value that is not known yet; decimal digits give back the same bits.
        file.set_meta("value", self.value.unwrap_or(f64::NAN));
        file.set_meta("t", self.t);
        file.set_meta("curvature", self.curvature);
        Some(file)
    }

    fn restore(&mut self, mut file: Checkpoint) -> Result<()> {
        for (name, t) in [("x", &mut self.x), ("z", &mut self.z)] {
            *t = file.take(name, &t.size(), t.kind())?.f_to_device(t.device())?;
        }
        let value: f64 = file.meta_parsed("value")?;
        self.value = value.is_finite().then_some(value);
        self.t = file.meta_parsed("t")?;
        self.curvature = file.meta_parsed("curvature")?;
        Ok(())
    }
}
