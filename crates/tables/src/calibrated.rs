//! How well credible intervals of drawn samples hold the truth: for the note and the report of a table.

use crate::outcome::{Line, Look, Plot};
use smalti_base::{Result, Space};
use smalti_solvers::calibration::{Coverage, calibration};
use tch::{Kind, Tensor};

/// Levels of the credible intervals in a note.
pub(crate) const LEVELS: [f64; 4] = [0.5, 0.8, 0.9, 0.95];

/// Shares of true values in the intervals, in per cent, for a note.
pub(crate) fn shares(all: &[Coverage]) -> String {
    let shares: Vec<String> = all.iter().map(|c| format!("{:.1}", 100.0 * c.empirical)).collect();
    shares.join(" / ")
}

/// The calibration curve of samples `[S, C, H, W]` of a truth `[1, C, H, W]`, for pixels and for means over squares of `patch`
/// pixels, which `of_patches` names for readers.
pub(crate) fn curve(truth: &Tensor, samples: &Tensor, patch: i64, of_patches: &str) -> Result<Plot> {
    let levels: Vec<f64> = (1..20).map(|k| f64::from(k) / 20.0).collect();
    let covered = calibration(&[truth.shallow_clone()], &[samples.shallow_clone()], &levels, patch)?;
    let line = |of: &[Coverage], look| {
        let inner = levels.iter().zip(of).map(|(p, c)| (*p, c.empirical));
        Line { points: std::iter::once((0.0, 0.0)).chain(inner).chain([(1.0, 1.0)]).collect(), look }
    };
    Ok(Plot {
        title: "Calibration".into(),
        axes: ["level of a central credible interval".into(), "share of true values in it".into()],
        lines: vec![
            Line { points: vec![(0.0, 0.0), (1.0, 1.0)], look: Look::Reference },
            line(&covered.pixels, Look::First),
            line(&covered.patches, Look::Second),
        ],
        legend: ["pixels".into(), of_patches.into()],
        caption: "below the diagonal: too sure; one image, so neighbouring pixels go together".to_owned(),
    })
}

/// Side of the squares whose means are looked at, too, in images of `side` pixels.
fn square(side: i64) -> i64 {
    if side < 64 { side.min(4) } else { 8 }
}

/// What samples `[S, C, H, W]` of a truth `[1, C, H, W]` say: how often credible intervals hold it and how far samples are apart, for
/// a note, and the calibration curve.
pub(crate) fn note_and_curve(truth: &Tensor, samples: &Tensor) -> Result<(String, Plot)> {
    let Space { height, width, .. } = Space::of("scored part", truth)?;
    let patch = square(height.min(width));
    let covered = calibration(&[truth.shallow_clone()], &[samples.shallow_clone()], &LEVELS, patch)?;
    // Two independent samples differ by twice the variance on average.
    let variance = samples.f_var_dim(0i64, true, false)?.f_mean(Kind::Double)?.f_double_value(&[])?;
    let note = format!(
        "intervals of 50 / 80 / 90 / 95 % cover {} % of pixels, {} % of means over {patch} x {patch} pixels; two draws differ \
         by {:.4} (root mean square)",
        shares(&covered.pixels),
        shares(&covered.patches),
        (2.0 * variance).sqrt()
    );
    Ok((note, curve(truth, samples, patch, &format!("means over {patch} × {patch} pixels"))?))
}
