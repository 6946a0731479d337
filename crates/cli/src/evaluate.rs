//! `smalti evaluate`: how near an image is to the truth.

use crate::arguments::{DataRange, Evaluate};
use crate::context::Context;
use crate::fault::{Fault, usage};
use crate::images::{Measured, Place, Units, units};
use serde_json::json;
use smalti_base::lpips::{LEAST_SIDE, LpipsAlex};
use smalti_base::metrics::{crop, psnr, ssim};
use smalti_base::{Error, Result};
use std::path::Path;
use tch::{Kind, Tensor};

/// Pixels that an image may be shifted by to be noticed.
const REACH: i64 = 4;

/// Decibels that a shift has to gain to be told.
const WORTH: f64 = 1.0;

/// Runs the command.
pub(crate) fn run(options: &Evaluate, context: &Context) -> Result<(), Fault> {
    let read = |path: &Path| Measured::read(&Place::parse(path));
    let (estimate, truth) = (read(&options.estimate)?, read(&options.truth)?);
    if estimate.size() != truth.size() {
        let [got, expected] = [&estimate, &truth]
            .map(|image| image.size().iter().map(ToString::to_string).collect::<Vec<_>>().join(" x "));
        let expected = format!("{expected} pixels as {} has; crop one of them", truth.place.label());
        return Err(Error::shape(estimate.place.label(), expected, got).into());
    }
    let both = [&estimate, &truth];
    let [of_estimate, of_truth] =
        [&estimate, &truth].map(|image| units(options.range, image.stored.kind, &both));
    let (of_estimate, of_truth): (Units, Units) = (of_estimate?, of_truth?);
    let (x, t) = (estimate.in_units(&of_estimate)?, truth.in_units(&of_truth)?);
    let range = match options.data_range {
        DataRange::Auto => 1.0,
        DataRange::Truth => {
            let range = (t.f_max()? - t.f_min()?).double_value(&[]);
            if range > 0.0 { range } else { 1.0 }
        }
        DataRange::Given(stored) => stored / (of_truth.high - of_truth.low),
    };
    let side = truth.size().iter().copied().min().unwrap_or_default();
    if 2 * options.crop + LEAST_SCORED > side {
        return Err(usage(format!(
            "--crop {}: leaves less than {LEAST_SCORED} of {side} pixels; at most {} can be cut",
            options.crop,
            ((side - LEAST_SCORED) / 2).max(0)
        )));
    }
    // Planes of a volume are images.
    let planes = |t: &Tensor| -> Result<Tensor> {
        let t = if t.dim() == 5 {
            t.f_narrow(2, options.crop, t.size()[2] - 2 * options.crop)?.f_flatten(1, 2)?
        } else {
            t.shallow_clone()
        };
        crop(&t, options.crop)
    };
    let (x, t) = (planes(&x)?, planes(&t)?);
    let (psnr, ssim) = (psnr(&x, &t, range)?, ssim(&x, &t, range)?);
    let lpips = lpips(&x, &t, &crate::problem::folder_of_data(options.data.as_deref()))?;
    let shift = shifted(&x, &t, range)?.filter(|(_, gain)| *gain > WORTH);
    if let Some(((down, right), gain)) = shift {
        tracing::warn!(
            "shifted by {down} rows and {right} columns, {} would gain {gain:.1} dB: do both have the same pixel grid?",
            estimate.place.label()
        );
    }
    let mut text = format!("PSNR   {psnr:8.4} dB (range {range:.4})\nSSIM   {ssim:8.4}\n");
    match &lpips {
        Ok(distance) => text += &format!("LPIPS  {distance:8.4}\n"),
        Err(why) => context.say(&format!("no LPIPS: {why}")),
    }
    context.answer(&text, || {
        json!({
            "estimate": estimate.place.label(),
            "truth": truth.place.label(),
            "crop": options.crop,
            "range": range,
            "psnr": if psnr.is_finite() { json!(psnr) } else { json!("infinite") },
            "ssim": ssim,
            "lpips": lpips.as_ref().ok(),
            "shift": shift.map(|((rows, columns), gain)| json!({ "rows": rows, "columns": columns, "gain": gain })),
            "units": [of_estimate, of_truth],
        })
    })
}

/// Pixels that must be scored along every axis: a window of SSIM.
const LEAST_SCORED: i64 = 7;

/// LPIPS, or why there is none.
fn lpips(x: &Tensor, truth: &Tensor, folder: &Path) -> Result<Result<f64, String>> {
    let size = x.size();
    if size[1] != 1 || size[2].min(size[3]) < LEAST_SIDE {
        return Ok(Err(format!("it takes one image of at least {LEAST_SIDE} x {LEAST_SIDE} pixels")));
    }
    let (backbone, linear) =
        (folder.join("weights/lpips_alex"), folder.join("weights/lpips_lin_alex_v0.1.pth"));
    if !(backbone.exists() && linear.exists()) {
        return Ok(Err(format!(
            "{} has no weights/lpips_alex (--data DIR; cargo xtask fetch-data --only weights/lpips)",
            folder.display()
        )));
    }
    // It knows images from 0 to 1 only.
    let scaled = |t: &Tensor| -> Result<Tensor> { Ok(t.f_clamp(0.0, 1.0)? * 2.0 - 1.0) };
    LpipsAlex::load(&backbone, &linear)?.distance(&scaled(x)?, &scaled(truth)?).map(Ok)
}

/// The shift by whole pixels, in rows and columns, after which `x` is nearest to `truth`, and the decibels that it gains; `None` where the
/// images are too small, or equal.
fn shifted(x: &Tensor, truth: &Tensor, range: f64) -> Result<Option<((i64, i64), f64)>> {
    let size = x.size();
    let (h, w) = (size[2] - 2 * REACH, size[3] - 2 * REACH);
    if h < LEAST_SCORED || w < LEAST_SCORED {
        return Ok(None);
    }
    let inner = truth.f_narrow(2, REACH, h)?.f_narrow(3, REACH, w)?.f_to_kind(Kind::Double)?;
    let x = x.f_to_kind(Kind::Double)?;
    let error = |down: i64, right: i64| -> Result<f64> {
        let moved = x.f_narrow(2, REACH - down, h)?.f_narrow(3, REACH - right, w)?;
        Ok((moved - &inner).f_square()?.f_mean(Kind::Double)?.double_value(&[]))
    };
    let here = error(0, 0)?;
    let mut best = ((0, 0), here);
    for down in -REACH..=REACH {
        for right in -REACH..=REACH {
            let there = error(down, right)?;
            if there < best.1 {
                best = ((down, right), there);
            }
        }
    }
    // A perfect match gains more than can be counted.
    let least = 1e-12 * range * range;
    Ok((best.0 != (0, 0)).then(|| (best.0, 10.0 * (here / best.1.max(least)).log10())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    #[test]
    fn shifts_are_found_with_their_direction() {
        let scene = smalti_methods::synthetic::microstructure(80, 90, Seed::new(1), 0).unwrap();
        let part = |top: i64, left: i64| scene.narrow(2, top, 64).narrow(3, left, 64);
        let truth = part(8, 8);
        // What is at (8, 8) of the truth stands 3 rows further down, and 2 columns to the left.
        let ((down, right), gain) = shifted(&part(5, 10), &truth, 1.0).unwrap().unwrap();
        assert_eq!((down, right), (-3, 2));
        assert!(gain > 20.0, "{gain}");
        assert!(shifted(&truth, &truth, 1.0).unwrap().is_none());
        assert!(shifted(&truth.narrow(2, 0, 10), &truth.narrow(2, 0, 10), 1.0).unwrap().is_none());
    }
}
