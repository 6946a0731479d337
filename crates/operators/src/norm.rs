//! The norm of a linear operator.

use crate::LinearOperator;
use smalti_base::{Error, Result, Seed};
use tch::{Device, Kind, Tensor};

/// Power iteration on `A^T A`: from a random `x`, repeat `x <- A^T A x / |A^T A x|`; then `|A x|` grows to
/// `|A| = max |A x| / |x|`.
///
/// The estimate is a lower bound, and the last digits come slowly where the largest singular values lie close
/// together (as for [`crate::Gradient`]): multiply by a little more than 1 where an upper bound is needed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PowerIteration {
    /// Stop when the estimate grows by less than this share of itself in one iteration. Default `1e-6`.
    pub tolerance: f64,
    /// Stop after that many iterations. Default 1000.
    pub max_iterations: u32,
    /// The dtype to compute in. Default float64.
    pub kind: Kind,
    /// The device to compute on. Default CPU.
    pub device: Device,
}

impl Default for PowerIteration {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_iterations: 1000, kind: Kind::Double, device: Device::Cpu }
    }
}

/// What [`PowerIteration::norm`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatorNorm {
    /// The estimate of `|A|`, from below.
    pub norm: f64,
    /// Whether the tolerance was reached; if not, `norm` is the best estimate so far.
    pub converged: bool,
    /// Applications of `A^T A`.
    pub iterations: u32,
}

impl PowerIteration {
    /// The same with another tolerance.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The same with other iterations at most.
    #[must_use]
    pub fn with_max_iterations(mut self, max_iterations: u32) -> Self {
        self.max_iterations = max_iterations;
        self
    }

    /// The same in another dtype.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same on another device.
    #[must_use]
    pub fn with_device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// The norm of `a`, started from a random image drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Value`] where the settings are out of range; [`Error::NonFinite`] where the operator gives
    /// NaN or infinity; those of the operator.
    pub fn norm(&self, a: &dyn LinearOperator, seed: Seed) -> Result<OperatorNorm> {
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::value(
                "tolerance of the power iteration",
                "a positive number",
                self.tolerance,
            ));
        }
        if !matches!(self.kind, Kind::Float | Kind::Double) {
            return Err(Error::value(
                "dtype of the power iteration",
                "Float or Double",
                format!("{:?}", self.kind),
            ));
        }
        let start = seed.at("power iteration", 0).normal(&a.domain().batch(1));
        let mut x = start.f_to_device(self.device)?.f_to_kind(self.kind)?;
        x /= length(&x);
        let mut norm = 0.0;
        for iteration in 0..self.max_iterations {
            let y = a.apply(&x)?;
            let estimate = length(&y);
            if !estimate.is_finite() {
                let (term, iteration) = ("operator norm".into(), u64::from(iteration));
                return Err(Error::NonFinite { term, iteration, value: estimate });
            }
            let settled = (estimate - norm).abs() <= self.tolerance * estimate;
            norm = estimate;
            if settled {
                return Ok(OperatorNorm { norm, converged: true, iterations: iteration + 1 });
            }
            x = a.adjoint(&y)?;
            x /= length(&x).max(f64::MIN_POSITIVE);
        }
        Ok(OperatorNorm { norm, converged: false, iterations: self.max_iterations })
    }
}

fn length(x: &Tensor) -> f64 {
    x.norm().double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boundary, Convolution, Identity, Mask, kernel};
    use smalti_base::Space;

    fn norm(a: &dyn LinearOperator) -> OperatorNorm {
        PowerIteration::default().norm(a, Seed::new(3)).unwrap()
    }

    #[test]
    fn norms_known_in_closed_form() {
        let space = Space::image(1, 16, 20);
        assert!((norm(&Identity::new(space)).norm - 1.0).abs() < 1e-12);
        // Periodic correlation: the largest modulus of the kernel's Fourier transform, here its sum.
        let k = kernel::gaussian(5, 1.0).unwrap() * 3.0;
        let found = norm(&Convolution::blur(space, &k, Boundary::Periodic).unwrap());
        assert!(found.converged && (found.norm - 3.0).abs() < 1e-4, "{found:?}");
        let nothing = Mask::new(1, &Tensor::zeros([16, 20], (Kind::Double, Device::Cpu))).unwrap();
        assert_eq!(norm(&nothing).norm, 0.0);
    }

    #[test]
    fn not_converging_is_said() {
        let d = crate::Gradient::new(Space::image(1, 30, 40));
        let short = PowerIteration::default().with_tolerance(1e-12).with_max_iterations(5);
        let found = short.norm(&d, Seed::new(3)).unwrap();
        assert!(!found.converged && found.iterations == 5, "{found:?}");
        for tolerance in [0.0, -1e-3, f64::NAN, f64::INFINITY] {
            assert!(short.with_tolerance(tolerance).norm(&d, Seed::new(3)).is_err(), "{tolerance}");
        }
        assert!(short.with_kind(Kind::Int).norm(&d, Seed::new(3)).is_err());
    }
}
