//! Filtered back projection.

mod extrapolation;
mod half;
mod shares;

use crate::check;
use crate::radon::{Way, map, refused, spaces, warn_of_truncation};
use half::HalfAcquisition;
use shares::Shares;
use smalti_base::{Error, Result};
use smalti_kernels::radon::ParallelBeam;
use std::f64::consts::PI;
use std::sync::Once;
use tch::{Device, Kind, Tensor};

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
/// `w_k` is half of the gaps to the two neighbours of `theta_k` modulo `pi`, in radians; views of one direction, also from the
/// opposite side, share alike: all weights add up to `pi` where the half turn is covered, over whatever range and
/// however unevenly. A gap that is not reached from the median gap in steps of a factor of at most three is an angle
/// range that was not measured, where it is the only one or there are at least eight directions to each, and counts as
/// the median: what a limited angle of 800 of 1000 midpoints leaves has weights `pi / 1000`, as in the full set, and is
/// not made brighter for what is missing. The first reconstruction names such ranges, and uneven gaps of more than 4
/// degrees, in one warning.
///
/// # Half acquisition
/// Where the views cover the whole turn, the axis of rotation lies aside of the detector's middle, and the image
/// reaches beyond the detector's shorter side, rays on the longer side are measured once only, and those near the axis
/// twice. Then projections are multiplied by `W(s) = sin^2(pi/4 (1 + s / b))` before they are filtered, `b` being what
/// both sides have (`s` counts towards the longer one; 0 and 1 beyond), `w_k` are shares of the whole turn, and `q_k`
/// is evaluated as far on the shorter side as on the longer one: every ray counts once, `W(s) + W(-s) = 1`.
///
/// # Truncated projections
/// A projection that does not fall to about zero at an end of the detector (a mean there above 5 % of its largest
/// value, and above six standard errors of the noise) goes on beyond it as half an ellipse of its own curvature before
/// it is filtered: zeros there would make the image bright towards its rim. Values near the detector's ends remain
/// approximate. Data without such projections are filtered as they are.
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
/// Kak and Slaney, "Principles of computerized tomographic imaging" (1988), section 3.3.3, equation (61). Weights of
/// rays that were measured twice: Parker, "Optimal short scan convolution reconstruction for fanbeam CT", Medical
/// Physics 9 (1982), 254-257; Wang, "X-ray micro-CT with a displaced detector array", Medical Physics 29 (2002),
/// 1634-1636.
#[derive(Debug)]
pub struct Fbp {
    beam: ParallelBeam,
    ramp: Ramp,
    /// `[angles, 1]`, float64.
    weights: Tensor,
    /// Rays beyond the detector's shorter side.
    half: Option<(HalfAcquisition, ParallelBeam)>,
    /// What there is to say about gaps between angles, and whether it was.
    gaps: Option<String>,
    said: Once,
    tensors: bool,
}

/// The filter for projections of one length.
#[derive(Debug)]
struct Ramp {
    filter: Filter,
    frequency_scaling: f64,
    spacing: f64,
    /// What the transformed projections are multiplied by: `[padded / 2 + 1]`, float64.
    response: Tensor,
    padded: i64,
}

impl Ramp {
    fn new(filter: Filter, frequency_scaling: f64, spacing: f64, length: usize) -> Result<Self> {
        let padded = (2 * length).next_power_of_two();
        let ramp = |k: usize| {
            let n = k.min(padded - k) as f64;
            match k {
                0 => 0.25 / spacing,
                _ if k.is_multiple_of(2) => 0.0,
                _ => -1.0 / (PI * PI * n * n * spacing),
            }
        };
        let ramp: Vec<f64> = (0..padded).map(ramp).collect();
        let windows: Vec<f64> = (0..=padded / 2)
            .map(|k| filter.window(2.0 * k as f64 / padded as f64 / frequency_scaling))
            .collect();
        let spectrum = Tensor::f_from_slice(&ramp)?.f_fft_rfft(None, -1, "backward")?.f_real()?;
        let response = spectrum.f_mul(&Tensor::f_from_slice(&windows)?)?;
        Ok(Self { filter, frequency_scaling, spacing, response, padded: padded as i64 })
    }

    /// The filtered rows, `padded` values each of which the first ones are those of the rows.
    fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        let response = self.response.f_to_kind(rows.kind())?.f_to_device(rows.device())?;
        let spectrum = rows.f_fft_rfft(self.padded, -1, "backward")?;
        Ok(spectrum.f_mul(&response)?.f_fft_irfft(self.padded, -1, "backward")?)
    }
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
        let detector = beam.detector();
        let ramp = Ramp::new(filter, frequency_scaling, detector.spacing, detector.count)?;
        let shares = Shares::of(beam.angle_list(), PI);
        let half = HalfAcquisition::of(&beam).map(|half| {
            let completed = half.completed(detector);
            ParallelBeam::new(beam.angle_list().to_vec(), beam.pixels(), completed)
                .map(|completed| (half, completed))
                .map_err(refused)
        });
        let half = half.transpose()?;
        warn_of_truncation(half.as_ref().map_or(&beam, |(_, completed)| completed));
        let weights = half.as_ref().map_or(&shares.weights, |(half, _)| &half.shares);
        let weights = Tensor::f_from_slice(weights)?.f_unsqueeze(1)?;
        Ok(Self { beam, ramp, weights, half, gaps: shares.warning(), said: Once::new(), tensors: false })
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
        if let Some(gaps) = &self.gaps {
            self.said.call_once(|| tracing::warn!("filtered back projection: {gaps}"));
        }
        let rows = sinogram.f_to_kind(kind)?;
        let filtered = match self.extended(&rows)? {
            None => self.ramp.apply(&rows)?.f_narrow(3, 0, range.width)?,
            Some(rows) => self.filtered(&rows)?,
        };
        let weighted = filtered.f_mul(&self.weights.f_to_kind(kind)?.f_to_device(sinogram.device())?)?;
        let beam = self.half.as_ref().map_or(&self.beam, |(_, completed)| completed);
        Ok(map(beam, Way::BackProject, &weighted, self.tensors)?.f_to_kind(sinogram.kind())?)
    }

    /// Projections with as many values again at both ends, where some go on there or those of a half acquisition have to.
    fn extended(&self, rows: &Tensor) -> Result<Option<Tensor>> {
        let count = self.beam.detector().count;
        let values = rows.detach().f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_flatten(0, -1)?;
        let values = Vec::<f64>::try_from(&values)?;
        let beyond = match extrapolation::beyond(&values, count, count) {
            Some(ends) => ends,
            None if self.half.is_none() => return Ok(None),
            None => return Ok(Some(rows.f_constant_pad_nd([count as i64, count as i64])?)),
        };
        let mut size = rows.size();
        let ends = beyond.map(|end| {
            size[3] = count as i64;
            Tensor::f_from_slice(&end)?.f_reshape(&size)?.f_to_kind(rows.kind())?.f_to_device(rows.device())
        });
        let [left, right] = ends;
        Ok(Some(Tensor::f_cat(&[&left?, rows, &right?], 3)?))
    }

    /// The filtered part of [`Fbp::extended`] projections that is projected back.
    fn filtered(&self, rows: &Tensor) -> Result<Tensor> {
        let detector = self.beam.detector();
        let count = detector.count;
        let Ramp { filter, frequency_scaling, spacing, .. } = self.ramp;
        let ramp = Ramp::new(filter, frequency_scaling, spacing, 3 * count)?;
        let Some((half, completed)) = &self.half else {
            return Ok(ramp.apply(rows)?.f_narrow(3, count as i64, count as i64)?);
        };
        let place = |i: usize| detector.position(i as f64 - count as f64);
        let once: Vec<f64> = (0..3 * count).map(|i| half.weight(place(i))).collect();
        let once = Tensor::f_from_slice(&once)?.f_to_kind(rows.kind())?.f_to_device(rows.device())?;
        let first = if half.side > 0.0 { count - half.lacking } else { count };
        let filtered = ramp.apply(&rows.f_mul(&once)?)?;
        Ok(filtered.f_narrow(3, first as i64, completed.detector().count as i64)?)
    }
}

#[cfg(test)]
#[path = "fbp_tests.rs"]
mod tests;
