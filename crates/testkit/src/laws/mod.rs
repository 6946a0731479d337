//! The laws, one file each.
//!
//! Of operators: [`adjoint`], [`normal`], [`resolvent`], [`linearity`], [`vjp`], [`range`], [`dtype`], [`grid`]; of likelihoods:
//! [`likelihood_gradient`], [`value_and_grad`]; of bijections: [`inverse`], [`log_det`], [`bijection_rows`], [`flow_integrates`],
//! [`trainable`]; of flow layers: [`pull_back`]; of flows trained latent to data: [`recomputation`]; of Markov kernels:
//! [`invariance`], [`detailed_balance`], [`importance_term`]; of energies: [`energy_gradient`]; of stochastic flows: [`path_weights`]; of patch
//! densities: [`density_gradient`], [`density_rows`], [`density_integrates`]; of
//! regularizers: [`regularizer_gradient`], [`repeatable`], [`fresh_subsets`], [`resumption`]; of those with a known curvature:
//! [`constants`], [`convexity`], [`lipschitz_gradient`]; of distances: [`transport_bounds`];
//! of every map of tensors: [`views`].

mod adjoint;
mod constants;
mod convexity;
mod density_gradient;
mod dtype;
mod energy_gradient;
mod fresh_subsets;
mod grid;
mod integral;
mod inverse;
mod likelihood_gradient;
mod linearity;
mod lipschitz_gradient;
mod log_det;
mod markov;
mod measure;
mod normal;
mod path_weights;
mod pull_back;
mod range;
mod recomputation;
mod regularizer_gradient;
mod repeatable;
mod resolvent;
mod resumption;
mod rows;
mod trainable;
mod transport_bounds;
mod value_and_grad;
mod views;
mod vjp;

pub use adjoint::adjoint;
pub use constants::constants;
pub use convexity::convexity;
pub use density_gradient::density_gradient;
pub use dtype::dtype;
pub use energy_gradient::energy_gradient;
pub use fresh_subsets::fresh_subsets;
pub use grid::grid;
pub use integral::{density_integrates, flow_integrates};
pub use inverse::inverse;
pub use likelihood_gradient::likelihood_gradient;
pub use linearity::linearity;
pub use lipschitz_gradient::lipschitz_gradient;
pub use log_det::log_det;
pub use markov::{detailed_balance, importance_term, invariance};
pub use normal::normal;
pub use path_weights::path_weights;
pub use pull_back::pull_back;
pub use range::range;
pub use recomputation::recomputation;
pub use regularizer_gradient::regularizer_gradient;
pub use repeatable::repeatable;
pub use resolvent::resolvent;
pub use resumption::resumption;
pub use rows::{bijection_rows, density_rows};
pub use trainable::trainable;
pub use transport_bounds::{TransportBounds, transport_bounds};
pub use value_and_grad::value_and_grad;
pub use views::views;
pub use vjp::vjp;
