//! Measured data: what is tested with them where they are there.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// The folder of measured data that holds all `files` (or folders): the first of the folder that the variable `SMALTI_DATA`
/// names, `data/` in the checkout, and `../shared/data` beside it.
///
/// `None` where there is none, after a line on standard error, past the capture of output, with the test that is skipped
/// and the reason.
///
/// # Panics
/// Instead, where the variable `SMALTI_REQUIRE_DATA` is `1`: `cargo xtask test` sets it on machines with the data.
#[allow(clippy::panic)] // an assertion
pub fn measured(files: &[&str]) -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("SMALTI_DATA").filter(|value| !value.is_empty()).map(PathBuf::from);
    let beside = ["data", "../shared/data"].map(|folder| checkout.join(folder));
    let all = |folder: &PathBuf| files.iter().all(|file| folder.join(file).exists());
    let found = named.into_iter().chain(beside).find(all);
    if found.is_none() {
        let missing = format!("no {} in SMALTI_DATA, data/ or ../shared/data", files.join(" with "));
        if std::env::var_os("SMALTI_REQUIRE_DATA").is_some_and(|value| value == "1") {
            panic!("SMALTI_REQUIRE_DATA=1, but {missing}");
        }
        let thread = std::thread::current();
        // Where not even this can be written there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "skipped: {}: {missing}", thread.name().unwrap_or("a test"));
    }
    found
}
