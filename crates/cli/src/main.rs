//! `smalti`: reconstructs images with priors that are learned from a reference image.

use smalti_base::device::limit_spinning;
use std::process::ExitCode;

/// Serves all of the process, libtorch included: glibc's allocator makes threads wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    limit_spinning();
    smalti_cli::main()
}
