//! Projection along parallel rays or those of a fan and its exact transpose, without a stored matrix.
//!
//! # Model
//! Joseph's: the integral along a ray is a sum over the rows that it crosses (columns, for rays flatter than 45 degrees) of
//! the image, interpolated linearly between the two nearest pixels of the row, times the length of the ray between
//! rows. With a [`View`]'s numbers
//!
//! `(A x)[k] = length sum_l (1 - w) x[l, i] + w x[l, i + 1]`, `i + w = origin + per_ray k + per_line l`, `0 <= w < 1`,
//!
//! pixels outside of the image being zero. Detector pixels wider than image pixels would leave pixels between rays out
//! and see others twice: there `(A x)[k]` is the mean of this over `|k' - k| <= 1/2` ([`Footprint::Strip`], after De
//! Man and Basu), and every pixel keeps its mass, `spacing sum_k (A e)[k] = size^2` at every angle of a parallel beam.
//! Each ray of a fan has an `origin`, a `per_line` and a `length` of its own, and the rays of one angle may be steep
//! and flat; all else is the same. [`Beam::adjoint`] is the transpose of exactly this matrix. A projection is a line
//! integral in metres times the unit of the image.
//!
//! # Shapes
//! Images are `rows columns` values row by row, sinograms `angles detectors` values angle by angle.
//!
//! # Precision
//! In float32 positions are exact to `2^-23` of a pixel in both directions, and sums are float32; in float64 everything is.
//! In float32, `|<A x, y> - <x, A^T y>| <= 1e-6 |A| |x| |y|`.
//!
//! # Cost
//! About `0.9 H W` interpolations an angle, and nothing but the image, the sinogram and a padded copy of both in
//! memory. The threads of the current rayon pool share angles (projection) or lines of the image (transpose), so that
//! no two write to the same place, and results do not depend on their number.
//!
//! ```
//! use smalti_kernels::radon::{Beam, Detector, ParallelBeam, Pixels};
//! # fn main() -> Result<(), smalti_kernels::error::KernelError> {
//! let pixels = Pixels { rows: 2, columns: 3, size: 0.1 };
//! let beam = ParallelBeam::new(vec![0.0], pixels, Detector::centred(3, 0.1))?;
//! let mut sinogram = [0.0_f64; 3];
//! beam.forward(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut sinogram)?; // down the columns, 0.1 m in each pixel
//! assert!(sinogram.iter().zip([0.5, 0.7, 0.9]).all(|(a, b)| (a - b).abs() < 1e-12));
//! # Ok(())
//! # }
//! ```
//!
//! # Reference
//! P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Transactions on Medical
//! Imaging 1 (1982), 192-196. B. De Man and S. Basu, "Distance-driven projection and backprojection in three
//! dimensions", Physics in Medicine and Biology 49 (2004), 2463-2475.
//!
//! Reading order: [`geometry`], `crossing`, [`view`], [`fan`], `bundle`, [`any`], `number`, `plane`, `strip`, `scalar`,
//! `wide`, `real`.

pub mod any;
mod bundle;
mod crossing;
pub mod fan;
#[cfg(test)]
mod fan_tests;
pub mod geometry;
mod number;
mod plane;
mod real;
mod scalar;
mod strip;
#[cfg(test)]
mod tests;
pub mod view;
mod wide;

pub use any::Geometry;
pub use fan::{Curve, FanBeam, Ray};
pub use geometry::{Detector, Footprint, ParallelBeam, Pixels};
pub use real::Real;
pub use view::View;

use crate::error::KernelError;
use crate::simd::{Isa, LANES};
use bundle::{Bundle, Fan};
use plane::Plane;
use rayon::prelude::*;
use scalar::Spread;

/// Bundles, mostly one an angle, whose rays are brought back to a line before the next ones are: their rays stay in the
/// cache.
const ANGLES: usize = 16;

/// Lines that a thread takes at a time.
const LINES: usize = 8;

/// A geometry of rays: what projects images, and what is transposed.
#[expect(private_bounds)]
pub trait Beam: Scan {
    /// `A x`: writes the projections of `image`.
    ///
    /// Values that are not finite stay so in the rays that meet them.
    ///
    /// # Errors
    /// [`KernelError`] where a slice has another length than [`Beam::image_len`] or [`Beam::sinogram_len`].
    fn forward<T: Real>(&self, image: &[T], sinogram: &mut [T]) -> Result<(), KernelError> {
        self.check(image, sinogram)?;
        self.forward_with(Isa::V4, image, sinogram);
        Ok(())
    }

    /// `A^T y`: writes the transpose applied to `sinogram`.
    ///
    /// # Errors
    /// Those of [`Beam::forward`].
    fn adjoint<T: Real>(&self, sinogram: &[T], image: &mut [T]) -> Result<(), KernelError> {
        self.check(image, sinogram)?;
        self.back(Isa::V4, Spread::Transpose, sinogram, image);
        Ok(())
    }

    /// Back projection: writes to each pixel the sum over all angles of the projection at the ray through the pixel,
    /// interpolated linearly between detector pixels, 0 beyond them; of fan beams times `(R / U)^2`
    /// ([`FanBeam::seen`]). What filtered back projection ends with; not the transpose.
    ///
    /// # Errors
    /// Those of [`Beam::forward`].
    fn back_project<T: Real>(&self, sinogram: &[T], image: &mut [T]) -> Result<(), KernelError> {
        self.check(image, sinogram)?;
        match self.fan() {
            Some(fan) => fan.interpolate(sinogram, image),
            None => self.back(Isa::V4, Spread::Interpolate, sinogram, image),
        }
        Ok(())
    }

    /// Number of image values, `rows columns`.
    fn image_len(&self) -> usize {
        let Pixels { rows, columns, .. } = self.grid();
        rows * columns
    }

    /// Number of sinogram values, `angles detector pixels`.
    fn sinogram_len(&self) -> usize {
        self.views() * self.rays()
    }
}

impl<S: Scan> Beam for S {}

/// What the kernels ask of a geometry.
trait Scan: Sized + Sync {
    /// The image.
    fn grid(&self) -> Pixels;
    /// Number of angles.
    fn views(&self) -> usize;
    /// Number of detector pixels.
    fn rays(&self) -> usize;
    /// The rays of angle `k`.
    fn bundles(&self, k: usize) -> Vec<Bundle>;
    /// The fan beam that it is.
    fn fan(&self) -> Option<&FanBeam>;

    fn check<T>(&self, image: &[T], sinogram: &[T]) -> Result<(), KernelError> {
        let lengths = [
            ("number of image values", image.len(), self.image_len()),
            ("number of sinogram values", sinogram.len(), self.sinogram_len()),
        ];
        for (what, got, expected) in lengths {
            if got != expected {
                return Err(KernelError::new(what, format!("{expected} for this geometry"), got));
            }
        }
        Ok(())
    }

    fn forward_with<T: Real>(&self, isa: Isa, image: &[T], sinogram: &mut [T]) {
        let views: Vec<Vec<Bundle>> = (0..self.views()).into_par_iter().map(|k| self.bundles(k)).collect();
        let Pixels { rows, columns, .. } = self.grid();
        let any = |transposed| views.iter().flatten().any(|bundle| bundle.transposed() == transposed);
        let by_rows = any(false).then(|| {
            let row = |r: usize, line: &mut [T]| line.copy_from_slice(&image[r * columns..][..columns]);
            Plane::filled(rows, columns, row)
        });
        let by_columns = any(true).then(|| {
            Plane::filled(columns, rows, |c, line: &mut [T]| {
                for (value, row) in line.iter_mut().zip(image.chunks_exact(columns)) {
                    *value = row[c];
                }
            })
        });
        let count = self.rays();
        let work = sinogram.par_chunks_mut(count).zip(&views);
        let buffer = || vec![T::ZERO; count.next_multiple_of(LANES)];
        work.for_each_init(buffer, |rays, (projection, view)| {
            for bundle in view {
                let Some(plane) = (if bundle.transposed() { &by_columns } else { &by_rows }) else { return };
                rays.fill(T::ZERO);
                T::project(isa, bundle, plane, rays);
                for (k, &ray) in rays[..bundle.rays()].iter().enumerate() {
                    projection[bundle.pixel(k)] = T::of(bundle.length(k)) * ray;
                }
            }
        });
    }

    fn back<T: Real>(&self, isa: Isa, spread: Spread, sinogram: &[T], image: &mut [T]) {
        let bundles: Vec<(usize, Bundle)> = (0..self.views())
            .into_par_iter()
            .flat_map_iter(|k| self.bundles(k).into_iter().map(move |bundle| (k, bundle)))
            .collect();
        let Pixels { rows, columns, .. } = self.grid();
        let count = self.rays();
        let rays = Plane::filled(bundles.len(), count, |at, line: &mut [T]| {
            let (k, bundle) = &bundles[at];
            let projection = &sinogram[k * count..][..count];
            for (k, ray) in line[..bundle.rays()].iter_mut().enumerate() {
                let length = if spread == Spread::Transpose { T::of(bundle.length(k)) } else { T::of(1.0) };
                *ray = length * projection[bundle.pixel(k)];
            }
        });
        let side = |transposed: bool, lines, width| {
            let bundles: Vec<(&Bundle, &[T])> = (bundles.iter().enumerate())
                .filter(|(_, (_, bundle))| bundle.transposed() == transposed)
                .map(|(at, (_, bundle))| (bundle, rays.padded(at)))
                .collect();
            let mut plane = Plane::zeros(if bundles.is_empty() { 0 } else { lines }, width);
            let stride = plane.stride();
            plane.groups_mut(LINES).for_each_init(
                || vec![T::ZERO; stride],
                |part, (first, group)| {
                    for bundles in bundles.chunks(ANGLES) {
                        for (l, line) in group.chunks_exact_mut(stride).enumerate() {
                            // Sums of sums round less.
                            part.fill(T::ZERO);
                            T::collect(isa, spread, first + l, bundles, part);
                            for (value, part) in line.iter_mut().zip(&*part) {
                                *value = *value + *part;
                            }
                        }
                    }
                },
            );
            (!bundles.is_empty()).then_some(plane)
        };
        let (by_rows, by_columns) = (side(false, rows, columns), side(true, columns, rows));
        for (r, row) in image.chunks_exact_mut(columns).enumerate() {
            match &by_rows {
                Some(plane) => row.copy_from_slice(plane.values(r)),
                None => row.fill(T::ZERO),
            }
            if let Some(plane) = &by_columns {
                for (c, value) in row.iter_mut().enumerate() {
                    *value = *value + plane.values(c)[r];
                }
            }
        }
    }
}

impl Scan for ParallelBeam {
    fn grid(&self) -> Pixels {
        self.pixels()
    }

    fn views(&self) -> usize {
        self.angle_list().len()
    }

    fn rays(&self) -> usize {
        self.detector().count
    }

    fn bundles(&self, k: usize) -> Vec<Bundle> {
        vec![Bundle::Parallel(self.view(k))]
    }

    fn fan(&self) -> Option<&FanBeam> {
        None
    }
}

impl Scan for FanBeam {
    fn grid(&self) -> Pixels {
        self.pixels()
    }

    fn views(&self) -> usize {
        self.angle_list().len()
    }

    fn rays(&self) -> usize {
        self.detector().count
    }

    fn bundles(&self, k: usize) -> Vec<Bundle> {
        Fan::bundles(self, k)
    }

    fn fan(&self) -> Option<&FanBeam> {
        Some(self)
    }
}
