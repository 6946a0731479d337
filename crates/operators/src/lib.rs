//! Forward operators with exact adjoints and pixel centres, and likelihoods.
//!
//! An inverse problem is `y = noise(F(x))`. This crate says what `F` is (an [`Operator`], mostly a
//! [`LinearOperator`] `A`) and what the noise is (a [`Likelihood`]); neither knows the other. It promises:
//!
//! - adjoints are exact, `<A x, v> = <x, A^T v>` up to rounding, and vector-Jacobian products are those of
//!   autograd; both keep dtype and device and need no autograd;
//! - every operator says where its output pixels lie ([`Grid`]), so that [`interpolate`](interpolate()) puts
//!   initial images and baselines in the right place;
//! - shapes are checked: what does not fit is an error that says what would.
//!
//! Images are `[B, C, H, W]`, volumes `[B, C, D, H, W]`, any batch size, rectangular, with values nominally in `[0, 1]`.
//!
//! ```
//! use smalti_base::{Seed, Space};
//! use smalti_operators::{Border, Convolution, Extension, LinearOperator, Operator, interpolate};
//!
//! // The x4 superresolution operator: 16x16 Gaussian, sigma 2, every 4th pixel, wrapped at the edges.
//! let image = Space::image(1, 48, 64);
//! let a = Convolution::superresolution(image, 16, 2.0, 4, Extension::WrapAfter)?;
//! assert_eq!(a.range(), Space::image(1, 12, 16));
//! assert_eq!(a.grid().origin, (7.5, 7.5));
//!
//! let x = Seed::new(1).at("image", 0).uniform(&image.batch(1));
//! let y = a.apply(&x)?;
//! let gradient = a.adjoint(&(a.apply(&x)? - &y))?; // of |A x - y|^2 / 2
//! assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
//!
//! let start = interpolate(&y, a.grid(), a.domain(), Border::Periodic)?;
//! image.check("start", &start)?;
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`operator`] (the contracts), [`kernel`], [`extension`], [`convolution`], [`fourier`],
//! [`registered`], [`identity`], [`mask`], [`crop`], [`gradient`], [`compose`], [`norm`], [`pseudo_inverse`], [`mod@interpolate`],
//! [`volume`], [`radon`], [`fbp`], [`angles`], [`axis`], [`likelihood`], [`mod@low_dose`].

pub mod angles;
pub mod axis;
mod check;
pub mod compose;
pub mod convolution;
pub mod crop;
pub mod extension;
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
pub mod pseudo_inverse;
pub mod radon;
pub mod registered;
pub mod volume;

pub use angles::{AngleUnit, read_angles};
pub use axis::axis_of_rotation;
pub use compose::Compose;
pub use convolution::Convolution;
pub use crop::Crop;
pub use extension::Extension;
pub use fbp::{Fbp, Filter};
pub use fourier::{Biased, FourierDownsampling};
pub use gradient::Gradient;
pub use identity::Identity;
pub use interpolate::{Border, interpolate};
pub use likelihood::{Gaussian, Likelihood, Poisson};
pub use low_dose::{low_dose, upsample};
pub use mask::Mask;
pub use norm::{OperatorNorm, PowerIteration};
pub use operator::{Grid, LinearOperator, Operator};
pub use pseudo_inverse::{MinimumNorm, PseudoInverse};
pub use radon::{Detector, Footprint, ParallelBeam, Pixels, Radon};
pub use registered::estimate_kernel;
pub use volume::VolumeConvolution;
