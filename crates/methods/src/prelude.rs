//! What most programs with methods begin with: `use smalti_methods::prelude::*;`.

pub use crate::{Instrument, MethodEntry, Prepared, ProblemEntry, Reconstructor, Run, TrainingData};
pub use smalti_base::{Error, Result, Seed, Space};
pub use tch::{Device, Kind, Tensor};
