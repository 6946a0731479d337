//! What most programs with flows begin with: `use smalti_flows::prelude::*;`.

pub use crate::{Bijection, Layer, PatchNr, PatchNrShape, Precision, WppFlow, WppFlowShape};
pub use smalti_base::{Error, Result, Seed, Space};
pub use tch::{Device, Kind, Tensor};
