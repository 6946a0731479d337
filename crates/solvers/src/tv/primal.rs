//! Step sizes of the primal-dual method; that of the image is a filter.

use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Gradient, LinearOperator, Operator, PowerIteration};
use tch::Tensor;

/// The step sizes: of the dual of the data term (one for every value of the observation, or for all), of the dual of the
/// total variation, of that of nonnegativity, and of the image.
pub(super) struct Steps {
    pub(super) s: Tensor,
    pub(super) sigma: f64,
    pub(super) rho: f64,
    pub(super) tau: Filter,
}

/// By how much grey values change between neighbours, in order of magnitude: duals of the total variation are at most
/// `alpha`.
const GREY_VALUES: f64 = 0.01;

/// Negative grey values on the way are smaller than those changes: `rho` over `sigma`.
const NEGATIVE: f64 = 4.0;

/// Dual steps of the data term over its curvature.
const CURVATURES: f64 = 0.1;

impl Steps {
    /// For a data term of the curvature `h` (of the observation's shape, or one number) and the weight `alpha` of the
    /// total variation. `s` is in proportion to `sqrt(h)`, half way between rays treated alike and steps that their
    /// likelihood could take.
    pub(super) fn new(operator: &dyn LinearOperator, curvature: &Tensor, alpha: f64) -> Result<Self> {
        let logs = curvature.f_log()?;
        let s = ((&logs + logs.f_mean(logs.kind())?) * 0.5).f_exp()? * CURVATURES;
        let seen = seen(operator, &s)?;
        let largest = seen.f_max()?.f_double_value(&[])?;
        // Where the data term can hardly hold against a large weight, its duals bound those of the total variation.
        let sigma = alpha.min(largest / CURVATURES) / GREY_VALUES;
        let rho = NEGATIVE * sigma;
        let tau = Filter::new(operator, seen.f_clamp_min(FLOOR * largest)?, &s, sigma, rho)?;
        Ok(Self { s, sigma, rho, tau })
    }
}

/// The least response of `A^T s A` that is believed, as a share of its largest.
const FLOOR: f64 = 1e-4;

/// What `A^T s A` does to frequencies, `[1, 1, H, W / 2 + 1]`, of volumes `[1, 1, D, H, W / 2 + 1]`: read off what it makes
/// of the pixel in the middle; where it does not see that (a mask), the square of its norm for all frequencies.
fn seen(operator: &dyn LinearOperator, s: &Tensor) -> Result<Tensor> {
    let domain = operator.domain();
    let halves: Vec<i64> = domain.axes().iter().map(|n| n / 2).collect();
    let point = Tensor::f_zeros(domain.batch(1), (s.kind(), s.device()))?;
    let mut middle = point.shallow_clone();
    for (axis, &half) in (2..).zip(&halves) {
        middle = middle.f_narrow(axis, half, 1)?;
    }
    let _ = middle.f_fill_(1.0)?;
    let answer = operator.adjoint(&(operator.apply(&point)? * s))?;
    let answer = answer.f_mean_dim([1i64].as_slice(), true, s.kind())?;
    let back: Vec<i64> = halves.iter().map(|half| -half).collect();
    let seen = spectrum(&answer.f_roll(back, sides(&answer))?)?.f_real()?.f_contiguous()?;
    if seen.f_max()?.f_double_value(&[])? > 0.0 {
        return Ok(seen);
    }
    let weighted = Normal { operator, s, sigma: 0.0, rho: 0.0, root: None };
    let norm = power(s).norm(&weighted, Seed::new(0))?.norm;
    if norm > 0.0 {
        return Ok(seen.f_full_like(norm)?);
    }
    Err(Error::value("forward operator", "one that is not zero", "norm 0"))
}

/// A symmetric, positive definite, periodic filter `T`, near to the inverse of
/// `N = A^T s A + sigma D^T D + rho`, and so small that `|sqrt(T) N sqrt(T)| <= 1`.
pub(super) struct Filter {
    /// `[1, 1, H, W / 2 + 1]` or `[1, 1, D, H, W / 2 + 1]`, real and positive.
    response: Tensor,
    /// `[H, W]` or `[D, H, W]`.
    size: Vec<i64>,
}

impl Filter {
    /// The filter for the dual steps `s`, `sigma` and `rho`, where `A^T s A` is about `seen`.
    fn new(operator: &dyn LinearOperator, seen: Tensor, s: &Tensor, sigma: f64, rho: f64) -> Result<Self> {
        let size = operator.domain().axes();
        // Eigenvalues of D^T D at the frequencies of a periodic image, a sum over the axes.
        let mut laplace = seen.f_zeros_like()?;
        for (axis, &n) in size.iter().enumerate() {
            let mut shape = vec![1; seen.dim()];
            shape[2 + axis] = seen.size()[2 + axis];
            let k = Tensor::f_arange(shape[2 + axis], (s.kind(), s.device()))?;
            let waves = (k * (std::f64::consts::PI / n as f64)).f_sin()?.f_square()? * 4.0;
            laplace += waves.f_reshape(shape)?;
        }
        let response = (seen + laplace * sigma + rho).f_reciprocal()?;
        let mut filter = Self { response, size };
        let normal = Normal { operator, s, sigma, rho, root: Some(filter.root()?) };
        // The estimate comes from below: a little more keeps the steps safe.
        let norm = 1.05 * power(s).norm(&normal, Seed::new(0))?.norm;
        filter.response /= norm;
        Ok(filter)
    }

    fn root(&self) -> Result<Self> {
        Ok(Self { response: self.response.f_sqrt()?, size: self.size.clone() })
    }

    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let filtered = spectrum(x)? * &self.response;
        Ok(filtered.f_fft_irfftn(self.size.as_slice(), sides(x).as_slice(), "backward")?)
    }
}

/// The axes of a batch along which its elements extend.
fn sides(x: &Tensor) -> Vec<i64> {
    (2..x.dim() as i64).collect()
}

fn spectrum(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_fft_rfftn(None::<i64>, sides(x).as_slice(), "backward")?)
}

/// A power iteration in the dtype of `like`.
fn power(like: &Tensor) -> PowerIteration {
    PowerIteration::default()
        .with_tolerance(1e-3)
        .with_max_iterations(60)
        .with_kind(like.kind())
        .with_device(like.device())
}

/// `sqrt(T) N sqrt(T)`; without a root `N` itself.
struct Normal<'a> {
    operator: &'a dyn LinearOperator,
    s: &'a Tensor,
    sigma: f64,
    rho: f64,
    root: Option<Filter>,
}

impl Operator for Normal<'_> {
    fn domain(&self) -> Space {
        self.operator.domain()
    }
    fn range(&self) -> Space {
        self.operator.domain()
    }
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let through = |x: &Tensor| match &self.root {
            Some(root) => root.apply(x),
            None => Ok(x.shallow_clone()),
        };
        let x = through(x)?;
        let gradient = Gradient::new(self.domain());
        let seen = self.operator.adjoint(&(self.operator.apply(&x)? * self.s))?;
        let edges = gradient.adjoint(&gradient.apply(&x)?)?;
        through(&(seen + edges * self.sigma + x * self.rho))
    }
    fn vjp(&self, _: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.apply(v)
    }
}

impl LinearOperator for Normal<'_> {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.apply(v)
    }
}
