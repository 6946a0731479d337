//! The discrete image gradient.

use crate::{Grid, LinearOperator, Operator, check};
use smalti_base::{Result, Space};
use tch::Tensor;

/// Forward differences, with zero where there is no next pixel:
///
/// `(D x)[c, i, j] = x[c, i+1, j] - x[c, i, j]` and `(D x)[C + c, i, j] = x[c, i, j+1] - x[c, i, j]`.
///
/// # Shapes
/// `[B, C, H, W]` to `[B, 2C, H, W]`: first the `C` vertical, then the `C` horizontal differences.
///
/// # Conventions
/// `|D|^2 <= 8` ([`Gradient::NORM_SQUARED`]). A difference is filed at the pixel that it starts from.
#[derive(Debug, Clone, Copy)]
pub struct Gradient {
    domain: Space,
}

impl Gradient {
    /// An upper bound of `|D|^2`, reached by large checkerboards.
    pub const NORM_SQUARED: f64 = 8.0;

    /// The gradient of images in `domain`.
    pub fn new(domain: Space) -> Self {
        Self { domain }
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
        Space { channels: 2 * self.domain.channels, ..self.domain }
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        Ok(Tensor::f_cat(&[difference(x, 2)?, difference(x, 3)?], 1)?)
    }

    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        check::element("image", x, self.domain)?;
        self.adjoint(v)
    }

    fn grid(&self) -> Grid {
        Grid::IDENTITY
    }
}

impl LinearOperator for Gradient {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        check::element("gradient field", v, self.range())?;
        let c = self.domain.channels;
        Ok(difference_adjoint(&v.f_narrow(1, 0, c)?, 2)? + difference_adjoint(&v.f_narrow(1, c, c)?, 3)?)
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
    fn the_squared_norm_stays_below_eight_and_comes_near() {
        // Eigenvalues of D^T D are 4 sin^2(pi k / 2H) + 4 sin^2(pi l / 2W).
        let d = Gradient::new(Space::image(1, 24, 40));
        let found =
            PowerIteration { max_iterations: 5000, ..Default::default() }.norm(&d, Seed::new(1)).unwrap();
        let largest = |n: f64| 4.0 * (std::f64::consts::PI * (n - 1.0) / (2.0 * n)).sin().powi(2);
        let exact = largest(24.0) + largest(40.0);
        assert!(found.converged, "{found:?}");
        assert!((found.norm.powi(2) - exact).abs() < 1e-3 * exact, "{found:?} instead of {exact}");
        assert!(found.norm.powi(2) <= Gradient::NORM_SQUARED);
    }

    #[test]
    fn single_rows_and_columns_have_no_difference() {
        let x = Tensor::from_slice(&[3.0]).reshape([1, 1, 1, 1]);
        let d = Gradient::new(Space::image(1, 1, 1));
        assert_eq!(d.apply(&x).unwrap(), Tensor::from_slice(&[0.0, 0.0]).reshape([1, 2, 1, 1]));
        assert_eq!(d.adjoint(&d.apply(&x).unwrap()).unwrap().size(), [1, 1, 1, 1]);
    }
}
