//! The contracts that forward operators keep.

use smalti_base::{Result, Space};
use std::{rc::Rc, sync::Arc};
use tch::Tensor;

/// Where the output pixels of an operator lie, in input pixels.
///
/// Output pixel `(i, j)` is centred at input row `origin.0 + spacing.0 i` and column
/// `origin.1 + spacing.1 j`, where input pixel `(r, c)` has its centre at `(r, c)`; slices of volumes likewise. This is
/// what aligns initial images and baselines with the observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Centre of output pixel (0, 0), in input pixels.
    pub origin: (f64, f64),
    /// Distance of neighbouring output pixels, in input pixels.
    pub spacing: (f64, f64),
    /// Centre of output slice 0 and distance of neighbouring slices, in input slices. `None` where slices coincide with
    /// those of the input, or there are none.
    pub depth: Option<(f64, f64)>,
}

impl Grid {
    /// Output pixels that coincide with input pixels.
    pub const IDENTITY: Self = Self { origin: (0.0, 0.0), spacing: (1.0, 1.0), depth: None };

    /// The grid of `second` after `first`, in pixels of the input of `first`.
    pub fn compose(first: Self, second: Self) -> Self {
        let axis = |o1: f64, s1: f64, o2: f64, s2: f64| (o1 + s1 * o2, s1 * s2);
        let (oy, sy) = axis(first.origin.0, first.spacing.0, second.origin.0, second.spacing.0);
        let (ox, sx) = axis(first.origin.1, first.spacing.1, second.origin.1, second.spacing.1);
        let depth = match (first.depth, second.depth) {
            (Some((o1, s1)), Some((o2, s2))) => Some(axis(o1, s1, o2, s2)),
            (first, second) => first.or(second),
        };
        Self { origin: (oy, ox), spacing: (sy, sx), depth }
    }
}

/// A differentiable map `F: domain -> range` between images or volumes, batch by batch.
///
/// # Shapes
/// `apply`: `[B, C, H, W]` (of volumes `[B, C, D, H, W]`) in the domain to `[B, C', H', W']` (`[B, C', D', H', W']`) in
/// the range, any `B`, in the dtype and on the device of its input.
///
/// References, boxes and counted pointers to operators are operators, too; [`OperatorAlgebra`](crate::OperatorAlgebra) makes
/// operators of operators.
pub trait Operator {
    /// The space of inputs.
    fn domain(&self) -> Space;
    /// The space of outputs.
    fn range(&self) -> Space;
    /// `F(x)`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` is not in the domain.
    fn apply(&self, x: &Tensor) -> Result<Tensor>;
    /// The vector-Jacobian product `J_F(x)^T v`, in the domain.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` is not in the domain or `v` not in the range.
    fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor>;
}

/// A linear operator `A`: its vector-Jacobian product is the adjoint, for every `x`.
pub trait LinearOperator: Operator {
    /// `A^T v`, exact: `<A x, v> = <x, A^T v>` up to rounding.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `v` is not in the range.
    fn adjoint(&self, v: &Tensor) -> Result<Tensor>;

    /// `A^T A x`.
    ///
    /// # Errors
    /// Those of `apply`.
    fn normal(&self, x: &Tensor) -> Result<Tensor> {
        self.adjoint(&self.apply(x)?)
    }

    /// `(A^T A + alpha)^-1` where there is a closed form for it.
    fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
        None
    }
}

/// `(A^T A + alpha)^-1`, in closed form: a capability of some operators ([`LinearOperator::resolvent`]).
pub trait Resolvent {
    /// `x` with `(A^T A + alpha) x = r`, for each element of a batch in the domain, in the dtype and on the device of `r`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `r` is not in the domain; [`smalti_base::Error::Value`] where `alpha` is not a positive number.
    fn solve(&self, r: &Tensor, alpha: f64) -> Result<Tensor>;
}

/// An operator whose output is an image of the same scene as its input, each pixel at a place of it. Projections and patches
/// have no such places.
pub trait PixelGrid: Operator {
    /// Where the output pixels lie.
    fn grid(&self) -> Grid;
}

/// A linear operator whose output pixels have places: what cameras are, behind one pointer.
pub trait ImagingOperator: LinearOperator + PixelGrid {}

impl<A: LinearOperator + PixelGrid + ?Sized> ImagingOperator for A {}

/// Passes every method on to what the pointer points to.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: Operator + ?Sized> Operator for $pointer {
            fn domain(&self) -> Space {
                (**self).domain()
            }
            fn range(&self) -> Space {
                (**self).range()
            }
            fn apply(&self, x: &Tensor) -> Result<Tensor> {
                (**self).apply(x)
            }
            fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
                (**self).vjp(x, v)
            }
        }

        impl<T: LinearOperator + ?Sized> LinearOperator for $pointer {
            fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
                (**self).adjoint(v)
            }
            fn normal(&self, x: &Tensor) -> Result<Tensor> {
                (**self).normal(x)
            }
            fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
                (**self).resolvent()
            }
        }

        impl<T: PixelGrid + ?Sized> PixelGrid for $pointer {
            fn grid(&self) -> Grid {
                (**self).grid()
            }
        }
    )*};
}

forward!(&T, Box<T>, Rc<T>, Arc<T>);
