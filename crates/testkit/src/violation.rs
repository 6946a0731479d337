//! What a law says about something that breaks it.

use std::{fmt, ops::RangeBounds};

/// A broken law.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The name of the law.
    pub law: &'static str,
    /// What broke it.
    pub subject: String,
    /// The number that was measured; NaN where something failed before.
    pub measured: f64,
    /// The largest number that would have been accepted.
    pub tolerance: f64,
    /// What the number means, and what helps to find the mistake.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, subject, measured, tolerance, detail } = self;
        write!(f, "{subject} breaks the law of {law}: {detail}: {measured:.3e} > {tolerance:.1e}")
    }
}

impl std::error::Error for Violation {}

/// The violation of a broken twin, which must be rejected for the right reason: by the law named `law`, with a detail that
/// contains `said`, for a number within `sizes`. (A twin whose calls fail or have the wrong shape has measured NaN, which
/// lies in no range.)
///
/// # Panics
/// Otherwise.
#[track_caller]
#[allow(clippy::panic)] // an assertion
pub fn rejected(
    outcome: Result<(), Violation>,
    law: &str,
    said: &str,
    sizes: impl RangeBounds<f64> + fmt::Debug,
) -> Violation {
    let right = |violation: &Violation| {
        let Violation { law: by, measured, detail, .. } = violation;
        *by == law && detail.contains(said) && measured.is_finite() && sizes.contains(measured)
    };
    match outcome {
        Err(violation) if right(&violation) => {
            println!("{violation}");
            violation
        }
        other => panic!("not rejected by {law} ({said}) for a number in {sizes:?}: {other:?}"),
    }
}

/// One law held over one subject.
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) law: &'static str,
    pub(crate) subject: &'a str,
}

impl Trial<'_> {
    /// Accepts `measured <= tolerance`; NaN is never accepted.
    pub(crate) fn at_most(
        self,
        tolerance: f64,
        measured: f64,
        detail: impl Into<String>,
    ) -> Result<(), Violation> {
        if measured <= tolerance {
            return Ok(());
        }
        let (law, subject, detail) = (self.law, self.subject.to_owned(), detail.into());
        Err(Violation { law, subject, measured, tolerance, detail })
    }

    /// Accepts equal shapes.
    pub(crate) fn same_shape(self, what: &str, got: &[i64], expected: &[i64]) -> Result<(), Violation> {
        if got == expected {
            return Ok(());
        }
        self.at_most(0.0, f64::NAN, format!("{what} has shape {got:?} instead of {expected:?}"))
    }

    /// The value of a call that must not fail.
    pub(crate) fn ok<T, E: fmt::Display>(self, result: Result<T, E>) -> Result<T, Violation> {
        let first_line = |e: E| e.to_string().lines().next().unwrap_or_default().to_owned();
        result.map_err(|e| Violation {
            law: self.law,
            subject: self.subject.to_owned(),
            measured: f64::NAN,
            tolerance: 0.0,
            detail: format!("a call failed ({})", first_line(e)),
        })
    }
}
