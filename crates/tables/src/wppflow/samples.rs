//! What samples of the posterior say: their residual, where they differ, whether the truth lies among them.

use crate::calibrated::{self, LEVELS, shares};
use crate::experiment::wppflow::WppFlowTable;
use crate::outcome::Plot;
use smalti_base::metrics::crop;
use smalti_base::{Error, Result, Space};
use smalti_operators::Operator;
use smalti_solvers::calibration::calibration;
use tch::{Kind, Tensor};

/// Side of the square patches whose means are looked at, too.
const PATCH: i64 = 8;

/// Samples `[S, 1, H, W]`, with mean and standard deviation over them (unbiased), `[1, 1, H, W]`.
pub(super) struct Samples {
    pub(super) all: Tensor,
    pub(super) mean: Tensor,
    pub(super) deviation: Tensor,
}

impl Samples {
    pub(super) fn of(all: Tensor) -> Result<Self> {
        let mean = all.f_mean_dim(0i64, true, None::<Kind>)?;
        let deviation = all.f_std_dim(0i64, true, true)?;
        Ok(Self { all, mean, deviation })
    }

    /// Sample `i`, `[1, 1, H, W]`.
    pub(super) fn draw(&self, i: i64) -> Result<Tensor> {
        Ok(self.all.f_narrow(0, i, 1)?)
    }

    /// What is said of them below the table, and of the samples `before` the layer of data consistency. All but the outer
    /// `crop` pixels count.
    pub(super) fn note(
        &self,
        experiment: &WppFlowTable,
        truth: &Tensor,
        observation: &Tensor,
        operator: &dyn Operator,
        before: Option<&Tensor>,
    ) -> Result<String> {
        let border = experiment.crop;
        let seen = (border + experiment.data.factor - 1) / experiment.data.factor;
        let residual = |x: &Tensor| {
            let residual = crop(&operator.apply(x)?.f_sub(observation)?, seen)?;
            Ok::<_, Error>(average(&residual.f_square()?)?.sqrt())
        };
        let (of_draws, of_truth) = (residual(&self.all)?, residual(truth)?);
        let before = match before {
            Some(before) => format!("{:.4} before data consistency, ", residual(before)?),
            None => String::new(),
        };
        let (inner, truth) = (crop(&self.deviation, border)?, crop(truth, border)?);
        let edges = edges(&truth)?;
        let over = |mask: &Tensor| average(&inner.f_masked_select(mask)?);
        let draws = self.all.size()[0];
        // Two independent samples differ by twice the variance on average.
        let apart = (2.0 * average(&inner.f_square()?)?).sqrt();
        let found = calibration(&[truth], &[crop(&self.all, border)?], &LEVELS, PATCH.min(least(&inner)?))?;
        let deviations = match edges.f_any()?.f_int64_value(&[])? {
            0 => format!("{:.4}, no edges", average(&inner)?),
            _ => format!(
                "{:.4} at edges (tenth of the pixels with the largest gradient of the truth), {:.4} elsewhere",
                over(&edges)?,
                over(&edges.f_logical_not()?)?
            ),
        };
        Ok(format!(
            "{draws} draws; residual of the draws {of_draws:.4} ({before}of the truth {of_truth:.4}, noise {}); standard deviation \
             {deviations}; two draws differ by {apart:.4} (root mean square); intervals of 50 / 80 / 90 / 95 % cover {} % of \
             pixels, {} % of means over {PATCH} x {PATCH} pixels",
            experiment.noise,
            shares(&found.pixels),
            shares(&found.patches),
        ))
    }

    /// The calibration curve, for all but the outer `border` pixels of a truth called `label`.
    pub(super) fn calibration(&self, truth: &Tensor, border: i64, label: &str) -> Result<Plot> {
        let (truth, all) = (crop(truth, border)?, crop(&self.all, border)?);
        let mut plot = calibrated::curve(&truth, &all, PATCH.min(least(&truth)?), "means over 8 × 8 pixels")?;
        plot.caption = format!("{label}; {}", plot.caption);
        Ok(plot)
    }

    /// The standard deviation as a picture, black for 0 and white for the second value: what 99.5 % stay below, in
    /// steps of 0.01.
    pub(super) fn picture(&self) -> Result<(Tensor, f64)> {
        let (sorted, _) = self.deviation.f_to_kind(Kind::Double)?.f_flatten(0, -1)?.f_sort(0, false)?;
        let high = sorted.f_double_value(&[(sorted.size()[0] - 1) * 995 / 1000])?;
        let scale = (high * 100.0).ceil().max(1.0) / 100.0;
        Ok((self.deviation.f_div_scalar(scale)?.f_clamp(0.0, 1.0)?, scale))
    }
}

fn average(t: &Tensor) -> Result<f64> {
    Ok(t.f_mean(Kind::Double)?.f_double_value(&[])?)
}

fn least(t: &Tensor) -> Result<i64> {
    let Space { height, width, .. } = Space::of("scored part", t)?;
    Ok(height.min(width))
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

    #[test]
    fn the_picture_has_the_scale_that_it_names() {
        let all = Tensor::from_slice(&[0.4f32, 0.6, 0.5, 0.5]).reshape([2, 1, 1, 2]);
        let samples = Samples::of(all).unwrap();
        let (picture, scale) = samples.picture().unwrap();
        let deviation = picture * scale - &samples.deviation;
        assert!(deviation.abs().max().double_value(&[]) < 0.11 && (0.01..0.16).contains(&scale));
    }
}
