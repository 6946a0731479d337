//! The pseudo-inverse of a linear operator with independent rows.

use crate::{LinearOperator, check};
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// `A^+ v = A^T (A A^T)^{-1} v`: the smallest `x` with `A x = v`, where the rows of `A` are linearly independent.
///
/// `A A^T u = v` is solved by conjugate gradients, for each element of a batch by itself: the error falls by
/// `(sqrt(c) - 1) / (sqrt(c) + 1)` an iteration with the condition number `c` of `A A^T` (35 for the superresolution by 4 of
/// the WPP papers), and an iteration applies `A` and `A^T` once. Where gradients are
/// on, the iterations leave a graph. An element of which that is reached waits for the others unchanged.
#[derive(Debug, Clone, Copy)]
pub struct PseudoInverse {
    /// Stop where `|A A^T u - v|` is at most this share of `|v|`, for every element. Default 1e-5, about what float32 allows.
    pub tolerance: f64,
    /// Stop after that many iterations. Default 200.
    pub max_iterations: u32,
}

impl Default for PseudoInverse {
    fn default() -> Self {
        Self { tolerance: 1e-5, max_iterations: 200 }
    }
}

/// What [`PseudoInverse::apply`] found.
#[derive(Debug)]
pub struct MinimumNorm {
    /// `A^+ v`, `[B, C, H, W]` in the domain.
    pub x: Tensor,
    /// Whether the tolerance was reached. If not, the rows of `A` may be dependent, or the tolerance too small for the dtype.
    pub converged: bool,
    /// Iterations taken.
    pub iterations: u32,
}

impl PseudoInverse {
    /// `A^+ v` for every `v` of a batch `[B, C', H', W']` or `[B, C', D', H', W']` in the range of `a`, in its dtype and on its device.
    ///
    /// # Errors
    /// [`Error::Value`] where the tolerance is not positive; [`Error::Shape`] where `v` is not in the range;
    /// [`Error::NonFinite`] where `v` has NaN or infinity, or is so large that its square is.
    pub fn apply(&self, a: &dyn LinearOperator, v: &Tensor) -> Result<MinimumNorm> {
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::value("tolerance of the pseudo-inverse", "a positive number", self.tolerance));
        }
        check::element("right-hand side of the pseudo-inverse", v, a.range())?;
        let goal = dot(v, v)?.f_mul_scalar(self.tolerance * self.tolerance)?;
        let value = goal.f_sum(Kind::Double)?.f_double_value(&[])?;
        if !value.is_finite() {
            let term = "right-hand side of the pseudo-inverse".into();
            return Err(Error::NonFinite { term, iteration: 0, value });
        }
        let (mut u, mut residual) = (v.f_zeros_like()?, v.shallow_clone());
        let mut iterations = 0;
        // With rounding the residual of the recurrence falls below the true one, which is computed from time to time, and
        // which the recurrence then goes on from.
        loop {
            let start = u.shallow_clone();
            let (mut direction, mut square) = (residual.shallow_clone(), dot(&residual, &residual)?);
            let mut open = square.f_gt_tensor(&goal)?;
            while iterations < self.max_iterations && any(&open)? {
                let image = a.apply(&a.adjoint(&direction)?)?;
                let step = ratio(&square, &dot(&direction, &image)?)?.f_mul(&open)?;
                u = u.f_add(&direction.f_mul(&step)?)?;
                residual = residual.f_sub(&image.f_mul(&step)?)?;
                let next = dot(&residual, &residual)?;
                direction = residual.f_add(&direction.f_mul(&ratio(&next, &square)?)?)?;
                square = next;
                open = square.f_gt_tensor(&goal)?;
                iterations += 1;
            }
            let x = a.adjoint(&u)?;
            residual = v.f_sub(&a.apply(&x)?)?;
            let square = dot(&residual, &residual)?;
            if !square.f_sum(Kind::Double)?.f_double_value(&[])?.is_finite() {
                // Directions that the operator does not see make steps without end.
                return Ok(MinimumNorm { x: a.adjoint(&start)?, converged: false, iterations });
            }
            let converged = !any(&square.f_gt_tensor(&goal)?)?;
            if converged || iterations == self.max_iterations {
                return Ok(MinimumNorm { x, converged, iterations });
            }
        }
    }
}

fn any(open: &Tensor) -> Result<bool> {
    Ok(open.f_any()?.f_int64_value(&[])? != 0)
}

/// The inner product of each element, `[B, 1, ..., 1]`.
fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let all: Vec<i64> = (1..a.dim() as i64).collect();
    Ok(a.f_mul(b)?.f_sum_dim_intlist(all.as_slice(), true, None::<Kind>)?)
}

/// `a / b`, or 0 where `b` is 0.
fn ratio(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let zero = b.f_eq(0.0)?;
    Ok(a.f_div(&b.f_masked_fill(&zero, 1.0)?)?.f_masked_fill(&zero, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boundary, Convolution, Mask, Operator, VolumeConvolution};
    use smalti_base::{Seed, Space};

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    /// `A A^+ = I`, and `A^+ A` is an orthogonal projection: symmetric, and it changes nothing twice.
    #[test]
    fn it_inverts_on_the_range_and_projects_in_the_domain() {
        let (domain, volume) = (Space::image(1, 32, 48), Space::volume(2, 12, 16, 14));
        let exact = PseudoInverse { tolerance: 1e-13, ..Default::default() };
        let image = |form| Convolution::superresolution(domain, 8, 1.5, 4, form).unwrap();
        let operators: [Box<dyn LinearOperator>; 3] = [
            Box::new(image(Boundary::Periodic)),
            Box::new(image(Boundary::Valid)),
            Box::new(VolumeConvolution::superresolution(volume, 4, 0.8, 2).unwrap()),
        ];
        for a in operators {
            let v = Seed::new(1).at("v", 0).normal(&a.range().batch(3)).to_kind(Kind::Double);
            let found = exact.apply(&a, &v).unwrap();
            assert!(found.converged && found.iterations < 100, "{}", found.iterations);
            assert!(largest(&(a.apply(&found.x).unwrap() - &v)) < 1e-10);
            let project = |x: &Tensor| exact.apply(&a, &a.apply(x).unwrap()).unwrap().x;
            let draw = |k| Seed::new(2).at("x", k).normal(&a.domain().batch(1)).to_kind(Kind::Double);
            let (x, z) = (draw(0), draw(1));
            let (px, pz) = (project(&x), project(&z));
            assert!(largest(&(project(&px) - &px)) < 1e-10);
            let [left, right] = [(&px * &z).sum(Kind::Double), (&x * &pz).sum(Kind::Double)];
            assert!((left - right).abs().double_value(&[]) < 1e-9);
        }
    }

    /// Elements of different sizes, one of them zero, do not disturb each other.
    #[test]
    fn elements_are_solved_by_themselves() {
        let a = Convolution::superresolution(Space::image(1, 16, 16), 4, 1.0, 2, Boundary::Periodic).unwrap();
        let v = Seed::new(3).at("v", 0).normal(&a.range().batch(1)).to_kind(Kind::Double);
        let together = Tensor::cat(&[&v, &(&v * 0.0), &(&v * 1e6)], 0);
        let exact = PseudoInverse { tolerance: 1e-12, ..Default::default() };
        let (one, all) = (exact.apply(&a, &v).unwrap().x, exact.apply(&a, &together).unwrap().x);
        assert!(largest(&(all.narrow(0, 0, 1) - &one)) < 1e-9);
        assert_eq!(largest(&all.narrow(0, 1, 1)), 0.0);
        assert!(largest(&(all.narrow(0, 2, 1) / 1e6 - &one)) < 1e-9);
    }

    /// What is called converged is, in float32 and for a blur that nearly takes fine detail away: the residual is that of the
    /// result, not that of the recurrence.
    #[test]
    fn rounding_does_not_pass_for_convergence() {
        let domain = Space::image(1, 32, 32);
        let a = Convolution::superresolution(domain, 16, 2.0, 2, Boundary::Periodic).unwrap();
        let v = Seed::new(4).at("v", 0).normal(&a.range().batch(1));
        let norm = |x: Tensor| x.to_kind(Kind::Double).norm().double_value(&[]);
        let mut reached = Vec::new();
        for tolerance in [0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6] {
            let found = PseudoInverse { tolerance, max_iterations: 3000 }.apply(&a, &v).unwrap();
            let left = norm(a.apply(&found.x).unwrap() - &v) / norm(v.shallow_clone());
            assert_eq!(found.converged, left <= tolerance, "{tolerance}: {left}");
            reached.push(found.converged);
        }
        assert!(reached[0] && !reached[5], "{reached:?}");
    }

    #[test]
    fn a_batch_of_none_is_solved() {
        let a = Convolution::superresolution(Space::image(1, 16, 16), 4, 1.0, 2, Boundary::Periodic).unwrap();
        let none = Tensor::zeros(a.range().batch(0), (Kind::Float, tch::Device::Cpu));
        let found = PseudoInverse::default().apply(&a, &none).unwrap();
        assert!(found.converged && found.x.size() == a.domain().batch(0));
    }

    #[test]
    fn dependent_rows_and_bad_input_are_said() {
        let seen = Tensor::from_slice(&[1.0, 0.0, 1.0, 0.0]).reshape([2, 2]);
        let a = Mask::new(1, &seen).unwrap();
        let v = Tensor::ones([1, 1, 2, 2], (Kind::Double, tch::Device::Cpu));
        let found = PseudoInverse::default().apply(&a, &v).unwrap();
        assert!(!found.converged && found.x.isfinite().all().int64_value(&[]) == 1);
        let v = Seed::new(6).at("v", 0).normal(&[1, 1, 2, 2]).to_kind(Kind::Double);
        let found = PseudoInverse::default().apply(&a, &v).unwrap();
        assert!(!found.converged && found.x.isfinite().all().int64_value(&[]) == 1);
        assert!(PseudoInverse::default().apply(&a, &v.narrow(2, 0, 1)).is_err());
        assert!(PseudoInverse { tolerance: 0.0, ..Default::default() }.apply(&a, &v).is_err());
        assert!(PseudoInverse::default().apply(&a, &(&v * f64::NAN)).is_err());
    }
}
