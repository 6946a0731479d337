//! Computed tomography: line integrals along parallel rays or those of a fan.

mod fan_tensors;
mod tensors;

use crate::check::{self, linear};
use crate::{LinearOperator, Operator};
use smalti_base::slices::{self, Buffer};
use smalti_base::{Error, Result, Space, parallel::install};
use smalti_kernels::error::KernelError;
use smalti_kernels::radon::{Beam, Real};
pub use smalti_kernels::radon::{Curve, Detector, FanBeam, Footprint, Geometry, ParallelBeam, Pixels};
use tch::{Device, Kind, Tensor};

/// The projection of an image along the rays of a [`Geometry`], of a [`ParallelBeam`]
///
/// `(A x)[k, j] = int x(s_j cos theta_k - t sin theta_k, s_j sin theta_k + t cos theta_k) dt`
///
/// and of a [`FanBeam`] the same with `theta_k - gamma_j` and `R sin gamma_j` in place of `theta_k` and `s_j`, by
/// Joseph's model, linear interpolation along the rows (or columns) that a ray crosses; see [`smalti_kernels::radon`],
/// also for where pixels and detector lie. Detector pixels wider than image pixels measure the mean over their width
/// ([`Footprint`]), so that every pixel keeps its mass. The adjoint is the exact transpose.
///
/// # Shapes
/// `[B, 1, rows, columns]` to `[B, 1, angles, detector pixels]`.
///
/// # Units
/// Projections are in metres times the unit of the image: for `x = mu / mu_max` in metres.
///
/// # Devices
/// On the CPU the work is done by the kernels, on our own threads; on other devices by tensor operations in chunks of
/// angles, with the same numbers to 1e-5 in float32. Inputs that autograd follows also take the second way. float64 is
/// computed in float64, everything else in float32.
///
/// # Conventions
/// An image that reaches beyond the detector is projected as far as there are rays: the projections are truncated. The
/// construction warns of that once, by `tracing`.
///
/// Values that are not finite stay so in the rays that meet them: what iterates checks its own terms.
///
/// # Example
/// ```
/// use smalti_base::Seed;
/// use smalti_operators::{LinearOperator, Operator, ParallelBeam, Radon};
///
/// let a = Radon::new(ParallelBeam::lodopab().angles(100..900)?); // the limited angle of LoDoPaB
/// let x = Seed::new(1).at("image", 0).uniform(&a.domain().batch(1));
/// let y = a.apply(&x)?;
/// assert_eq!(y.size(), [1, 1, 800, 513]);
/// assert_eq!(a.adjoint(&y)?.size(), [1, 1, 362, 362]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Radon {
    beam: Geometry,
    domain: Space,
    range: Space,
    tensors: bool,
}

impl Radon {
    /// The projection along these rays. Warns where the image leaves the field of view of the detector.
    pub fn new(beam: impl Into<Geometry>) -> Self {
        let beam = beam.into();
        let (domain, range) = spaces(&beam);
        warn_of_truncation(&beam);
        Self { beam, domain, range, tensors: false }
    }

    /// The same operator by tensor operations on every device: what other devices than the CPU get, to compare.
    #[must_use]
    pub fn with_tensors(self) -> Self {
        Self { tensors: true, ..self }
    }

    /// The rays.
    pub fn beam(&self) -> &Geometry {
        &self.beam
    }
}

/// Says where the image leaves the field of view of the detector.
pub(crate) fn warn_of_truncation(beam: &Geometry) {
    let beyond = beam.truncation();
    if beyond > 0.0 {
        tracing::warn!(
            "the image reaches {beyond:.3e} m beyond the detector: its projections are truncated; \
             use a longer detector or a smaller image"
        );
    }
}

/// The images and the sinograms of a geometry.
pub(crate) fn spaces(beam: &Geometry) -> (Space, Space) {
    let Pixels { rows, columns, .. } = beam.pixels();
    let (angles, detectors) = (beam.angle_list().len(), beam.detector().count);
    (Space::image(1, rows as i64, columns as i64), Space::image(1, angles as i64, detectors as i64))
}

/// What the kernels refuse as an error of the library, e.g. a geometry that cannot be.
pub fn refused(e: KernelError) -> Error {
    Error::Value { what: e.what, expected: e.expected, got: e.got }
}

/// Which of the three maps between images and sinograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `A`.
    Forward,
    /// `A^T`.
    Adjoint,
    /// The sum over angles of the projection at a pixel, interpolated, see [`Beam::back_project`].
    BackProject,
}

/// The map `way` of a batch that was checked.
pub(crate) fn map(beam: &Geometry, way: Way, x: &Tensor, tensors: bool) -> Result<Tensor> {
    let (domain, range) = spaces(beam);
    let to = if way == Way::Forward { range } else { domain };
    if x.size()[0] == 0 {
        return Ok(Tensor::f_zeros(to.batch(0), (x.kind(), x.device()))?);
    }
    let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let input = x.f_to_kind(kind)?;
    let output = if tensors || x.device() != Device::Cpu || x.requires_grad() {
        match (beam, way) {
            (Geometry::Parallel(beam), Way::Forward) => tensors::forward(beam, &input)?,
            (Geometry::Parallel(beam), way) => tensors::back(beam, way == Way::Adjoint, &input)?,
            (Geometry::Fan(beam), Way::Forward) => fan_tensors::forward(beam, &input)?,
            (Geometry::Fan(beam), way) => fan_tensors::back(beam, way == Way::Adjoint, &input)?,
        }
    } else if kind == Kind::Double {
        by_kernel::<f64>(beam, way, &input, to)?
    } else {
        by_kernel::<f32>(beam, way, &input, to)?
    };
    Ok(output.f_to_kind(x.kind())?)
}

#[allow(unsafe_code)]
fn by_kernel<T: Real + slices::Float>(beam: &Geometry, way: Way, x: &Tensor, to: Space) -> Result<Tensor> {
    let from = if way == Way::Forward { spaces(beam).0 } else { spaces(beam).1 };
    let input = x.detach().f_contiguous()?;
    let mut output = Buffer::<T>::zeros(&to.batch(x.size()[0]))?;
    let results = &mut *output;
    // SAFETY: until all elements are done, which is the last use of the slice, only new memory is written; and no other
    // thread writes into tensors that it has lent (decision 013).
    let values = unsafe { slices::values::<T>(&input) }?;
    install(|| {
        let elements = values.chunks_exact(from.len() as usize);
        elements.zip(results.chunks_exact_mut(to.len() as usize)).try_for_each(|(x, y)| match way {
            Way::Forward => beam.forward(x, y),
            Way::Adjoint => beam.adjoint(x, y),
            Way::BackProject => beam.back_project(x, y),
        })
    })?
    .map_err(refused)?;
    Ok(output.into_tensor())
}

impl Operator for Radon {
    linear!(domain => range);

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        map(&self.beam, Way::Forward, x, self.tensors)
    }
}

impl LinearOperator for Radon {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("sinogram", v, self.range)?;
        map(&self.beam, Way::Adjoint, v, self.tensors)
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
