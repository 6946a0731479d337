//! How a run was asked for.

use crate::experiment::ProfileName;
use crate::publish::Results;
use smalti_base::Seed;
use smalti_methods::Run;
use smalti_solvers::Cancel;
use tch::Device;

/// How a run was asked for.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The profile that runs.
    pub profile: ProfileName,
    /// The seed of everything random.
    pub seed: Seed,
    /// Where tensors are computed.
    pub device: Device,
    /// Threads that compute.
    pub threads: usize,
    /// A request to stop.
    pub cancel: Cancel,
    /// The results of this run, in whose folder `OUT/NAME/PROFILE` its state is kept.
    pub results: Results,
    /// The command as it was typed, for the report.
    pub command_line: String,
}

impl RunOptions {
    /// How methods run, with state and results in the folder of this run.
    pub fn to_run(&self) -> Run {
        Run::new(self.seed, self.device).with_cancel(self.cancel.clone()).in_folder(self.results.folder())
    }
}
