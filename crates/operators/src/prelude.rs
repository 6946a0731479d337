//! What most programs with operators begin with: `use smalti_operators::prelude::*;`.

pub use crate::interpolate::interpolate;
pub use crate::{
    Boundary, Convolution, Gaussian, Likelihood, LikelihoodAlgebra, LinearOperator, Operator,
    OperatorAlgebra, PixelGrid,
};
pub use smalti_base::{Error, Result, Seed, Space};
pub use tch::{Device, Kind, Tensor};
