//! Parallel-beam projection and its exact transpose, without a stored matrix.
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
//! Man and Basu), and every pixel keeps its mass, `spacing sum_k (A e)[k] = size^2` at every angle.
//! [`ParallelBeam::adjoint`] is the transpose of exactly this matrix. A projection is a line integral in metres times
//! the unit of the image.
//!
//! # Shapes
//! Images are `rows columns` values row by row, sinograms `angles detectors` values angle by angle.
//!
//! # Precision
//! In float32 positions are exact to `2^-23` of a pixel in both directions, and sums are float32; in float64 everything is.
//! In float32, `|<A x, y> - <x, A^T y>| <= 1e-6 |A| |x| |y|`.
//!
//! # Cost
//! About `0.9 H W` interpolations an angle, and nothing but the image, the sinogram and a padded copy of both in memory. The
//! threads of the current rayon pool share angles (projection) or lines of the image (transpose), so that no two
//! write to the same place, and results do not depend on their number.
//!
//! ```
//! use smalti_kernels::radon::{Detector, ParallelBeam, Pixels};
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
//! Reading order: [`geometry`], [`view`], `number`, `plane`, `strip`, `scalar`, `wide`, `real`.

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

pub use geometry::{Detector, Footprint, ParallelBeam, Pixels};
pub use real::Real;
pub use view::View;

use crate::error::KernelError;
use crate::simd::{Isa, LANES};
use plane::Plane;
use rayon::prelude::*;
use scalar::Spread;

/// Angles whose rays are brought back to a line before the next ones are: their rays stay in the cache.
const ANGLES: usize = 16;

/// Lines that a thread takes at a time.
const LINES: usize = 8;

impl ParallelBeam {
    /// `A x`: writes the projections of `image`.
    ///
    /// Values that are not finite stay so in the rays that meet them.
    ///
    /// # Errors
    /// [`KernelError`] where a slice has another length than [`ParallelBeam::image_len`] or
    /// [`ParallelBeam::sinogram_len`].
    pub fn forward<T: Real>(&self, image: &[T], sinogram: &mut [T]) -> Result<(), KernelError> {
        self.check(image, sinogram)?;
        self.forward_with(Isa::V4, image, sinogram);
        Ok(())
    }

    /// `A^T y`: writes the transpose applied to `sinogram`.
    ///
    /// # Errors
    /// Those of [`ParallelBeam::forward`].
    pub fn adjoint<T: Real>(&self, sinogram: &[T], image: &mut [T]) -> Result<(), KernelError> {
        self.check(image, sinogram)?;
        self.back(Isa::V4, Spread::Transpose, sinogram, image);
        Ok(())
    }

    /// Back projection: writes to each pixel the sum over all angles of the projection at the pixel's `s`, interpolated
    /// linearly between detector pixels, 0 beyond them. What filtered back projection ends with; not the transpose.
    ///
    /// # Errors
    /// Those of [`ParallelBeam::forward`].
    pub fn back_project<T: Real>(&self, sinogram: &[T], image: &mut [T]) -> Result<(), KernelError> {
        self.check(image, sinogram)?;
        self.back(Isa::V4, Spread::Interpolate, sinogram, image);
        Ok(())
    }

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
        let views = self.views();
        let Pixels { rows, columns, .. } = self.pixels();
        let any = |transposed| views.iter().any(|view| view.transposed == transposed);
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
        let count = self.detector().count;
        let work = sinogram.par_chunks_mut(count).zip(&views);
        let buffer = || vec![T::ZERO; count.next_multiple_of(LANES)];
        work.for_each_init(buffer, |rays, (projection, view)| {
            let Some(plane) = (if view.transposed { &by_columns } else { &by_rows }) else { return };
            rays.fill(T::ZERO);
            T::project(isa, view, plane, rays);
            let length = T::of(view.length);
            for (k, value) in projection.iter_mut().enumerate() {
                *value = length * rays[if view.reversed { count - 1 - k } else { k }];
            }
        });
    }

    fn back<T: Real>(&self, isa: Isa, spread: Spread, sinogram: &[T], image: &mut [T]) {
        let views = self.views();
        let Pixels { rows, columns, .. } = self.pixels();
        let count = self.detector().count;
        let rays = Plane::filled(views.len(), count, |k, line: &mut [T]| {
            let view = &views[k];
            let length = if spread == Spread::Transpose { T::of(view.length) } else { T::of(1.0) };
            let projection = &sinogram[k * count..][..count];
            for (j, &value) in projection.iter().enumerate() {
                line[if view.reversed { count - 1 - j } else { j }] = length * value;
            }
        });
        let side = |transposed: bool, lines, width| {
            let views: Vec<(View, &[T])> = (views.iter().enumerate())
                .filter(|(_, view)| view.transposed == transposed)
                .map(|(k, view)| (*view, rays.padded(k)))
                .collect();
            let mut plane = Plane::zeros(if views.is_empty() { 0 } else { lines }, width);
            let stride = plane.stride();
            plane.groups_mut(LINES).for_each_init(
                || vec![T::ZERO; stride],
                |part, (first, group)| {
                    for views in views.chunks(ANGLES) {
                        for (l, line) in group.chunks_exact_mut(stride).enumerate() {
                            // Sums of sums round less.
                            part.fill(T::ZERO);
                            T::collect(isa, spread, first + l, views, part);
                            for (value, part) in line.iter_mut().zip(&*part) {
                                *value = *value + *part;
                            }
                        }
                    }
                },
            );
            (!views.is_empty()).then_some(plane)
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

    fn views(&self) -> Vec<View> {
        (0..self.angle_list().len()).map(|k| self.view(k)).collect()
    }
}
