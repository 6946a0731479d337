//! What the kernels refuse.

/// Bad input, in one line: what was wrong, what would have been right, what came instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, got {got}")]
pub struct KernelError {
    /// The thing that is wrong.
    pub what: String,
    /// What it should be, with the remedy.
    pub expected: String,
    /// What it is.
    pub got: String,
}

impl KernelError {
    pub(crate) fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        Self { what: what.into(), expected: expected.into(), got: got.to_string() }
    }
}

/// Values beyond this size are refused, so that no float32 square overflows.
pub(crate) const LARGEST: f32 = 1e15;

/// Fails unless all values are finite and at most [`LARGEST`] in size.
pub(crate) fn check_finite(what: &str, values: &[f32]) -> Result<(), KernelError> {
    // One branch for each chunk, so that the loop over it is vectorised.
    let good = |chunk: &[f32]| chunk.iter().fold(true, |all, v| all & (v.abs() <= LARGEST));
    match values.chunks(4096).position(|chunk| !good(chunk)) {
        None => Ok(()),
        Some(chunk) => {
            let at = values.iter().skip(4096 * chunk).position(|v| !good(&[*v])).unwrap_or(0) + 4096 * chunk;
            let got = format!("{} at position {at}", values.get(at).copied().unwrap_or(f32::NAN));
            Err(KernelError::new(what, "finite values of at most 1e15 in size; mend or crop the data", got))
        }
    }
}
