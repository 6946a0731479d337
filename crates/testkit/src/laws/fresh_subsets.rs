//! A regularizer that scores a random subset of patches draws another one in every step.

use crate::violation::{Trial, Violation};
use smalti_priors::Regularizer;
use tch::Tensor;

/// The values after `refresh(0)`, `refresh(1)`, ... `refresh(3)` are pairwise different; for regularizers that
/// draw subsets, at an image whose patches are all different. (That a step always draws the *same* subset is
/// the law [`super::repeatable`].)
///
/// # Errors
/// The [`Violation`].
pub fn fresh_subsets(subject: &str, regularizer: &mut dyn Regularizer, x: &Tensor) -> Result<(), Violation> {
    let trial = Trial { law: "fresh subsets", subject };
    let mut values: Vec<f64> = Vec::new();
    for step in 0..4 {
        trial.ok(regularizer.refresh(step))?;
        values.push(trial.ok(regularizer.value(x))?);
    }
    for (i, a) in values.iter().enumerate() {
        let equal = values[..i].iter().filter(|b| a == *b).count();
        let detail = format!("the value {a:.9e} of step {i} was seen in an earlier step, times");
        trial.at_most(0.0, equal as f64, detail)?;
    }
    Ok(())
}
