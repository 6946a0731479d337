//! Filtered back projection.

mod extrapolation;
mod half;
mod redundancy;
mod shares;

use crate::check;
use crate::radon::{Way, map, refused, spaces, warn_of_truncation};
use half::HalfAcquisition;
use redundancy::Redundancy;
use shares::Shares;
use smalti_base::{Error, Result};
use smalti_kernels::radon::{Curve, FanBeam, Geometry, ParallelBeam};
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

/// Filtered back projection. For parallel beams,
///
/// `x = sum_k w_k q_k(x cos theta_k + y sin theta_k)`, `q_k = spacing (h * y_k)`,
///
/// where `h` is the band-limited ramp sampled at the detector pixels, `h[0] = 1 / (4 spacing^2)`, `h[n] = -1 / (pi n
/// spacing)^2` for odd `n` and 0 for even ones, times a [`Filter`] in the frequency domain, and `q_k` is interpolated
/// linearly. Projections are padded by zeros to the next power of two of at least twice their length, so that the
/// convolution does not wrap around. The sampled ramp (and not `|f|` itself) is what makes absolute values right.
///
/// # Shapes
/// `[B, 1, angles, detector pixels]` to `[B, 1, rows, columns]`, in dtype and on the device of the sinogram.
///
/// # Units
/// Projections in metres times the unit of the image give images in that unit.
///
/// # Weights of angles
/// `w_k` is half of the gaps to the two neighbours of `theta_k` modulo `pi`, in radians; views of one direction, also
/// from the opposite side, share alike: all weights add up to `pi` where the half turn is covered, over whatever range
/// and however unevenly. A gap that is not reached from the median gap in steps of a factor of at most three is an
/// angle range that was not measured, where it is the only one or there are at least eight directions to each, and
/// counts as the median: what a limited angle of 800 of 1000 midpoints leaves has weights `pi / 1000`, as in the full
/// set, and is not made brighter for what is missing. The first reconstruction names such ranges, and uneven gaps of
/// more than 4 degrees, in one warning.
///
/// # Half acquisition
/// Where the views cover the whole turn, the axis of rotation lies aside of the detector's middle, and the image
/// reaches beyond the detector's shorter side, rays on the longer side are measured once only, and those near the axis
/// twice. Then projections are multiplied by `W(s) = sin^2(pi/2 e(s) / (e(s) + e(-s)))` before they are filtered, `e`
/// being the distance from the nearer end of the detector, `w_k` are shares of the whole turn, and `q_k` is evaluated
/// as far on the shorter side as on the longer one: every ray counts once, `W(s) + W(-s) = 1`.
///
/// # Truncated projections
/// A projection that does not fall to about zero at an end of the detector (a mean there above 5 % of its largest
/// value, and above six standard errors of the noise) goes on beyond it as half an ellipse of its own curvature before
/// it is filtered: zeros there would make the image bright towards its rim. Values near the detector's ends remain
/// approximate. Data without such projections are filtered as they are.
///
/// # Fan beams
/// Projections are multiplied by `cos gamma` and by their rays' shares `W`, filtered, and projected back with `(R /
/// U)^2`, [`FanBeam::seen`]; `w_k` are shares of the whole turn. For a flat detector the ramp is that of its pixels as
/// seen where the axis of rotation lies; for a curved one, of pixels `alpha` wide as seen from the source, `h[n]` is
/// multiplied by `(n alpha / sin(n alpha))^2` and projections by `1 / R`. The two rays of a line share, `W + W' = 1`: a
/// whole turn has 1/2, a scan of 180 degrees and the fan has Parker's weights, a longer one Silver's, and a half
/// acquisition Wang's.
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
/// Kak and Slaney, "Principles of computerized tomographic imaging" (1988), section 3.3.3, equation (61), and sections
/// 3.4.1 and 3.4.2 for fans. Weights of rays that were measured twice: Parker, "Optimal short scan convolution
/// reconstruction for fanbeam CT", Medical Physics 9 (1982), 254-257; Silver, "A method for including redundant data in
/// computed tomography", Medical Physics 27 (2000), 773-774; Wang, "X-ray micro-CT with a displaced detector array",
/// Medical Physics 29 (2002), 1634-1636.
#[derive(Debug)]
pub struct Fbp {
    beam: Geometry,
    ramp: Ramp,
    /// What projections are multiplied by before they are filtered, also beyond either end of the detector: `[angles or 1,
    /// 3 detector pixels]`, float64.
    before: Option<Tensor>,
    /// `[angles, 1]`, float64.
    weights: Tensor,
    /// Rays beyond the detector's shorter side.
    half: Option<(HalfAcquisition, Geometry)>,
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
    sampling: Sampling,
    /// What the transformed projections are multiplied by: `[padded / 2 + 1]`, float64.
    response: Tensor,
    padded: i64,
}

/// What lies between neighbouring detector pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sampling {
    /// Metres where the axis of rotation lies.
    Distances(f64),
    /// An angle seen from the source, in radians.
    Angles(f64),
}

impl Sampling {
    fn of(beam: &Geometry) -> Self {
        let spacing = beam.detector().spacing;
        match beam {
            Geometry::Parallel(_) => Self::Distances(spacing),
            Geometry::Fan(fan) => match fan.curve() {
                Curve::Flat => Self::Distances(spacing * fan.source_origin() / fan.source_detector()),
                Curve::Curved => Self::Angles(spacing / fan.source_detector()),
            },
        }
    }

    /// The sampled ramp times the spacing, `n` pixels from its middle.
    fn ramp(self, n: usize) -> f64 {
        let (Self::Distances(spacing) | Self::Angles(spacing)) = self;
        if n == 0 {
            return 0.25 / spacing;
        }
        if n.is_multiple_of(2) {
            return 0.0;
        }
        let number = n as f64;
        match self {
            Self::Distances(spacing) => -1.0 / (PI * PI * number * number * spacing),
            // No two rays of a fan are as far apart.
            Self::Angles(spacing) if number * spacing > 0.98 * PI => 0.0,
            Self::Angles(spacing) => -spacing / (PI * (number * spacing).sin()).powi(2),
        }
    }
}

impl Ramp {
    fn new(filter: Filter, frequency_scaling: f64, sampling: Sampling, length: usize) -> Result<Self> {
        let padded = (2 * length).next_power_of_two();
        let ramp: Vec<f64> = (0..padded).map(|k| sampling.ramp(k.min(padded - k))).collect();
        let windows: Vec<f64> = (0..=padded / 2)
            .map(|k| filter.window(2.0 * k as f64 / padded as f64 / frequency_scaling))
            .collect();
        let spectrum = Tensor::f_from_slice(&ramp)?.f_fft_rfft(None, -1, "backward")?.f_real()?;
        let response = spectrum.f_mul(&Tensor::f_from_slice(&windows)?)?;
        Ok(Self { filter, frequency_scaling, sampling, response, padded: padded as i64 })
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
    pub fn new(beam: impl Into<Geometry>, filter: Filter, frequency_scaling: f64) -> Result<Self> {
        let beam = beam.into();
        if !(frequency_scaling > 0.0 && frequency_scaling <= 1.0) {
            let expected = "a share of the highest frequency, above 0 and at most 1";
            return Err(Error::value("frequency scaling", expected, frequency_scaling));
        }
        let detector = beam.detector();
        let ramp = Ramp::new(filter, frequency_scaling, Sampling::of(&beam), detector.count)?;
        let half = HalfAcquisition::of(&beam).map(|half| {
            let completed = half.completed(detector);
            let completed = match &beam {
                Geometry::Parallel(beam) => {
                    ParallelBeam::new(beam.angle_list().to_vec(), beam.pixels(), completed)
                        .map(Geometry::from)
                }
                Geometry::Fan(beam) => beam.with_detector(completed).map(Geometry::from),
            };
            completed.map(|completed| (half, completed)).map_err(refused)
        });
        let half = half.transpose()?;
        warn_of_truncation(half.as_ref().map_or(&beam, |(_, completed)| completed));
        let once = half.as_ref().map(|(half, _)| half);
        // From a detector's length before it to one behind it.
        let places = (0..3 * detector.count).map(|i| i as f64 - detector.count as f64);
        let (shares, before, gaps) = match &beam {
            Geometry::Parallel(beam) => {
                let shares = Shares::of(beam.angle_list(), PI);
                let gaps = shares.warning();
                let before = once.map(|half| places.map(|j| half.weight(detector.position(j))).collect());
                (once.map_or(shares.weights, |half| half.shares.clone()), before, gaps)
            }
            Geometry::Fan(fan) => {
                let redundancy = Redundancy::of(fan);
                let before = fan_weights(fan, &redundancy, &places.collect::<Vec<f64>>(), once);
                let gaps = redundancy.warning(fan);
                (redundancy.turn.weights, Some(before), gaps)
            }
        };
        let before = before.map(|before: Vec<f64>| {
            Tensor::f_from_slice(&before)?.f_reshape([-1, 3 * detector.count as i64])
        });
        let (before, weights) = (before.transpose()?, Tensor::f_from_slice(&shares)?.f_unsqueeze(1)?);
        Ok(Self { beam, ramp, before, weights, half, gaps, said: Once::new(), tensors: false })
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
        // Image by image: what is said of one shall not depend on the others.
        let images = (0..rows.size()[0]).map(|b| self.filtered(&rows.f_narrow(0, b, 1)?));
        let filtered = Tensor::f_cat(&images.collect::<Result<Vec<_>>>()?, 0)?;
        let weighted = filtered.f_mul(&self.weights.f_to_kind(kind)?.f_to_device(sinogram.device())?)?;
        let beam = self.half.as_ref().map_or(&self.beam, |(_, completed)| completed);
        Ok(map(beam, Way::BackProject, &weighted, self.tensors)?.f_to_kind(sinogram.kind())?)
    }

    /// Projections of one image with as many values again at both ends, where some go on there or those of a half
    /// acquisition have to.
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

    /// What is projected back of the projections of one image, but for the views' weights.
    fn filtered(&self, rows: &Tensor) -> Result<Tensor> {
        let detector = self.beam.detector();
        let count = detector.count as i64;
        let before = match &self.before {
            Some(before) => Some(before.f_to_kind(rows.kind())?.f_to_device(rows.device())?),
            None => None,
        };
        let Some(extended) = self.extended(rows)? else {
            return match before {
                None => Ok(self.ramp.apply(rows)?.f_narrow(3, 0, count)?),
                Some(before) => {
                    let rows = rows.f_mul(&before.f_narrow(1, count, count)?)?;
                    Ok(self.ramp.apply(&rows)?.f_narrow(3, 0, count)?)
                }
            };
        };
        let Ramp { filter, frequency_scaling, sampling, .. } = self.ramp;
        let ramp = Ramp::new(filter, frequency_scaling, sampling, 3 * detector.count)?;
        let filtered = match before {
            None => ramp.apply(&extended)?,
            Some(before) => ramp.apply(&extended.f_mul(&before)?)?,
        };
        let Some((half, completed)) = &self.half else { return Ok(filtered.f_narrow(3, count, count)?) };
        let first = if half.side > 0.0 { count - half.lacking as i64 } else { count };
        Ok(filtered.f_narrow(3, first, completed.detector().count as i64)?)
    }
}

/// What the projections of a fan beam are multiplied by at some places of the detector: view by view.
fn fan_weights(
    fan: &FanBeam,
    redundancy: &Redundancy,
    places: &[f64],
    half: Option<&HalfAcquisition>,
) -> Vec<f64> {
    let scale = match fan.curve() {
        Curve::Flat => 1.0,
        Curve::Curved => 1.0 / fan.source_origin(),
    };
    let weight = |theta: f64, j: f64| {
        let (gamma, u) = (fan.fan_angle(j), fan.detector().position(j));
        // An arc beyond its ends might lead behind the source.
        if gamma.abs() > FanBeam::WIDEST {
            return 0.0;
        }
        scale * gamma.cos() * redundancy.weight(theta, gamma, u, half)
    };
    fan.angle_list()
        .iter()
        .flat_map(|&theta| places.iter().map(move |&j| (theta, j)))
        .map(|(t, j)| weight(t, j))
        .collect()
}

#[cfg(test)]
#[path = "fbp_tests.rs"]
mod tests;
