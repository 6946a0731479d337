//! What most programs with solvers begin with: `use smalti_solvers::prelude::*;`.

pub use crate::{AdamSettings, Iteration, Map, Objective, RunControl, run::run};
pub use smalti_operators::prelude::*;
pub use smalti_priors::prelude::*;
