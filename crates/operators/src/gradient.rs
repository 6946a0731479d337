//! The discrete gradient of images and volumes.

use crate::{Grid, LinearOperator, Operator, PixelGrid, check};
use smalti_base::{Result, Space};
use tch::Tensor;

/// Forward differences, with zero where there is no next pixel:
///
/// `(D x)[c, i, j] = x[c, i+1, j] - x[c, i, j]` and `(D x)[C + c, i, j] = x[c, i, j+1] - x[c, i, j]`,
///
/// of volumes first those from slice to slice.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, 2C, H, W]`: first the `C` vertical, then the `C` horizontal differences. `[B, C, D, H, W]` to
/// `[B, 3C, D, H, W]`.
///
/// # Conventions
/// `|D|^2 <= 4` for each axis ([`Gradient::norm_squared`]). A difference is filed at the pixel that it starts from.
#[derive(Debug, Clone, Copy)]
pub struct Gradient {
    domain: Space,
}

impl Gradient {
    /// The gradient of images or volumes in `domain`.
    pub fn new(domain: Space) -> Self {
        Self { domain }
    }

    /// An upper bound of `|D|^2`, reached by large checkerboards: 8 for images, 12 for volumes.
    pub fn norm_squared(&self) -> f64 {
        4.0 * self.domain.axes().len() as f64
    }

    /// The axes of a batch that differences are taken along.
    fn axes(&self) -> std::ops::Range<i64> {
        2..2 + self.domain.axes().len() as i64
    }
}

/// `x[i + 1] - x[i]` along `dim`, 0 at the end.
fn difference(x: &Tensor, dim: i64) -> Result<Tensor> {
    let n = x.size()[dim as usize];
    let inner = x.f_narrow(dim, 1, n - 1)? - x.f_narrow(dim, 0, n - 1)?;
    let end = x.f_narrow(dim, 0, 1)?.f_zeros_like()?;
    Ok(Tensor::f_cat(&[inner, end], dim)?)
}

/// The adjoint of [`difference`]: `v[i - 1] - v[i]` with `v[-1] = v[n - 1] = 0`.
fn difference_adjoint(v: &Tensor, dim: i64) -> Result<Tensor> {
    let n = v.size()[dim as usize];
    let used = v.f_narrow(dim, 0, n - 1)?;
    let end = v.f_narrow(dim, 0, 1)?.f_zeros_like()?;
    Ok(Tensor::f_cat(&[&end, &used], dim)? - Tensor::f_cat(&[&used, &end], dim)?)
}

impl Operator for Gradient {
    fn domain(&self) -> Space {
        self.domain
    }

    fn range(&self) -> Space {
        Space { channels: self.axes().count() as i64 * self.domain.channels, ..self.domain }
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        let differences = self.axes().map(|axis| difference(x, axis)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&differences, 1)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        self.adjoint(v)
    }
}

impl LinearOperator for Gradient {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("gradient field", v, self.range())?;
        let c = self.domain.channels;
        let part = |axis: i64| difference_adjoint(&v.f_narrow(1, (axis - 2) * c, c)?, axis);
        self.axes().skip(1).try_fold(part(2)?, |sum, axis| Ok(sum + part(axis)?))
    }
}

impl PixelGrid for Gradient {
    fn grid(&self) -> Grid {
        Grid::IDENTITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PowerIteration;
    use smalti_base::Seed;

    #[test]
    fn differences_are_forward_and_end_with_zero() {
        let x = Tensor::from_slice(&[1.0, 4.0, 9.0, 2.0, 8.0, 18.0]).reshape([1, 1, 2, 3]);
        let d = Gradient::new(Space::of("x", &x).unwrap()).apply(&x).unwrap();
        let expected = [1.0, 4.0, 9.0, 0.0, 0.0, 0.0, 3.0, 5.0, 0.0, 6.0, 10.0, 0.0];
        assert_eq!(d, Tensor::from_slice(&expected).reshape([1, 2, 2, 3]));
    }

    #[test]
    fn the_squared_norm_stays_below_its_bound_and_comes_near() {
        // Eigenvalues of D^T D are 4 sin^2(pi k / 2H) + 4 sin^2(pi l / 2W).
        for (space, bound) in [(Space::image(1, 24, 40), 8.0), (Space::volume(1, 10, 14, 12), 12.0)] {
            let d = Gradient::new(space);
            let found = PowerIteration::default().with_max_iterations(5000).norm(&d, Seed::new(1)).unwrap();
            let largest = |n: i64| {
                let n = n as f64;
                4.0 * (std::f64::consts::PI * (n - 1.0) / (2.0 * n)).sin().powi(2)
            };
            let exact: f64 = space.axes().into_iter().map(largest).sum();
            assert!(found.converged, "{found:?}");
            assert!((found.norm.powi(2) - exact).abs() < 1e-3 * exact, "{found:?} instead of {exact}");
            assert!(d.norm_squared() == bound && found.norm.powi(2) <= bound);
        }
    }

    #[test]
    fn volumes_have_a_difference_for_each_axis() {
        let x = Tensor::arange(8, tch::kind::DOUBLE_CPU).square().reshape([1, 1, 2, 2, 2]);
        let d = Gradient::new(Space::of("x", &x).unwrap()).apply(&x).unwrap();
        let slices = [16.0, 24.0, 32.0, 40.0, 0.0, 0.0, 0.0, 0.0];
        let rows = [4.0, 8.0, 0.0, 0.0, 20.0, 24.0, 0.0, 0.0];
        let columns = [1.0, 0.0, 5.0, 0.0, 9.0, 0.0, 13.0, 0.0];
        let expected = [slices, rows, columns].concat();
        assert_eq!(d, Tensor::from_slice(&expected).reshape([1, 3, 2, 2, 2]));
    }

    #[test]
    fn single_rows_and_columns_have_no_difference() {
        let x = Tensor::from_slice(&[3.0]).reshape([1, 1, 1, 1]);
        let d = Gradient::new(Space::image(1, 1, 1));
        assert_eq!(d.apply(&x).unwrap(), Tensor::from_slice(&[0.0, 0.0]).reshape([1, 2, 1, 1]));
        assert_eq!(d.adjoint(&d.apply(&x).unwrap()).unwrap().size(), [1, 1, 1, 1]);
    }
}
