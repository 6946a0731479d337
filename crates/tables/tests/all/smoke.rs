//! Options of a short run.
#![allow(clippy::unwrap_used)]

use smalti_base::Seed;
use smalti_solvers::Cancel;
use smalti_tables::experiment::ProfileName;
use smalti_tables::options::RunOptions;
use smalti_tables::publish::Results;
use std::path::Path;

/// Of the smoke profile, on one thread, into `folder`.
pub(crate) fn options(folder: &Path) -> RunOptions {
    RunOptions {
        profile: ProfileName::Smoke,
        seed: Seed::new(4),
        device: tch::Device::Cpu,
        threads: 1,
        cancel: Cancel::default(),
        results: Results::claim(folder).unwrap(),
        command_line: "smalti-tables".into(),
    }
}
