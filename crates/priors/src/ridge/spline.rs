//! Odd functions that are linear between equidistant knots, and their integrals.

use smalti_base::parallel::Shared;
use smalti_base::{Error, Result};
use tch::{Kind, Tensor};

/// An odd function `psi'` that is linear between the knots `k h`, `|k| <= m`, and constant beyond them, with its integral
/// `psi(t) = integral from 0 to t`, which is even, quadratic between the knots and 0 in 0.
#[derive(Debug)]
pub(super) struct OddSpline {
    /// At the `n = 2 m + 1` knots, in float64 as all of these.
    values: Tensor,
    /// What is added from a knot to the next one, `n - 1` numbers.
    rises: Tensor,
    /// The integral at the knots.
    integrals: Tensor,
    /// Distance of neighbouring knots.
    spacing: f64,
    /// The least and the largest slope.
    slopes: (f64, f64),
}

/// The function of published coefficients: the slopes between the knots are cut off at 0 and 1, those of the first and the last piece
/// are 0, and those of mirrored pieces are averaged, which makes it odd.
pub(super) fn projected(coefficients: &[f64], spacing: f64) -> Vec<f64> {
    let rises: Vec<f64> =
        coefficients.windows(2).map(|pair| (pair[1] - pair[0]).clamp(0.0, spacing)).collect();
    let (pieces, half) = (rises.len(), coefficients.len() / 2);
    let inner = |piece: usize| if piece == 0 || piece + 1 == pieces { 0.0 } else { rises[piece] };
    let mut values = vec![0.0; coefficients.len()];
    for k in 1..=half {
        let piece = half + k - 1;
        let rise = 0.5 * (inner(piece) + inner(pieces - 1 - piece));
        values[half + k] = values[half + k - 1] + rise;
        values[half - k] = -values[half + k];
    }
    values
}

impl OddSpline {
    /// With these values at the knots: an odd number of them, mirrored with the other sign.
    pub(super) fn new(values: &[f64], spacing: f64) -> Self {
        let rises: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let half = values.len() / 2;
        let mut integrals = vec![0.0; values.len()];
        for k in 1..=half {
            let area = 0.5 * spacing * (values[half + k - 1] + values[half + k]);
            integrals[half + k] = integrals[half + k - 1] + area;
            integrals[half - k] = integrals[half + k];
        }
        // Beyond the knots it is constant.
        let (least, largest) =
            rises.iter().fold((0.0, 0.0), |(low, high): (f64, f64), &rise| (low.min(rise), high.max(rise)));
        Self {
            values: Tensor::from_slice(values),
            rises: Tensor::from_slice(&rises),
            integrals: Tensor::from_slice(&integrals),
            spacing,
            slopes: (least / spacing, largest / spacing),
        }
    }

    /// The least and the largest slope of `psi'`: bounds of the second derivative of `psi`.
    pub(super) fn slopes(&self) -> (f64, f64) {
        self.slopes
    }

    /// What [`Tables::evaluate`] needs, in the dtype and on the device of `x`.
    pub(super) fn tables(&self, x: &Tensor) -> Result<Tables> {
        let like = |t: &Tensor| Ok::<_, Error>(Shared::new(t.f_to_device(x.device())?.f_to_kind(x.kind())?));
        let [values, rises, integrals] = [like(&self.values)?, like(&self.rises)?, like(&self.integrals)?];
        Ok(Tables { values, rises, integrals, spacing: self.spacing })
    }
}

/// The numbers of an [`OddSpline`] where they are needed, readable by several threads.
#[derive(Debug)]
pub(super) struct Tables {
    values: Shared<Tensor>,
    rises: Shared<Tensor>,
    integrals: Shared<Tensor>,
    spacing: f64,
}

impl Tables {
    /// `psi'(t)` and `psi(t)`, of the shape of `t`.
    pub(super) fn evaluate(&self, t: &Tensor) -> Result<(Tensor, Tensor)> {
        let last = self.rises.size()[0];
        // In units of the spacing, from the first knot on.
        let mut u = t.f_div_scalar(self.spacing)?.f_add_scalar_((last / 2) as f64)?;
        let inside = u.f_clamp(0.0, last as f64)?;
        let beyond = u.f_sub_(&inside)?;
        let piece = inside.f_floor()?.f_clamp_max_((last - 1) as f64)?;
        let share = inside.f_sub(&piece)?;
        let piece = piece.f_to_kind(Kind::Int64)?;
        let (mut left, rise) = (self.values.f_take(&piece)?, self.rises.f_take(&piece)?);
        let slope = left.f_addcmul(&share, &rise)?;
        // The trapezium from the knot on, and the rectangle beyond the last one.
        let mut area = left.f_add_(&slope)?.f_mul_(&share)?.f_mul_scalar_(0.5)?;
        let mut area = area.f_addcmul_(&beyond, &slope)?.f_mul_scalar_(self.spacing)?;
        Ok((slope, area.f_add_(&self.integrals.f_take(&piece)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, one number at a time.
    fn by_hand(values: &[f64], spacing: f64, t: f64) -> f64 {
        let half = (values.len() / 2) as f64;
        let u = (t / spacing + half).clamp(0.0, 2.0 * half);
        let piece = (u.floor() as usize).min(values.len() - 2);
        let share = u - piece as f64;
        values[piece] * (1.0 - share) + values[piece + 1] * share
    }

    const VALUES: [f64; 7] = [-0.5, -0.7, -0.2, 0.0, 0.2, 0.7, 0.5];

    #[test]
    fn values_and_integrals_are_those_of_the_definition() {
        let spline = OddSpline::new(&VALUES, 0.25);
        assert_eq!(spline.slopes(), (-0.2 / 0.25, 0.5 / 0.25));
        let t = Tensor::linspace(-2.0, 2.0, 401, tch::kind::DOUBLE_CPU);
        let (value, integral) = spline.tables(&t).unwrap().evaluate(&t).unwrap();
        for (k, t) in Vec::<f64>::try_from(&t).unwrap().into_iter().enumerate() {
            let k = k as i64;
            assert!((value.double_value(&[k]) - by_hand(&VALUES, 0.25, t)).abs() < 1e-14, "{t}");
            // The integral by many short midpoints.
            let n = 20_000;
            let step = t / f64::from(n);
            let sum: f64 =
                (0..n).map(|i| by_hand(&VALUES, 0.25, (f64::from(i) + 0.5) * step)).sum::<f64>() * step;
            assert!((integral.double_value(&[k]) - sum).abs() < 1e-7, "{t}: {sum}");
        }
        let zero = Tensor::zeros([1], tch::kind::FLOAT_CPU);
        let (value, integral) = spline.tables(&zero).unwrap().evaluate(&zero).unwrap();
        assert_eq!((value.double_value(&[0]), integral.double_value(&[0])), (0.0, 0.0));
    }

    #[test]
    fn published_coefficients_are_projected() {
        // Rises of 3, -1, 0.5, 0.25, 0.5, 9, at a spacing of 1.
        let projected = projected(&[0.0, 3.0, 2.0, 2.5, 2.75, 3.25, 12.25], 1.0);
        // Cut off 0, 0, 0.5 | 0.25, 0.5, 0; mirrored pieces averaged.
        let expected = [-0.625, -0.625, -0.375, 0.0, 0.375, 0.625, 0.625];
        assert!(projected.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{projected:?}");
    }
}
