//! Principal axes of the reference rows, and the few numbers for each row that bounds on distances need.

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::{
    huge_pages,
    rows::Rows,
    simd::{Isa, Kernel, Lanes, dispatch},
};

/// Axes that rows are projected on.
pub(crate) const AXES: usize = 8;

/// Numbers kept of each row: its coordinates along the axes and the length of what they leave out.
pub(crate) const COORDINATES: usize = AXES + 1;

/// Leading axes that boxes are compared along. Of patches of images, boxes of sixteen points are nearly as wide as all points
/// together in the others; where they are not, fewer boxes are left out, and results are the same.
pub(crate) const BOX_AXES: usize = 4;

/// Rows that one task projects.
const TASK: usize = 128;

/// Rows that the axes are computed from.
const SAMPLE: usize = 2048;

/// A row as `z = (P (x - m), |(I - P^T P)(x - m)|)`: with orthonormal axes `P` the map does not lengthen distances,
/// `|z(x) - z(y)| <= |x - y|`, and for patches of images it keeps most of their length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) z: [f32; COORDINATES],
    /// `|x - m|`.
    pub(crate) length: f64,
}

/// An orthonormal system in the space of rows.
#[derive(Debug)]
pub(crate) struct PrincipalAxes {
    mean: Vec<f64>,
    /// The entries of all axes at one place of a row, for each place.
    axes: Vec<[f64; AXES]>,
    /// Whether fewer axes than values of a row are there, so that something is left out.
    partial: bool,
}

impl PrincipalAxes {
    /// The leading principal axes of (a regular sample of) the rows.
    pub(crate) fn of(rows: &Rows) -> Self {
        let dim = rows.dim();
        let count = rows.len().min(SAMPLE);
        let mut sample = DMatrix::<f64>::zeros(dim, count);
        let mut row = vec![0.0; dim];
        for (i, mut column) in sample.column_iter_mut().enumerate() {
            rows.read(i * rows.len() / count, &mut row);
            column.iter_mut().zip(&row).for_each(|(c, &v)| *c = f64::from(v));
        }
        let mean = sample.column_mean();
        sample.column_iter_mut().for_each(|mut column| column -= &mean);
        let scale = sample.amax();
        let vectors = if scale > 0.0 { principal(&(sample / scale)) } else { DMatrix::identity(dim, dim) };
        let mut axes = vec![[0.0; AXES]; dim];
        for (k, axis) in orthonormal(&vectors).iter().enumerate() {
            axes.iter_mut().zip(axis).for_each(|(at, v)| at[k] = *v);
        }
        Self { mean: mean.iter().copied().collect(), axes, partial: dim > AXES }
    }

    /// The mean that rows are centred by.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Projects one row.
    #[inline(always)]
    pub(crate) fn point(&self, row: &[f32]) -> Point {
        let (mut along, mut square) = ([0.0_f64; AXES], 0.0);
        for ((&x, m), axes) in row.iter().zip(&self.mean).zip(&self.axes) {
            let v = f64::from(x) - m;
            square += v * v;
            for (a, e) in along.iter_mut().zip(axes) {
                *a += v * e;
            }
        }
        let left = if self.partial { square - along.iter().map(|a| a * a).sum::<f64>() } else { 0.0 };
        let mut z = [0.0; COORDINATES];
        for (z, a) in z.iter_mut().zip(along) {
            *z = a as f32;
        }
        z[AXES] = left.max(0.0).sqrt() as f32;
        Point { z, length: square.sqrt() }
    }

    /// How far from its exact place a computed point can be, relative to its `length`: float32 rounding of the
    /// coordinates, and the root of the float64 rounding of the squared remainder.
    pub(crate) fn relative_error(&self) -> f64 {
        f64::from(f32::EPSILON) + (16.0 * (self.mean.len() as f64 + 8.0) * f64::EPSILON).sqrt()
    }
}

/// The points of rows, in the order given.
pub(crate) fn project(axes: &PrincipalAxes, rows: &Rows, order: &[u32]) -> Vec<Point> {
    let mut points = huge_pages::with_capacity(order.len());
    points.resize(order.len(), Point { z: [0.0; COORDINATES], length: 0.0 });
    points.par_chunks_mut(TASK).zip(order.par_chunks(TASK)).for_each(|(points, order)| {
        dispatch(Isa::V4, Project { axes, rows, order, points });
    });
    points
}

struct Project<'a> {
    axes: &'a PrincipalAxes,
    rows: &'a Rows,
    order: &'a [u32],
    points: &'a mut [Point],
}

impl Kernel for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        lanes.run(
            #[inline(always)]
            || {
                let mut row = vec![0.0; self.rows.dim()];
                for (point, &i) in self.points.iter_mut().zip(self.order) {
                    self.rows.read(i as usize, &mut row);
                    *point = self.axes.point(&row);
                }
            },
        );
    }
}

/// Eigenvectors of the covariance, those of large eigenvalues first; any basis where the iteration fails.
fn principal(sample: &DMatrix<f64>) -> DMatrix<f64> {
    let covariance = sample * sample.transpose() / sample.ncols() as f64;
    let dim = covariance.nrows();
    let Some(eigen) = SymmetricEigen::try_new(covariance, f64::EPSILON, 64 * dim) else {
        return DMatrix::identity(dim, dim);
    };
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    eigen.eigenvectors.select_columns(&order)
}

/// The first columns made orthonormal to the last bits (Gram-Schmidt, twice): the bounds rest on it.
fn orthonormal(vectors: &DMatrix<f64>) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for column in vectors.column_iter().take(AXES) {
        let mut v: Vec<f64> = column.iter().copied().collect();
        for _ in 0..2 {
            for b in &basis {
                let along: f64 = v.iter().zip(b).map(|(v, b)| v * b).sum();
                v.iter_mut().zip(b).for_each(|(v, b)| *v -= along * b);
            }
            let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            v.iter_mut().for_each(|v| *v /= length);
        }
        // An axis that is none (not expected of an eigenvector) is left out; fewer axes only loosen the bounds.
        if v.iter().all(|v| v.is_finite()) {
            basis.push(v);
        }
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_no_farther_apart_than_rows() -> Result<(), crate::error::KernelError> {
        for dim in [1, 3, 8, 9, 36, 100] {
            let data: Vec<f32> = (0..40 * dim).map(|i| ((i * i * 7 + i * 13) % 101) as f32 / 50.0).collect();
            let rows = Rows::dense(data, dim)?;
            let axes = PrincipalAxes::of(&rows);
            let read = |i| {
                let mut row = vec![0.0; dim];
                rows.read(i, &mut row);
                row
            };
            for (i, j) in (0..40).flat_map(|i| (0..40).map(move |j| (i, j))) {
                let (x, y) = (read(i), read(j));
                let (p, q) = (axes.point(&x), axes.point(&y));
                let gap = |a: &[f32], b: &[f32]| {
                    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
                };
                let (kept, full) = (gap(&p.z, &q.z), gap(&x, &y));
                assert!(kept <= full + axes.relative_error() * (p.length + q.length), "{dim}: {kept} {full}");
                // Nothing is left out where there are as many axes as values.
                assert!(
                    dim > AXES || kept >= full - axes.relative_error() * (p.length + q.length),
                    "{dim}: {kept} {full}"
                );
            }
        }
        Ok(())
    }
}
