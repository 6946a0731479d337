//! Forward operators with exact adjoints and pixel centres, and likelihoods.
pub mod likelihood;
pub mod operator;
pub use likelihood::{Gaussian, Likelihood};
pub use operator::{Grid, LinearOperator, Operator};
