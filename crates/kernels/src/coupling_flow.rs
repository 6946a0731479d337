//! Normalizing flows of affine couplings with narrow subnets: negative log-likelihoods of patches and their gradients.
//!
//! A few patches go through all couplings and back while everything they leave behind stays in the second-level cache, one
//! patch in each lane of the vector registers. Biases, ReLU, the soft clamp and the permutations are done where the products
//! leave their results. In float32; log-determinants and squares are summed up in float64. What comes out for a patch does not depend on the
//! other patches or on the number of threads.

mod block;
mod packed;
mod panels;
#[cfg(test)]
mod tests;
mod weights;

use crate::error::KernelError;
use crate::mlp::Matrix;
pub use crate::simd::Isa;
use crate::simd::{Kernel, Lanes, dispatch};
use block::{Piece, Room, TOGETHER};
use rayon::prelude::*;
pub use weights::{CouplingWeights, LinearWeights};

/// A flow `T` of couplings and permutations on `R^d`, packed for computing with it.
#[derive(Debug, Clone)]
pub struct CouplingFlow {
    dim: usize,
    couplings: Vec<packed::Coupling>,
    isa: Isa,
}

impl CouplingFlow {
    /// The flow on `R^dim` with these couplings, from latents to data; weights are copied.
    ///
    /// # Errors
    /// [`KernelError`] where `dim` is below 2, or weights or a permutation do not fit.
    pub fn new(dim: usize, couplings: &[CouplingWeights<'_>]) -> Result<Self, KernelError> {
        Self::with_isa(dim, couplings, Isa::best())
    }

    /// The same with no more than these instructions, e.g. to compare them.
    ///
    /// # Errors
    /// Those of [`CouplingFlow::new`].
    pub fn with_isa(dim: usize, couplings: &[CouplingWeights<'_>], isa: Isa) -> Result<Self, KernelError> {
        struct Wide;
        impl Kernel for Wide {
            type Output = bool;
            fn run<L: Lanes>(self, _: L) -> bool {
                L::WIDE
            }
        }
        if dim < 2 {
            return Err(KernelError::new("dimension of a flow", "at least 2", dim));
        }
        let wide = dispatch(isa, Wide);
        let couplings = couplings.par_iter().map(|weights| packed::Coupling::new(dim, weights, wide));
        Ok(Self { dim, couplings: couplings.collect::<Result<_, _>>()?, isa })
    }

    /// `|z|^2 / 2 - log |det J_{T^-1}(x)|`, `z = T^-1(x)`, for every row `x` of `patches: [rows, d]`, written to `nll: [rows]`.
    ///
    /// # Errors
    /// [`KernelError`] where `patches` has fewer rows.
    pub fn nll(&self, patches: Matrix<'_>, nll: &mut [f32]) -> Result<(), KernelError> {
        self.check(patches, nll.len())?;
        nll.par_chunks_mut(TOGETHER).enumerate().for_each_init(
            || Room::new(self.dim, &self.couplings),
            |room, (k, nll)| self.piece(patches, k, nll, None, room),
        );
        Ok(())
    }

    /// The same and its gradient in `x`, written to `grad: [rows, d]` row by row.
    ///
    /// # Errors
    /// [`KernelError`] where `patches` has fewer rows, or `grad` another size.
    pub fn nll_and_grad(
        &self,
        patches: Matrix<'_>,
        nll: &mut [f32],
        grad: &mut [f32],
    ) -> Result<(), KernelError> {
        self.check(patches, nll.len())?;
        if grad.len() != nll.len() * self.dim {
            return Err(KernelError::new("gradient", format!("{} values", nll.len() * self.dim), grad.len()));
        }
        let pieces = nll.par_chunks_mut(TOGETHER).zip(grad.par_chunks_mut(TOGETHER * self.dim));
        pieces.enumerate().for_each_init(
            || Room::new(self.dim, &self.couplings),
            |room, (k, (nll, grad))| self.piece(patches, k, nll, Some(grad), room),
        );
        Ok(())
    }

    fn piece(
        &self,
        patches: Matrix<'_>,
        k: usize,
        nll: &mut [f32],
        grad: Option<&mut [f32]>,
        room: &mut Room,
    ) {
        let start = k * TOGETHER * patches.stride;
        let values = &patches.values[start..start + (nll.len() - 1) * patches.stride + self.dim];
        let patches = Matrix { values, stride: patches.stride };
        let (dim, couplings) = (self.dim, &self.couplings[..]);
        dispatch(self.isa, Piece { dim, couplings, patches, nll, grad, room });
    }

    fn check(&self, patches: Matrix<'_>, rows: usize) -> Result<(), KernelError> {
        let fits = patches.stride >= self.dim
            && (rows == 0
                || (rows - 1).saturating_mul(patches.stride).saturating_add(self.dim)
                    <= patches.values.len());
        if fits {
            return Ok(());
        }
        let got = format!("{} values, rows {} apart", patches.values.len(), patches.stride);
        Err(KernelError::new("patches", format!("{rows} rows of {} values", self.dim), got))
    }
}
