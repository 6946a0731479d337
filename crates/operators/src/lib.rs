//! Forward operators with exact adjoints and pixel centres, and likelihoods.
//!
//! An inverse problem is `y = noise(F(x))`. This crate says what `F` is (an [`Operator`], mostly a
//! [`LinearOperator`] `A`) and what the noise is (a [`Likelihood`]); neither knows the other. It promises:
//!
//! - adjoints are exact, `<A x, v> = <x, A^T v>` up to rounding, and vector-Jacobian products are those of
//!   autograd; both keep dtype and device and need no autograd;
//! - operators whose output is an image say where its pixels lie ([`PixelGrid`]), so that [`interpolate`](interpolate()) puts
//!   initial images and baselines in the right place;
//! - operators are composed, added, scaled and stacked, and likelihoods added and scaled, with derivatives as exact as those of
//!   the parts;
//! - shapes are checked: what does not fit is an error that says what would.
//!
//! Images are `[B, C, H, W]`, volumes `[B, C, D, H, W]`, any batch size, rectangular, with values nominally in `[0, 1]`.
//!
//! ```
//! use smalti_operators::prelude::*;
//!
//! // The x4 superresolution operator: 16x16 Gaussian, sigma 2, every 4th pixel, wrapped at the edges.
//! let image = Space::image(1, 48, 64);
//! let a = Convolution::superresolution(image, 16, 2.0, 4, Boundary::Periodic)?;
//! assert_eq!(a.range(), Space::image(1, 12, 16));
//! assert_eq!(a.grid().origin, (7.5, 7.5));
//!
//! let x = Seed::new(1).at("image", 0).uniform(&image.batch(1));
//! let y = a.apply(&x)?;
//! let gradient = a.adjoint(&(a.apply(&x)? - &y))?; // of |A x - y|^2 / 2
//! assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
//!
//! let start = interpolate(&y, a.grid(), a.domain(), Boundary::Periodic)?;
//! image.check("start", &start)?;
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`operator`] (the contracts), [`kernel`], [`boundary`], [`convolution`], [`fourier`], [`registered`],
//! [`identity`], [`mask`], [`crop`], [`gradient`], [`algebra`], [`composition`], [`sum`], [`scaled`], [`stack`],
//! [`norm`], [`pseudo_inverse`], [`resolvent`], [`mod@interpolate`], [`volume`], [`radon`], [`fbp`], [`angles`], [`axis`],
//! [`likelihood`], [`mod@low_dose`].

pub mod algebra;
pub mod angles;
pub mod axis;
pub mod boundary;
mod check;
pub mod composition;
pub mod convolution;
pub mod crop;
pub mod fbp;
pub mod fourier;
pub mod gradient;
pub mod identity;
pub mod interpolate;
pub mod kernel;
pub mod likelihood;
pub mod low_dose;
pub mod mask;
pub mod norm;
pub mod operator;
pub mod prelude;
pub mod pseudo_inverse;
pub mod radon;
pub mod registered;
pub mod resolvent;
pub mod scaled;
pub mod stack;
pub mod sum;
pub mod volume;

pub use algebra::OperatorAlgebra;
pub use angles::{AngleUnit, read_angles};
pub use axis::axis_of_rotation;
pub use boundary::Boundary;
pub use composition::Composition;
pub use convolution::Convolution;
pub use crop::Crop;
pub use fbp::{Fbp, Filter};
pub use fourier::{Biased, FourierDownsampling};
pub use gradient::Gradient;
pub use identity::Identity;
pub use interpolate::interpolate;
pub use likelihood::{Gaussian, Likelihood, LikelihoodAlgebra, Poisson};
pub use low_dose::{low_dose, upsample};
pub use mask::Mask;
pub use norm::{OperatorNorm, PowerIteration};
pub use operator::{Grid, ImagingOperator, LinearOperator, Operator, PixelGrid, Resolvent};
pub use pseudo_inverse::{MinimumNorm, PseudoInverse};
pub use radon::{Curve, Detector, FanBeam, Footprint, Geometry, ParallelBeam, Pixels, Radon};
pub use registered::estimate_kernel;
pub use resolvent::{ConjugateGradients, DataStep, Weights};
pub use scaled::ScaledOperator;
pub use stack::{Along, Stack};
pub use sum::OperatorSum;
pub use volume::VolumeConvolution;
