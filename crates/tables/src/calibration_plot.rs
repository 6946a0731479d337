//! How well credible intervals of drawn samples hold the truth: for the note and the report of a table.

use crate::outcome::{Line, LineStyle, Plot};
use smalti_base::{Error, Result, Space};
use smalti_solvers::calibration::{Coverage, calibration};
use tch::{Kind, Tensor};

/// Levels of the credible intervals in a note.
const LEVELS: [f64; 4] = [0.5, 0.8, 0.9, 0.95];

/// Shares of true values in the intervals, in per cent, for a note.
fn shares(all: &[Coverage]) -> String {
    let shares: Vec<String> = all.iter().map(|c| format!("{:.1}", 100.0 * c.empirical)).collect();
    shares.join(" / ")
}

/// The calibration curve of samples `[S, C, H, W]` of a truth `[1, C, H, W]`, for pixels and for means over squares of `patch`
/// pixels, which `of_patches` names for readers.
fn curve(truth: &Tensor, samples: &Tensor, patch: i64, of_patches: &str) -> Result<Plot> {
    let levels: Vec<f64> = (1..20).map(|k| f64::from(k) / 20.0).collect();
    let covered = calibration(&[truth.shallow_clone()], &[samples.shallow_clone()], &levels, patch)?;
    let line = |of: &[Coverage], style| {
        let inner = levels.iter().zip(of).map(|(p, c)| (*p, c.empirical));
        Line { points: std::iter::once((0.0, 0.0)).chain(inner).chain([(1.0, 1.0)]).collect(), style }
    };
    Ok(Plot {
        title: "Calibration".into(),
        axes: ["level of a central credible interval".into(), "share of true values in it".into()],
        lines: vec![
            Line { points: vec![(0.0, 0.0), (1.0, 1.0)], style: LineStyle::Reference },
            line(&covered.pixels, LineStyle::First),
            line(&covered.patches, LineStyle::Second),
        ],
        legend: ["pixels".into(), of_patches.into()],
        caption: "below the diagonal: too sure; one image, so neighbouring pixels go together".to_owned(),
    })
}

/// Side of the squares whose means are looked at, too, in images of `side` pixels.
fn square(side: i64) -> i64 {
    if side < 64 { side.min(4) } else { 8 }
}

/// What samples `[S, C, H, W]` of a truth `[1, C, H, W]` (of volumes with an axis `D` before `H`) say: their standard deviation, how far samples are apart and how often
/// credible intervals hold the truth, for a note, and the calibration curve.
pub(crate) fn note_and_curve(truth: &Tensor, samples: &Tensor) -> Result<(String, Plot)> {
    let Space { height, width, .. } = Space::of("scored part", truth)?;
    // The slices of volumes are looked at one by one.
    let slices = |t: &Tensor| if t.dim() == 5 { t.f_flatten(1, 2) } else { Ok(t.shallow_clone()) };
    let (truth, samples) = (&slices(truth)?, &slices(samples)?);
    let patch = square(height.min(width));
    let covered = calibration(&[truth.shallow_clone()], &[samples.shallow_clone()], &LEVELS, patch)?;
    let variance = samples.f_var_dim(0i64, true, true)?;
    let deviation = variance.f_sqrt()?;
    let edges = edges(truth)?;
    let over = |mask: &Tensor| average(&deviation.f_masked_select(mask)?);
    let deviations = match edges.f_any()?.f_int64_value(&[])? {
        0 => format!("{:.4}, no edges", average(&deviation)?),
        _ => format!(
            "{:.4} at edges (tenth of the pixels with the largest gradient of the truth), {:.4} elsewhere",
            over(&edges)?,
            over(&edges.f_logical_not()?)?
        ),
    };
    // Two independent samples differ by twice the variance on average.
    let note = format!(
        "standard deviation {deviations}; two draws differ by {:.4} (root mean square); intervals of 50 / 80 / 90 / 95 % cover \
         {} % of pixels, {} % of means over {patch} x {patch} pixels",
        (2.0 * average(&variance)?).sqrt(),
        shares(&covered.pixels),
        shares(&covered.patches),
    );
    Ok((note, curve(truth, samples, patch, &format!("means over {patch} × {patch} pixels"))?))
}

fn average(t: &Tensor) -> Result<f64> {
    Ok(t.f_mean(Kind::Double)?.f_double_value(&[])?)
}

/// Where the gradient of `truth` (differences to the right and below, periodic) is in its top decile.
fn edges(truth: &Tensor) -> Result<Tensor> {
    let step = |dim: i64| Ok::<_, Error>(truth.f_roll([-1], [dim])?.f_sub(truth)?.f_square()?);
    let gradient = step(2)?.f_add(&step(3)?)?;
    let (sorted, _) = gradient.f_flatten(0, -1)?.f_sort(0, false)?;
    let threshold = sorted.f_double_value(&[(sorted.size()[0] - 1) * 9 / 10])?;
    Ok(gradient.f_gt(threshold)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_the_steepest_tenth() {
        let mut truth = Tensor::zeros([1, 1, 40, 40], (Kind::Float, tch::Device::Cpu));
        let _ = truth.narrow(3, 20, 20).fill_(1.0);
        let found = edges(&truth).unwrap();
        // The step within, and the one where the right side meets the left.
        assert_eq!(found.sum(Kind::Int64).int64_value(&[]), 80);
        assert_eq!(found.narrow(3, 19, 1).sum(Kind::Int64).int64_value(&[]), 40);
        truth *= 2.0;
        assert_eq!(edges(&truth).unwrap(), found);
    }
}
