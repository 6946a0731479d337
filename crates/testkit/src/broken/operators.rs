//! Broken operators.

use smalti_base::{Result, Space};
use smalti_operators::{Grid, ImagingOperator, LinearOperator, Operator, PixelGrid, Resolvent};
use tch::{Kind, Tensor};

/// An operator whose adjoint is scaled by 1.01.
pub struct ScaledAdjoint(pub Box<dyn LinearOperator>);
/// An operator whose adjoint is shifted to the right by one pixel.
pub struct ShiftedAdjoint(pub Box<dyn LinearOperator>);
/// An operator with the adjoint of another one, of the same spaces.
pub struct BorrowedAdjoint(pub Box<dyn LinearOperator>, pub Box<dyn LinearOperator>);
/// An operator whose `normal` is scaled by 1.01.
pub struct ScaledNormal(pub Box<dyn LinearOperator>);
/// An operator whose resolvent answers one pixel to the right, as with a transfer function that is centred on another pixel.
pub struct ShiftedResolvent(pub Box<dyn LinearOperator>);
/// `A x + 1e-3 (A x)^2`: said to be linear, with the vector-Jacobian product of what it is.
pub struct Bent(pub Box<dyn LinearOperator>);
/// [`Bent`] without the second term of its vector-Jacobian product.
pub struct TruncatedVjp(pub Box<dyn LinearOperator>);
/// An operator that removes the mean of the batch.
pub struct MixedBatch(pub Box<dyn LinearOperator>);
/// An operator that computes and answers in float32, whatever comes.
pub struct AlwaysFloat(pub Box<dyn LinearOperator>);
/// An operator that takes the memory from the first value on for the values, whatever the strides.
pub struct IgnoredStrides(pub Box<dyn LinearOperator>);
/// An operator whose grid is half a pixel to the right of where its output lies.
pub struct HalfPixelOff(pub Box<dyn ImagingOperator>);

/// An operator of volumes whose grid is half a slice beside where its output lies.
pub struct HalfSliceOff(pub Box<dyn ImagingOperator>);

/// Implements [`Operator`] by that of field 0, but for the methods given.
macro_rules! like_the_original {
    ($twin:ty, apply = $apply:expr, vjp = $vjp:expr) => {
        impl Operator for $twin {
            fn domain(&self) -> Space {
                self.0.domain()
            }
            fn range(&self) -> Space {
                self.0.range()
            }
            fn apply(&self, x: &Tensor) -> Result<Tensor> {
                $apply(self.0.as_ref(), x)
            }
            fn vjp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
                $vjp(self.0.as_ref(), x, v)
            }
        }
    };
}

fn apply(a: &dyn LinearOperator, x: &Tensor) -> Result<Tensor> {
    a.apply(x)
}

fn vjp(a: &dyn LinearOperator, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    a.vjp(x, v)
}

fn bent(a: &dyn LinearOperator, x: &Tensor) -> Result<Tensor> {
    let y = a.apply(x)?;
    Ok(&y + y.square() * 1e-3)
}

fn bent_vjp(a: &dyn LinearOperator, x: &Tensor, v: &Tensor) -> Result<Tensor> {
    a.vjp(x, &(v * (a.apply(x)? * 2e-3 + 1.0)))
}

fn without_mean(a: &dyn LinearOperator, x: &Tensor) -> Result<Tensor> {
    let y = a.apply(x)?;
    Ok(&y - y.mean_dim(0i64, true, None::<Kind>))
}

fn float(a: &dyn LinearOperator, x: &Tensor) -> Result<Tensor> {
    a.apply(&x.to_kind(Kind::Float))
}

fn of_memory(a: &dyn LinearOperator, x: &Tensor) -> Result<Tensor> {
    let plain = x.f_contiguous()?.stride();
    // Where there is not that much memory, values repeat themselves, and nothing is lost.
    a.apply(&x.f_as_strided(x.size(), plain, None).unwrap_or_else(|_| x.shallow_clone()))
}

like_the_original!(ScaledAdjoint, apply = apply, vjp = vjp);
like_the_original!(ShiftedAdjoint, apply = apply, vjp = vjp);
like_the_original!(BorrowedAdjoint, apply = apply, vjp = vjp);
like_the_original!(ScaledNormal, apply = apply, vjp = vjp);
like_the_original!(ShiftedResolvent, apply = apply, vjp = vjp);
like_the_original!(Bent, apply = bent, vjp = bent_vjp);
like_the_original!(TruncatedVjp, apply = bent, vjp = vjp);
like_the_original!(MixedBatch, apply = without_mean, vjp = vjp);
like_the_original!(AlwaysFloat, apply = float, vjp = vjp);
like_the_original!(IgnoredStrides, apply = of_memory, vjp = vjp);
like_the_original!(HalfPixelOff, apply = apply, vjp = vjp);
like_the_original!(HalfSliceOff, apply = apply, vjp = vjp);

impl PixelGrid for HalfPixelOff {
    fn grid(&self) -> Grid {
        let grid = self.0.grid();
        Grid { origin: (grid.origin.0, grid.origin.1 + 0.5), ..grid }
    }
}

impl PixelGrid for HalfSliceOff {
    fn grid(&self) -> Grid {
        let grid = self.0.grid();
        let (origin, spacing) = grid.depth.unwrap_or((0.0, 1.0));
        Grid { depth: Some((origin + 0.5, spacing)), ..grid }
    }
}

impl LinearOperator for ScaledAdjoint {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.0.adjoint(v)? * 1.01)
    }
}

impl LinearOperator for ShiftedAdjoint {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        Ok(self.0.adjoint(v)?.f_roll(1, -1)?)
    }
}

impl LinearOperator for BorrowedAdjoint {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.1.adjoint(v)
    }
}

impl LinearOperator for ScaledNormal {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.0.adjoint(v)
    }

    fn normal(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.0.normal(x)? * 1.01)
    }
}

impl LinearOperator for ShiftedResolvent {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.0.adjoint(v)
    }

    fn resolvent(&self) -> Option<Box<dyn Resolvent + '_>> {
        Some(Box::new(Shifted(self.0.resolvent()?)))
    }
}

struct Shifted<'a>(Box<dyn Resolvent + 'a>);

impl Resolvent for Shifted<'_> {
    fn solve(&self, r: &Tensor, alpha: f64) -> Result<Tensor> {
        Ok(self.0.solve(r, alpha)?.f_roll(1, -1)?)
    }
}
