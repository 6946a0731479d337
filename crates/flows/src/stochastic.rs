//! Stochastic normalizing flows for posteriors: deterministic layers and Markov kernels in turn.
//!
//! A conditional flow of vectors `x: [B, d]`, given conditions `y: [B, m]`, maps latents to samples of `p(x | y)` by a path
//! `z = x_0, x_1, ..., x_T = x`. Deterministic steps are couplings; stochastic ones draw `x_t` from a Markov kernel that
//! leaves an energy between the latent's and the posterior's invariant ([`Interpolated`]). A flow alone cannot separate modes;
//! the kernels pull what it leaves between them into one or the other.
//!
//! # Log-determinants of paths
//! A step from `a` to `b` has the importance term `l = log r(b, a) / k(a, b)`, the logarithm of the density of the step back over that
//! of the step. For a deterministic map it is `log |det J|`. Kernels in detailed balance with `exp(-u)` have
//! `l = u(b) - u(a)`; that of a Langevin step is in [`Ula`]. The step back from `b` to `a` has `-l`. So
//! [`Mapped::log_det`](crate::Mapped) holds `l` for both kinds of layers and in both directions, and terms add up over paths:
//!
//! - `E over paths from z ~ N(0, I)` of `exp(w) = int exp(-E(x | y)) dx`, `w = sum l - E(x | y) - log N(z)`
//!   ([`ConditionalSnf::weighted`]);
//! - the forward KL divergence of the paths is, up to a constant, the mean over paths back from data of
//!   `|z|^2 / 2 - sum l`, as for a flow without kernels.
//!
//! # Reference
//! P. Hagemann, J. Hertrich, G. Steidl, "Stochastic normalizing flows for inverse problems: a Markov chains viewpoint",
//! SIAM/ASA Journal on Uncertainty Quantification 10 (2022).
//!
//! ```
//! use smalti_base::Seed;
//! use smalti_flows::stochastic::{ConditionalSnf, FlowShape};
//! let shape = FlowShape::new(3, 2).with_hidden([32, 32]);
//! let inn = ConditionalSnf::inn(&shape, Seed::new(1))?;
//! let y = Seed::new(1).at("conditions", 0).normal(&[7, 2]);
//! let x = inn.sample(&y, &mut Seed::new(2).at("samples", 0))?;
//! assert_eq!(x.size(), [7, 3]);
//! # Ok::<(), smalti_base::Error>(())
//! ```
//!
//! Reading order: [`energy`], [`kernel`], [`conditional`], [`snf`], [`mixture`], [`scatterometry`].

pub mod conditional;
pub mod energy;
pub mod kernel;
pub mod mixture;
pub mod scatterometry;
pub mod snf;
mod training;

pub use conditional::{ConditionalCoupling, ConditionalLayer};
pub use energy::{ConditionalEnergy, Energy, Interpolated};
pub use kernel::{Mala, MarkovKernel, Metropolis, Ula};
pub use mixture::{DiagonalMixture, MixtureProblem};
pub use scatterometry::Scatterometry;
pub use snf::{ConditionalSnf, FlowShape, Stage};
