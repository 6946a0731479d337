//! Broken twins: wrappers that put one mistake into something correct.
//!
//! | twin | mistake | law that rejects it |
//! | --- | --- | --- |
//! | [`ScaledAdjoint`] | adjoint x 1.01 | [`adjoint`](crate::laws::adjoint) |
//! | [`ShiftedAdjoint`] | adjoint one pixel aside | [`adjoint`](crate::laws::adjoint) |
//! | [`ScaledNormal`] | normal x 1.01 | [`normal`](crate::laws::normal) |
//! | [`ShiftedResolvent`] | closed form one pixel aside | [`resolvent`](crate::laws::resolvent) |
//! | [`Bent`] | `A x` plus a square | [`linearity`](crate::laws::linearity) |
//! | [`TruncatedVjp`] | a term of the vjp left out | [`vjp`](crate::laws::vjp) |
//! | [`MixedBatch`] | the batch mean removed | [`range`](crate::laws::range) |
//! | [`AlwaysFloat`] | computes in float32 | [`dtype`](crate::laws::dtype) |
//! | [`IgnoredStrides`] | takes memory for the values in it | [`views`](crate::laws::views) |
//! | [`HalfPixelOff`] | grid half a pixel aside | [`grid`](crate::laws::grid) |
//! | [`HalfSliceOff`] | grid half a slice aside | [`grid`](crate::laws::grid) |
//! | [`WithoutVariance`] | gradient lacks `1/sigma^2` | [`likelihood_gradient`](crate::laws::likelihood_gradient) |
//! | [`WithoutAttenuation`] | gradient lacks `mu_max` | [`likelihood_gradient`](crate::laws::likelihood_gradient) |
//! | [`OtherAtOnce`] | value or gradient x 1.01 when asked for both | [`value_and_grad`](crate::laws::value_and_grad) |
//! | [`InexactInverse`] | `T(z)` off by 1e-3 | [`inverse`](crate::laws::inverse) |
//! | [`FlippedLogDet`] | sign of both log-determinants | [`log_det`](crate::laws::log_det), [`flow_integrates`](crate::laws::flow_integrates) |
//! | [`SummedLogDet`] | log-determinant of the whole batch | [`log_det`](crate::laws::log_det), [`bijection_rows`](crate::laws::bijection_rows) |
//! | [`BrokenLayer`] | gradients x 1.01, or without the log-determinant | [`pull_back`](crate::laws::pull_back) |
//! | [`BrokenImageLayer`] | the same of layers on images | [`recomputation`](crate::laws::recomputation) |
//! | [`BrokenKernel`] | takes all proposals, turns a little, or flips the importance term | [`invariance`](crate::laws::invariance), [`detailed_balance`](crate::laws::detailed_balance), [`importance_term`](crate::laws::importance_term), [`path_weights`](crate::laws::path_weights) |
//! | [`ScaledForce`] | gradient x 1.01 | [`energy_gradient`](crate::laws::energy_gradient) |
//! | [`MixedRows`] | the mean of the batch added | [`energy_gradient`](crate::laws::energy_gradient) |
//! | [`WrongSignDensity`] | `+ log det` in the density | [`density_integrates`](crate::laws::density_integrates) |
//! | [`ScaledDensityGradient`] | gradient x 1.01 | [`density_gradient`](crate::laws::density_gradient) |
//! | [`MixedPatches`] | the mean value removed | [`density_rows`](crate::laws::density_rows) |
//! | [`ScaledGradient`] | gradient x 1.01 | [`regularizer_gradient`](crate::laws::regularizer_gradient) |
//! | [`GradientOfAnother`] | a part of the gradient left out | [`regularizer_gradient`](crate::laws::regularizer_gradient) |
//! | [`Forgetful`] | another function in every call | [`repeatable`](crate::laws::repeatable) |
//! | [`NeverRefreshed`] | `refresh` does nothing | [`fresh_subsets`](crate::laws::fresh_subsets) |
//! | [`PlusSquares`] | a multiple of `\|x\|^2` added, or taken away | [`constants`](crate::laws::constants), [`convexity`](crate::laws::convexity), [`lipschitz_gradient`](crate::laws::lipschitz_gradient) |
//! | [`Amnesiac`] | takes no state back | [`resumption`](crate::laws::resumption) |
//! | [`ScaledBound`] | lower bound x 1.02 | [`transport_bounds`](crate::laws::transport_bounds) |
//! | [`NearestRows`] | upper bound of no transport plan | [`transport_bounds`](crate::laws::transport_bounds) |
//!
//! ([`trainable`](crate::laws::trainable) is shown to fail on a detached layer, in the tests.)

#![allow(missing_debug_implementations, reason = "what a twin wraps is a trait object without it")]

mod bijections;
mod densities;
mod energies;
mod images;
mod kernels;
mod layers;
mod likelihoods;
mod operators;
mod regularizers;
mod transport;

pub use bijections::{FlippedLogDet, InexactInverse, SummedLogDet};
pub use densities::{MixedPatches, ScaledDensityGradient, WrongSignDensity};
pub use energies::{MixedRows, ScaledForce};
pub use images::BrokenImageLayer;
pub use kernels::{BrokenKernel, KernelMistake};
pub use layers::{BrokenLayer, Mistake};
pub use likelihoods::{AtOnce, OtherAtOnce, WithoutAttenuation, WithoutVariance};
pub use operators::{
    AlwaysFloat, Bent, BorrowedAdjoint, HalfPixelOff, HalfSliceOff, IgnoredStrides, MixedBatch,
    ScaledAdjoint, ScaledNormal, ShiftedAdjoint, ShiftedResolvent, TruncatedVjp,
};
pub use regularizers::{Amnesiac, Forgetful, GradientOfAnother, NeverRefreshed, PlusSquares, ScaledGradient};
pub use transport::{NearestRows, ScaledBound};
