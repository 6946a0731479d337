//! Whether posterior samples are as uncertain as they should be: coverage of credible intervals.

use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// How often the truth lies within central credible intervals, against how often it should.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Nominal levels, e.g. 0.9 for the interval between the quantiles 0.05 and 0.95.
    pub nominal: Vec<f64>,
    /// Coverage of single values (pixels) at each level.
    pub pixels: Vec<Coverage>,
    /// Coverage of the means over square patches at each level: too low where neighbouring errors go together but
    /// neighbouring samples do not.
    pub patches: Vec<Coverage>,
}

/// Coverage at one level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// The share of values that lie within.
    pub empirical: f64,
    /// Standard error of that share over images; NaN for a single image, within which values are not independent.
    pub standard_error: f64,
}

impl Calibration {
    /// The largest distance of empirical from nominal coverage of pixels and of patch means.
    pub fn worst(&self) -> (f64, f64) {
        let of = |found: &[Coverage]| {
            let distances = found.iter().zip(&self.nominal).map(|(c, p)| (c.empirical - p).abs());
            distances.fold(0.0, f64::max)
        };
        (of(&self.pixels), of(&self.patches))
    }
}

/// The calibration curve of posterior samples.
///
/// # Shapes
/// `truths[i]: [1, C, H, W]` (or `[C, H, W]`) with `S_i` samples `samples[i]: [S_i, C, H, W]`, `S_i >= 1` of any number, drawn
/// given the observation of truth `i`. Patches are `patch x patch` pixels, side by side; what is left at the borders is
/// not looked at.
///
/// # Convention
/// With `r` of the `S` samples below the truth, the truth's place in the posterior lies between `r / (S + 1)` and
/// `(r + 1) / (S + 1)`, anywhere with equal probability. It is covered at level `p` with the share of that stretch
/// that lies within `((1 - p)/2, (1 + p)/2)`. For samples of the right distribution the expected coverage is then `p`
/// exactly, for any `S`; samples equal to the truth count half on either side.
///
/// # Errors
/// [`Error::Shape`], [`Error::Value`] where shapes do not fit, there is nothing to compare, a value is not finite, a level is
/// not between 0 and 1, or patches do not fit.
pub fn calibration(truths: &[Tensor], samples: &[Tensor], levels: &[f64], patch: i64) -> Result<Calibration> {
    if truths.is_empty() || truths.len() != samples.len() {
        return Err(Error::shape(
            "sets of samples",
            format!("one for each of {} truths", truths.len()),
            samples.len(),
        ));
    }
    if let Some(p) = levels.iter().find(|p| !(**p > 0.0 && **p < 1.0)) {
        return Err(Error::value("credible level", "between 0 and 1", p));
    }
    let mut all: [Vec<Vec<f64>>; 2] = Default::default();
    for (truth, drawn) in truths.iter().zip(samples) {
        let (truth, drawn) = prepared(truth, drawn, patch)?;
        let means =
            |t: &Tensor| t.f_avg_pool2d([patch, patch], [patch, patch], [0, 0], false, true, None::<i64>);
        all[0].push(covered(&truth, &drawn, levels)?);
        all[1].push(covered(&means(&truth)?, &means(&drawn)?, levels)?);
    }
    let [pixels, patches] = all.map(|of| (0..levels.len()).map(|l| over_images(&of, l)).collect());
    Ok(Calibration { nominal: levels.to_vec(), pixels, patches })
}

/// Both in float64, `[1, C, H, W]` and `[S, C, H, W]`.
fn prepared(truth: &Tensor, drawn: &Tensor, patch: i64) -> Result<(Tensor, Tensor)> {
    let truth = if truth.dim() == 3 { truth.f_unsqueeze(0)? } else { truth.shallow_clone() };
    let (size, found) = (truth.size(), drawn.size());
    if size.len() != 4 || size[0] != 1 || found.len() != 4 || found[1..] != size[1..] || found[0] < 1 {
        let expected = format!("[S, C, H, W] for a truth of {size:?}");
        return Err(Error::shape("posterior samples", expected, found));
    }
    if !(1..=size[2].min(size[3])).contains(&patch) {
        return Err(Error::value("patch size", format!("1 to {}", size[2].min(size[3])), patch));
    }
    let (truth, drawn) = (truth.f_to_kind(Kind::Double)?, drawn.f_to_kind(Kind::Double)?);
    for (what, t) in [("truth", &truth), ("posterior samples", &drawn)] {
        if t.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(Error::value(what, "finite values", "NaN or infinity in it"));
        }
    }
    Ok((truth, drawn))
}

/// The share of values covered, level by level.
fn covered(truth: &Tensor, drawn: &Tensor, levels: &[f64]) -> Result<Vec<f64>> {
    let count = |t: Tensor| t.f_sum_dim_intlist(0i64, false, Kind::Double);
    let below = count(drawn.f_lt_tensor(truth)?)? + count(drawn.f_eq_tensor(truth)?)? / 2.0;
    let width = 1.0 / (drawn.size()[0] + 1) as f64;
    let from = below * width;
    let share = |p: &f64| {
        let upper = (&from + width).f_clamp_max(0.5 + p / 2.0)?;
        let inside = (upper - from.f_clamp_min(0.5 - p / 2.0)?).f_clamp_min(0.0)? / width;
        Ok(inside.f_mean(Kind::Double)?.double_value(&[]))
    };
    levels.iter().map(share).collect()
}

fn over_images(of: &[Vec<f64>], level: usize) -> Coverage {
    let n = of.len() as f64;
    let empirical = of.iter().map(|image| image[level]).sum::<f64>() / n;
    let squares = of.iter().map(|image| (image[level] - empirical).powi(2)).sum::<f64>();
    Coverage { empirical, standard_error: (squares / (n * (n - 1.0))).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;

    const LEVELS: [f64; 4] = [0.1, 0.5, 0.8, 0.95];

    /// Truths from N(0, 1) for every pixel, plus a value from N(0, 1) that a whole image shares; samples with noise of
    /// standard deviation `wide` instead, and shared values where `together`.
    fn drawn(images: u64, samples: i64, wide: f64, together: bool) -> Calibration {
        let seed = Seed::new(5);
        let one = |what: &str, i: u64, n: i64, shared: bool| {
            let own = seed.at(what, i).normal(&[n, 1, 12, 12]);
            let common = seed.at("common", 2 * i + u64::from(n == 1)).normal(&[n, 1, 1, 1]);
            if shared { own + common } else { own * 2f64.sqrt() }
        };
        let truths: Vec<Tensor> = (0..images).map(|i| one("truth", i, 1, true)).collect();
        let all: Vec<Tensor> = (0..images).map(|i| one("samples", i, samples, together) * wide).collect();
        calibration(&truths, &all, &LEVELS, 3).unwrap()
    }

    #[test]
    fn samples_of_the_right_distribution_are_calibrated_whatever_their_number() {
        for samples in [2, 9, 40] {
            let found = drawn(400, samples, 1.0, true);
            for (coverage, p) in found.pixels.iter().chain(&found.patches).zip(LEVELS.iter().cycle()) {
                let distance = (coverage.empirical - p).abs() / coverage.standard_error;
                assert!(distance < 4.0, "{samples} samples, level {p}: {coverage:?}");
                assert!(coverage.standard_error < 0.03);
            }
        }
    }

    #[test]
    fn wrong_uncertainties_are_found() {
        let (narrow, broad) = (drawn(100, 40, 0.5, true), drawn(100, 40, 2.0, true));
        assert!(narrow.pixels[2].empirical < 0.65 && broad.pixels[2].empirical > 0.9);
        assert!(narrow.worst().0 > 0.2 && narrow.worst().1 > 0.2);
        // Pixels are right one by one, but samples forget that they go together.
        let apart = drawn(100, 40, 1.0, false);
        assert!(apart.worst().0 < 0.06 && apart.worst().1 > 0.15, "{apart:?}");
    }

    #[test]
    fn a_worked_example() {
        // One of three samples below: the place lies within (1/4, 1/2); at level 0.2 the interval (0.4, 0.6) has 0.1 of 0.25.
        let truth = Tensor::from_slice(&[0.0]).reshape([1, 1, 1, 1]);
        let samples = Tensor::from_slice(&[-1.0, 1.0, 2.0]).reshape([3, 1, 1, 1]);
        let found = calibration(&[truth], &[samples], &[0.2], 1).unwrap();
        assert!((found.pixels[0].empirical - 0.4).abs() < 1e-12 && found.pixels[0].standard_error.is_nan());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = || Tensor::zeros([1, 1, 4, 5], (Kind::Float, tch::Device::Cpu));
        let run = |t: Vec<Tensor>, s: Vec<Tensor>, p: f64, n: i64| calibration(&t, &s, &[p], n);
        assert!(run(vec![x()], vec![x()], 0.5, 2).is_ok());
        for (bad, name) in [
            (run(vec![], vec![], 0.5, 2), "none"),
            (run(vec![x()], vec![x(), x()], 0.5, 2), "number"),
            (run(vec![x()], vec![x().narrow(3, 0, 4)], 0.5, 2), "size"),
            (run(vec![x()], vec![x().narrow(0, 0, 0)], 0.5, 2), "no samples"),
            (run(vec![x()], vec![x()], 1.0, 2), "level"),
            (run(vec![x()], vec![x()], 0.5, 5), "patch"),
            (run(vec![x()], vec![x() / 0.0], 0.5, 2), "NaN"),
        ] {
            assert!(bad.is_err(), "{name}");
        }
    }
}
