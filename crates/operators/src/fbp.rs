//! Filtered back projection.

use crate::check;
use crate::radon::{Way, map, spaces, warn_of_truncation};
use smalti_base::{Error, Result};
use smalti_kernels::radon::ParallelBeam;
use std::f64::consts::PI;
use tch::{Kind, Tensor};

/// By what the ramp `|f|` is multiplied at the frequency `f`, where `r = f / (frequency scaling x Nyquist)` is at most 1;
/// above it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// 1: exact, and loudest.
    RamLak,
    /// `sin(pi r / 2) / (pi r / 2)`.
    SheppLogan,
    /// `cos(pi r / 2)`.
    Cosine,
    /// `0.54 + 0.46 cos(pi r)`.
    Hamming,
    /// `cos^2(pi r / 2) = 0.5 + 0.5 cos(pi r)`.
    Hann,
}

impl Filter {
    fn window(self, r: f64) -> f64 {
        match self {
            _ if r > 1.0 => 0.0,
            Self::RamLak => 1.0,
            Self::SheppLogan if r == 0.0 => 1.0,
            Self::SheppLogan => (0.5 * PI * r).sin() / (0.5 * PI * r),
            Self::Cosine => (0.5 * PI * r).cos(),
            Self::Hamming => 0.54 + 0.46 * (PI * r).cos(),
            Self::Hann => 0.5 + 0.5 * (PI * r).cos(),
        }
    }
}

/// Filtered back projection of parallel-beam sinograms:
///
/// `x = sum_k w_k q_k(x cos theta_k + y sin theta_k)`, `q_k = spacing (h * y_k)`,
///
/// where `h` is the band-limited ramp sampled at the detector pixels, `h[0] = 1 / (4 spacing^2)`,
/// `h[n] = -1 / (pi n spacing)^2` for odd `n` and 0 for even ones, times a [`Filter`] in the frequency domain, and `q_k` is
/// interpolated linearly. Projections are padded by zeros to the next power of two of at least twice their length, so that the
/// convolution does not wrap around. The sampled ramp (and not `|f|` itself) is what makes absolute values right.
///
/// # Shapes
/// `[B, 1, angles, detector pixels]` to `[B, 1, rows, columns]`, in dtype and on the device of the sinogram.
///
/// # Units
/// Projections in metres times the unit of the image give images in that unit.
///
/// # Weights of angles
/// `w_k` is half of the gaps to the two neighbours of `theta_k` modulo `pi`, in radians: all weights add up to `pi` where the half turn
/// is covered. A gap of more than three times the median is an angle range that was not measured, and counts as the median: what
/// a limited angle of 800 of 1000 midpoints leaves has weights `pi / 1000`, as in the full set, and is not made
/// brighter for what is missing.
///
/// # Errors
/// [`Error::Shape`] for another shape, [`Error::Value`] for values that are not finite.
///
/// # Example
/// ```
/// use smalti_operators::{Fbp, Filter, Operator, ParallelBeam, Radon};
/// use tch::{Device, Kind, Tensor};
///
/// let a = Radon::new(ParallelBeam::lodopab_sized(64));
/// let x = Tensor::zeros(a.domain().batch(1), (Kind::Float, Device::Cpu));
/// let _ = x.narrow(2, 20, 24).narrow(3, 16, 32).fill_(0.7);
/// let fbp = Fbp::new(a.beam().clone(), Filter::Hann, 0.641025641)?; // that of LoDoPaB
/// let error = fbp.apply(&a.apply(&x)?)?.get(0).get(0).double_value(&[32, 32]) - 0.7;
/// assert!(error.abs() < 0.01);
/// # Ok::<(), smalti_base::Error>(())
/// ```
///
/// # Reference
/// Kak and Slaney, "Principles of computerized tomographic imaging" (1988), section 3.3.3, equation (61).
#[derive(Debug)]
pub struct Fbp {
    beam: ParallelBeam,
    /// What the transformed projections are multiplied by: `[padded / 2 + 1]`, float64.
    response: Tensor,
    /// `[angles, 1]`, float64.
    weights: Tensor,
    padded: i64,
    tensors: bool,
}

impl Fbp {
    /// The frequency scaling that goes with [`Filter::Hann`] in the baseline of LoDoPaB-CT.
    pub const LODOPAB_SCALING: f64 = 0.641_025_641;

    /// Reconstruction from the rays of `beam`; `frequency_scaling` is the highest frequency kept, as a share of that of the
    /// detector pixels.
    ///
    /// # Errors
    /// [`Error::Value`] where the frequency scaling is not in `(0, 1]`.
    pub fn new(beam: ParallelBeam, filter: Filter, frequency_scaling: f64) -> Result<Self> {
        if !(frequency_scaling > 0.0 && frequency_scaling <= 1.0) {
            let expected = "a share of the highest frequency, above 0 and at most 1";
            return Err(Error::value("frequency scaling", expected, frequency_scaling));
        }
        warn_of_truncation(&beam);
        let detector = beam.detector();
        let padded = (2 * detector.count).next_power_of_two();
        let ramp = |k: usize| {
            let n = k.min(padded - k) as f64;
            match k {
                0 => 0.25 / detector.spacing,
                _ if k.is_multiple_of(2) => 0.0,
                _ => -1.0 / (PI * PI * n * n * detector.spacing),
            }
        };
        let ramp: Vec<f64> = (0..padded).map(ramp).collect();
        let windows: Vec<f64> = (0..=padded / 2)
            .map(|k| filter.window(2.0 * k as f64 / padded as f64 / frequency_scaling))
            .collect();
        let spectrum = Tensor::f_from_slice(&ramp)?.f_fft_rfft(None, -1, "backward")?.f_real()?;
        let response = spectrum.f_mul(&Tensor::f_from_slice(&windows)?)?;
        let weights = Tensor::f_from_slice(&angle_weights(beam.angle_list()))?.f_unsqueeze(1)?;
        Ok(Self { beam, response, weights, padded: padded as i64, tensors: false })
    }

    /// The same by tensor operations on every device, see [`crate::Radon::with_tensors`].
    #[must_use]
    pub fn with_tensors(self) -> Self {
        Self { tensors: true, ..self }
    }

    /// The reconstruction from `sinogram`.
    ///
    /// # Errors
    /// Those of the type.
    pub fn apply(&self, sinogram: &Tensor) -> Result<Tensor> {
        let (_, range) = spaces(&self.beam);
        check::element("sinogram", sinogram, range)?;
        let finite = sinogram.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0;
        if !finite {
            let expected = "finite line integrals (mend the measurement; rays without counts need a floor)";
            return Err(Error::value("sinogram", expected, "NaN or infinite values"));
        }
        if sinogram.size()[0] == 0 {
            // Which no Fourier transform takes.
            return map(&self.beam, Way::BackProject, sinogram, self.tensors);
        }
        let kind = if sinogram.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let like = |t: &Tensor| t.f_to_kind(kind)?.f_to_device(sinogram.device());
        let spectrum = sinogram.f_to_kind(kind)?.f_fft_rfft(self.padded, -1, "backward")?;
        let filtered = spectrum.f_mul(&like(&self.response)?)?.f_fft_irfft(self.padded, -1, "backward")?;
        let weighted = filtered.f_narrow(3, 0, range.width)?.f_mul(&like(&self.weights)?)?;
        Ok(map(&self.beam, Way::BackProject, &weighted, self.tensors)?.f_to_kind(sinogram.kind())?)
    }
}

/// Half of the gaps on either side of every angle, modulo `pi`, gaps of more than three medians cut to the median.
fn angle_weights(angles: &[f64]) -> Vec<f64> {
    let folded: Vec<f64> = angles.iter().map(|angle| angle.rem_euclid(PI)).collect();
    let mut order: Vec<usize> = (0..angles.len()).collect();
    order.sort_by(|&a, &b| folded[a].total_cmp(&folded[b]));
    let n = order.len();
    // The gap after the i-th angle in order; the last one leads round to the first.
    let mut gaps: Vec<f64> = (0..n)
        .map(|i| match order.get(i + 1) {
            Some(&next) => folded[next] - folded[order[i]],
            None => folded[order[0]] + PI - folded[order[i]],
        })
        .collect();
    // Directions that were measured twice do not count twice.
    let mut different: Vec<f64> = gaps.iter().copied().filter(|gap| *gap > 1e-9).collect();
    different.sort_by(f64::total_cmp);
    let median = different.get(different.len() / 2).copied().unwrap_or(PI);
    for gap in &mut gaps {
        if *gap > 3.0 * median {
            *gap = median;
        }
    }
    let mut weights = vec![0.0; n];
    for (i, &k) in order.iter().enumerate() {
        weights[k] = 0.5 * (gaps[i] + gaps[(i + n - 1) % n]);
    }
    weights
}

#[cfg(test)]
#[path = "fbp_tests.rs"]
mod tests;
