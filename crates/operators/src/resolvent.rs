//! The quadratic problem between data and an image: in closed form where an operator has one.

use crate::{LinearOperator, Resolvent, check};
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// The resolvent of an operator for which shifting the observation by a pixel is shifting the image by a whole number of pixels, both
/// periodically, and whose channels do not mix. Then `A A^T` is a periodic convolution `L`, and
///
/// `(A^T A + alpha)^-1 r = (r - A^T (L + alpha)^-1 A r) / alpha`,
///
/// where `(L + alpha)^-1` divides by `F (A A^T d) + alpha` in Fourier space, `d` 1 in the first pixel and 0 in all others. In float64,
/// since rounding is divided by `alpha`.
pub(crate) struct Periodic<'a>(pub(crate) &'a dyn LinearOperator);

impl Resolvent for Periodic<'_> {
    fn solve(&self, r: &Tensor, alpha: f64) -> Result<Tensor> {
        let a = self.0;
        check_inputs(a, r, alpha)?;
        let exact = r.f_to_kind(Kind::Double)?;
        let transform = |x: &Tensor| x.f_contiguous()?.f_fft_fft2(None::<&[i64]>, [-2, -1], "backward");
        let range = a.range();
        let first = Tensor::f_zeros(range.batch(1), (Kind::Double, r.device()))?;
        let _ = first.f_narrow(-1, 0, 1)?.f_narrow(-2, 0, 1)?.f_fill_(1.0)?;
        let spectrum = transform(&a.apply(&a.adjoint(&first)?)?)?.f_real()? + alpha;
        let seen = transform(&a.apply(&exact)?)?.f_div(&spectrum)?;
        let seen = seen.f_fft_ifft2(None::<&[i64]>, [-2, -1], "backward")?.f_real()?.f_contiguous()?;
        let x = exact.f_sub(&a.adjoint(&seen)?)? / alpha;
        Ok(x.f_to_kind(r.kind())?)
    }
}

/// The resolvent of an operator with `A^T A = m`, a mask or 1.
pub(crate) struct Diagonal<'a> {
    pub(crate) operator: &'a dyn LinearOperator,
    /// `m`.
    pub(crate) diagonal: Tensor,
}

impl Resolvent for Diagonal<'_> {
    fn solve(&self, r: &Tensor, alpha: f64) -> Result<Tensor> {
        check_inputs(self.operator, r, alpha)?;
        let diagonal = self.diagonal.f_to_device(r.device())?.f_to_kind(r.kind())?;
        Ok(r.f_div(&(diagonal + alpha))?)
    }
}

fn check_inputs(a: &dyn LinearOperator, r: &Tensor, alpha: f64) -> Result<()> {
    check::element("right-hand side of a resolvent", r, a.domain())?;
    check_alpha(alpha)
}

fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha.is_finite() {
        return Ok(());
    }
    Err(Error::value("weight of the distance from an image", "a positive number", alpha))
}

/// How [`DataStep::solve`] goes where there is no closed form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConjugateGradients {
    /// Ends where the residual of the normal equation is at most this share of its right-hand side. Default 1e-5.
    pub tolerance: f64,
    /// Ends after that many iterations. Default 50.
    pub max_iterations: u64,
}

impl Default for ConjugateGradients {
    fn default() -> Self {
        Self { tolerance: 1e-5, max_iterations: 50 }
    }
}

/// `min_x 1/2 sum w (A x - y)^2 + alpha / 2 |x - z|^2`, weights `w` of the observed values: the step towards the data of splitting
/// methods, the proximal map of the data term.
///
/// Its normal equation is `(A^T w A + alpha) x = A^T w y + alpha z`. Where `w` is one number and the operator has a
/// [`Resolvent`], `x` is exact; else conjugate gradients go there.
///
/// # Reference
/// N. Zhao, Q. Wei, A. Basarab, N. Dobigeon, D. Kouamé, J.-Y. Tourneret, "Fast single image super-resolution using a new analytical
/// solution for l2-l2 problems", IEEE Transactions on Image Processing 25 (2016), for the closed form.
pub struct DataStep<'a> {
    operator: &'a dyn LinearOperator,
    weights: Weights,
    /// `A^T w y`, or `A^T y` where `w` is one number.
    back: Tensor,
}

/// Weights of observed values.
#[derive(Debug)]
pub enum Weights {
    /// One for all, positive: the inverse variance of white noise.
    Uniform(f64),
    /// One for each value, none negative, of the shape of the observation.
    Each(Tensor),
}

impl std::fmt::Debug for DataStep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataStep").field("weights", &self.weights).finish_non_exhaustive()
    }
}

impl<'a> DataStep<'a> {
    /// The step towards the observation `y` of `operator`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `y` or the weights are not in the range; [`Error::Value`] where a weight is not positive (or, of each
    /// value, negative or not finite).
    pub fn new(operator: &'a dyn LinearOperator, y: &Tensor, weights: Weights) -> Result<Self> {
        check::element("observation", y, operator.range())?;
        let back = match &weights {
            Weights::Uniform(w) => {
                if !(*w > 0.0 && w.is_finite()) {
                    return Err(Error::value("weight of the observation", "a positive number", w));
                }
                operator.adjoint(y)?
            }
            Weights::Each(w) => {
                check::element("weights of the observation", w, operator.range())?;
                if !(w.f_min()?.f_double_value(&[])? >= 0.0 && w.f_max()?.f_double_value(&[])?.is_finite()) {
                    return Err(Error::value("weights of the observation", "finite numbers >= 0", "others"));
                }
                operator.adjoint(&w.f_mul(y)?)?
            }
        };
        Ok(Self { operator, weights, back })
    }

    /// Whether it is in closed form.
    pub fn is_exact(&self) -> bool {
        matches!(self.weights, Weights::Uniform(_)) && self.operator.resolvent().is_some()
    }

    /// `x` for the image `z`, both in the domain; conjugate gradients start at `from`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `z` or `from` is not in the domain; [`Error::Value`] where `alpha` is not a positive number.
    pub fn solve(&self, z: &Tensor, alpha: f64, from: &Tensor, by: ConjugateGradients) -> Result<Tensor> {
        check::element("image of a data step", z, self.operator.domain())?;
        check::element("start of a data step", from, self.operator.domain())?;
        check_alpha(alpha)?;
        // In the scale where the weight is 1.
        let alpha = if let Weights::Uniform(w) = self.weights { alpha / w } else { alpha };
        let right = self.back.f_add(&(z * alpha))?;
        match self.operator.resolvent() {
            Some(resolvent) if matches!(self.weights, Weights::Uniform(_)) => resolvent.solve(&right, alpha),
            _ => self.iterate(&right, alpha, from, by),
        }
    }

    /// `(A^T w A + alpha) x`, with `w` 1 where it is one number.
    fn normal(&self, x: &Tensor, alpha: f64) -> Result<Tensor> {
        let data = match &self.weights {
            Weights::Uniform(_) => self.operator.normal(x)?,
            Weights::Each(w) => self.operator.adjoint(&self.operator.apply(x)?.f_mul(w)?)?,
        };
        Ok(data.f_add(&(x * alpha))?)
    }

    fn iterate(&self, right: &Tensor, alpha: f64, from: &Tensor, by: ConjugateGradients) -> Result<Tensor> {
        let dot = |a: &Tensor, b: &Tensor| Ok::<_, Error>((a * b).f_sum(Kind::Double)?.double_value(&[]));
        let mut x = from.shallow_clone();
        let mut residual = right.f_sub(&self.normal(&x, alpha)?)?;
        let mut direction = residual.shallow_clone();
        let mut squared = dot(&residual, &residual)?;
        let goal = dot(right, right)? * by.tolerance * by.tolerance;
        for _ in 0..by.max_iterations {
            if squared <= goal {
                break;
            }
            let image = self.normal(&direction, alpha)?;
            let step = squared / dot(&direction, &image)?;
            x = x.f_add(&(&direction * step))?;
            residual = residual.f_sub(&(image * step))?;
            let next = dot(&residual, &residual)?;
            direction = residual.f_add(&(direction * (next / squared)))?;
            squared = next;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boundary, Convolution, FourierDownsampling, Identity, Mask, Operator};
    use smalti_base::{Seed, Space};

    const EXACT: ConjugateGradients = ConjugateGradients { tolerance: 1e-13, max_iterations: 2_000 };

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    fn draw(name: &str, size: &[i64]) -> Tensor {
        Seed::new(4).at(name, 0).normal(size).to_kind(Kind::Double)
    }

    /// Boundaries that are not periodic have no closed form, and the others agree with conjugate gradients.
    #[test]
    fn closed_forms_agree_with_conjugate_gradients() {
        let domain = Space::image(2, 16, 24);
        let kernel = draw("kernel", &[3, 5]);
        let mask = draw("mask", &[16, 24]).gt(0.0);
        let exact: [Box<dyn LinearOperator>; 5] = [
            Box::new(Convolution::superresolution(domain, 6, 1.5, 4, Boundary::Periodic).unwrap()),
            Box::new(Convolution::blur(domain, &kernel, Boundary::Periodic).unwrap()),
            Box::new(FourierDownsampling::new(domain, &kernel, 2).unwrap()),
            Box::new(Mask::new(2, &mask).unwrap()),
            Box::new(Identity::new(domain)),
        ];
        for a in &exact {
            let (y, z) = (draw("y", &a.range().batch(2)), draw("z", &a.domain().batch(2)));
            let step = DataStep::new(a, &y, Weights::Uniform(4.0)).unwrap();
            assert!(step.is_exact());
            let x = step.solve(&z, 0.3, &z, EXACT).unwrap();
            let weights = Tensor::full(a.range().batch(2), 4.0, (Kind::Double, tch::Device::Cpu));
            let by_steps = DataStep::new(a, &y, Weights::Each(weights)).unwrap();
            assert!(!by_steps.is_exact());
            let apart = largest(&(by_steps.solve(&z, 0.3, &z, EXACT).unwrap() - &x));
            assert!(apart < 1e-9 && largest(&(&x - &z)) > 0.1, "{apart}");
        }
        for form in [Boundary::Valid, Boundary::Reflect] {
            assert!(Convolution::blur(domain, &kernel, form).unwrap().resolvent().is_none());
        }
    }

    /// `(y + alpha z) / (1 + alpha)` where the image itself is seen.
    #[test]
    fn of_the_identity_it_is_a_mean() {
        let domain = Space::image(1, 6, 8);
        let (y, z) = (draw("y", &domain.batch(1)), draw("z", &domain.batch(1)));
        let delta = Tensor::ones([1, 1], (Kind::Double, tch::Device::Cpu));
        let identities: [Box<dyn LinearOperator>; 2] = [
            Box::new(Identity::new(domain)),
            Box::new(Convolution::blur(domain, &delta, Boundary::Periodic).unwrap()),
        ];
        for a in identities {
            let step = DataStep::new(&a, &y, Weights::Uniform(1.0)).unwrap();
            let x = step.solve(&z, 0.25, &z, EXACT).unwrap();
            assert!(largest(&(x - (&y + &z * 0.25) / 1.25)) < 1e-13);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let domain = Space::image(1, 6, 8);
        let a = Identity::new(domain);
        let y = draw("y", &domain.batch(1));
        for w in [0.0, -1.0, f64::NAN] {
            assert!(DataStep::new(&a, &y, Weights::Uniform(w)).is_err());
            assert!(DataStep::new(&a, &y, Weights::Each(&y * 0.0 + w - 0.1)).is_err() || w == 1.0);
        }
        assert!(DataStep::new(&a, &y.narrow(3, 0, 7), Weights::Uniform(1.0)).is_err());
        let step = DataStep::new(&a, &y, Weights::Uniform(1.0)).unwrap();
        for alpha in [0.0, -1.0, f64::INFINITY] {
            let line = step.solve(&y, alpha, &y, EXACT).unwrap_err().to_string();
            assert!(line.contains("a positive number"), "{line}");
        }
        assert!(step.solve(&y.narrow(3, 0, 7), 1.0, &y, EXACT).is_err());
    }
}
