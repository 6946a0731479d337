//! Soft clamps of a coupling's log-scale.

use smalti_base::{Error, Result};
use std::{fmt, str::FromStr};
use tch::Tensor;

/// Which function of the subnet's output the log-scale is. Two builds of FrEIA with the same version number
/// differ here, so a checkpoint must say which form it was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClampForm {
    /// `s = 0.636 alpha atan(r)`: FrEIA 0.2 as published on PyPI.
    AlphaAtan,
    /// `s = 0.636 alpha atan(r / alpha)`: the other build.
    AtanOverAlpha,
}

impl fmt::Display for ClampForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlphaAtan => "alpha-atan",
            Self::AtanOverAlpha => "atan-over-alpha",
        })
    }
}

impl FromStr for ClampForm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "alpha-atan" => Ok(Self::AlphaAtan),
            "atan-over-alpha" => Ok(Self::AtanOverAlpha),
            _ => Err(Error::value("clamp form", "alpha-atan or atan-over-alpha", text)),
        }
    }
}

/// FrEIA's constant, about `2 / pi`, which bounds the log-scale by `alpha`.
const TWO_OVER_PI: f64 = 0.636;

/// `exp(2 alpha)` stays below the largest float32 value, 3.4e38, with a margin of 1e3 for what it multiplies.
const LARGEST: f64 = 40.0;

/// The soft clamp `s(r)` of a coupling's log-scale, `|s| < alpha`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftClamp {
    form: ClampForm,
    alpha: f64,
}

impl SoftClamp {
    /// A clamp to `(-alpha, alpha)`, `alpha` at most 40: the scales `exp(s)` of both halves of a coupling, one after the
    /// other, then stay within float32.
    ///
    /// # Errors
    /// [`Error::Value`] where `alpha` is not positive or above 40.
    pub fn new(form: ClampForm, alpha: f64) -> Result<Self> {
        if alpha > 0.0 && alpha <= LARGEST {
            Ok(Self { form, alpha })
        } else {
            let expected = format!(
                "a positive number of at most {LARGEST}, beyond which scales overflow; 1 to 3 are usual"
            );
            Err(Error::value("clamp", expected, alpha))
        }
    }

    /// One whose `alpha` is known to be in range.
    pub(crate) const fn of(form: ClampForm, alpha: f64) -> Self {
        assert!(alpha > 0.0 && alpha <= LARGEST);
        Self { form, alpha }
    }

    /// The bound `alpha`.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The form.
    pub fn form(&self) -> ClampForm {
        self.form
    }

    /// `b` and `c` of `s(r) = b atan(c r)`.
    pub fn factors(&self) -> (f64, f64) {
        let inner = match self.form {
            ClampForm::AlphaAtan => 1.0,
            ClampForm::AtanOverAlpha => 1.0 / self.alpha,
        };
        (TWO_OVER_PI * self.alpha, inner)
    }

    /// `s(r)`, elementwise.
    pub fn apply(&self, raw: &Tensor) -> Tensor {
        match self.form {
            ClampForm::AlphaAtan => raw.atan() * (TWO_OVER_PI * self.alpha),
            ClampForm::AtanOverAlpha => (raw / self.alpha).atan() * (TWO_OVER_PI * self.alpha),
        }
    }

    /// `s'(r)`, elementwise.
    pub fn derivative(&self, raw: &Tensor) -> Tensor {
        match self.form {
            ClampForm::AlphaAtan => (raw.square() + 1.0).reciprocal() * (TWO_OVER_PI * self.alpha),
            ClampForm::AtanOverAlpha => ((raw / self.alpha).square() + 1.0).reciprocal() * TWO_OVER_PI,
        }
    }
}
