//! What draws of the posterior say: whether to trust them, and how uncertain they are.

use super::posed::Posed;
use crate::calibrated::{self, LEVELS, shares};
use crate::experiment::langevin::{Chains, Transition};
use crate::outcome::{Line, Look, Map, Plot};
use smalti_base::Result;
use smalti_solvers::PosteriorSamples;
use smalti_solvers::calibration::calibration;
use smalti_solvers::langevin::Quantity;
use tch::{Kind, Tensor};

/// Side of the square patches whose means are looked at, too.
const PATCH: i64 = 4;

/// Draws of the drawn autocorrelations, at most.
const LAGS: usize = 200;

/// Split R-hats that are shown as black and as white.
const R_HATS: [f64; 2] = [1.0, 1.2];

fn average(t: &Tensor) -> Result<f64> {
    Ok(t.f_mean(Kind::Double)?.f_double_value(&[])?)
}

/// What is said of the draws below the table.
pub(super) fn note(posed: &Posed, chains: &Chains, found: &PosteriorSamples) -> Result<String> {
    let kept = posed.part(&found.pooled())?;
    let covered = calibration(&[posed.part(&posed.truth)?], &[kept], &LEVELS, PATCH)?;
    // Two independent draws differ by twice the variance on average.
    let apart = (2.0 * average(&posed.part(&found.variance)?)?).sqrt();
    let Chains { method, count, draws, thin, burn_in, .. } = chains;
    let method = match method {
        Transition::Mala => "MALA",
        Transition::Ula => "ULA, without acceptance",
    };
    let taken = found.acceptance.iter().sum::<f64>() / found.acceptance.len() as f64;
    let (worst, effective) = (found.worst_r_hat(), found.least_effective());
    let verdict = if found.agree() {
        "the chains agree"
    } else {
        "WARNING: the chains disagree, so these are not yet draws of the posterior"
    };
    Ok(format!(
        "{method}, {count} chains, {burn_in} steps of burn-in, {draws} draws {thin} steps apart; step size {:.2e}, \
         {:.1} % of proposals taken; largest split R-hat {worst:.3}, least effective sample size {effective:.0}: \
         {verdict}; intervals of 50 / 80 / 90 / 95 % cover {} % of pixels, {} % of means over {PATCH} x {PATCH} \
         pixels; two draws differ by {apart:.4} (root mean square)",
        found.step_size,
        100.0 * taken,
        shares(&covered.pixels),
        shares(&covered.patches),
    ))
}

/// Autocorrelations of the traced quantities, and the calibration curve.
pub(super) fn plots(posed: &Posed, thin: u64, found: &PosteriorSamples) -> Result<Vec<Plot>> {
    let mut lines = Vec::new();
    for trace in &found.traces {
        let rho = trace.autocorrelation(LAGS)?;
        let points = rho.iter().enumerate().map(|(lag, rho)| ((lag as u64 * thin) as f64, *rho)).collect();
        let look = if trace.quantity == Quantity::Energy { Look::First } else { Look::Second };
        lines.push(Line { points, look });
    }
    let end = lines.first().and_then(|line| line.points.last()).map_or(0.0, |p| p.0);
    lines.insert(0, Line { points: vec![(0.0, 0.0), (end, 0.0)], look: Look::Reference });
    let pixels: Vec<String> = found.traces.iter().skip(1).map(|trace| trace.quantity.to_string()).collect();
    let autocorrelation = Plot {
        title: "Autocorrelation of the chains",
        axes: ["steps apart", "autocorrelation"],
        lines,
        legend: ["energy", "pixels"],
        caption: pixels.join(", "),
    };
    let (truth, draws) = (posed.part(&posed.truth)?, posed.part(&found.pooled())?);
    let calibrated = calibrated::curve(&truth, &draws, PATCH, "means over 4 × 4 pixels")?;
    Ok(vec![autocorrelation, calibrated])
}

/// Standard deviation and split R-hat of every pixel as pictures.
pub(super) fn maps(found: &PosteriorSamples, [black, white]: [f64; 2]) -> Result<Vec<Map>> {
    let deviation = found.variance.f_sqrt()?;
    let (sorted, _) = deviation.f_flatten(0, -1)?.f_sort(0, false)?;
    // What 99.5 % of the pixels stay below, in steps of 0.005.
    let high = sorted.f_double_value(&[(sorted.size()[0] - 1) * 995 / 1000])?;
    let scale = (high * 200.0).ceil().max(1.0) / 200.0;
    let windowed = |t: &Tensor, from: f64, to: f64| -> Result<Tensor> {
        let unit = t.f_sub_scalar(from)?.f_div_scalar(to - from)?.f_clamp(0.0, 1.0)?;
        Ok((unit * (white - black) + black).f_to_kind(Kind::Float)?)
    };
    let [least, most] = R_HATS;
    Ok(vec![
        Map {
            key: "standard-deviation",
            title: "Standard deviation",
            caption: format!("black 0, white {scale:.3} or more"),
            image: windowed(&deviation, 0.0, scale)?,
        },
        Map {
            key: "r-hat",
            title: "Split R-hat",
            caption: format!("black {least:.0}, white {most} or more"),
            image: windowed(&found.r_hat, least, most)?,
        },
    ])
}
