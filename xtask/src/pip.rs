//! Python packages put into folders of this checkout by the user's own pip.

use crate::{
    child,
    failure::{Failure, Result},
};
use std::{fs, path::Path, process::Command};

/// The Python that the build of torch-sys asks too: that of an active environment, else `python3`.
pub(crate) fn python() -> Command {
    let active = std::env::var_os("VIRTUAL_ENV").is_some();
    Command::new(if active { "python" } else { "python3" })
}

/// Checks that Python and pip are there.
pub(crate) fn check() -> Result {
    let name = python().get_program().to_string_lossy().into_owned();
    child::output(python().arg("--version")).map_err(|_| {
        Failure::new(format!("no {name} in PATH; install Python 3.10 or newer (Debian: apt install python3)"))
    })?;
    child::output(python().args(["-m", "pip", "--version"])).map_err(|_| {
        Failure::new(format!(
            "{name} has no pip; install it (Debian: apt install python3-pip, else: {name} -m ensurepip)"
        ))
    })?;
    Ok(())
}

/// Installs `packages` into the folder `target`, with pip's own progress on the terminal.
///
/// pip unpacks under `scratch`, on the same disk, so that its last step is a rename; `scratch` is removed.
pub(crate) fn install(target: &Path, scratch: &Path, packages: &[&str], options: &[&str]) -> Result {
    fs::create_dir_all(scratch).map_err(|e| Failure::file(scratch, "making the folder", &e))?;
    let mut pip = python();
    pip.args(["-m", "pip", "install", "--no-compile", "--target"]);
    pip.arg(target).args(options).args(packages);
    // A user's setting `user = true` cannot be combined with --target.
    pip.env("TMPDIR", scratch).env("PIP_USER", "0");
    pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_ROOT_USER_ACTION", "ignore");
    let done = child::run_listening(&mut pip, true);
    remove(scratch)?;
    let (status, heard) = done?;
    if status.success() { Ok(()) } else { Err(Failure::new(diagnosis(&heard))) }
}

/// Removes a folder and what is in it; none there is fine.
pub(crate) fn remove(folder: &Path) -> Result {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::file(folder, "removing", &e)),
        _ => Ok(()),
    }
}

/// One line with the remedy, from what pip said.
fn diagnosis(heard: &str) -> String {
    let says = |signs: &[&str]| signs.iter().any(|sign| heard.contains(sign));
    let network =
        ["NewConnectionError", "Connection", "ReadTimeout", "timed out", "name resolution", "SSLError"];
    if says(&["No space left", "Disk quota exceeded"]) {
        "pip ran out of disk space; free 2.5 GB here (with CUDA 8 GB and 3 GB for pip's cache) and run the command again"
            .into()
    } else if says(&network) {
        "pip cannot reach its package index; check the network or the proxy and run the command again \
         (finished downloads are kept in pip's cache)"
            .into()
    } else if says(&["No matching distribution"]) {
        "pip finds no package for this Python and machine; use Python 3.10 to 3.14 on x86-64 or aarch64 Linux"
            .into()
    } else {
        let last = heard.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("no message");
        format!("pip failed ({last}); mend that and run the command again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_says_becomes_a_remedy() {
        let line = diagnosis(
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
        );
        assert!(line.contains("free 2.5 GB"), "{line}");
        let line = diagnosis(
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n\
             ERROR: Could not find a version that satisfies the requirement\nERROR: No matching distribution found\n",
        );
        assert!(line.contains("check the network"), "{line}");
        let line = diagnosis("ERROR: No matching distribution found for torch==2.11.0\n");
        assert!(line.contains("Python 3.10"), "{line}");
        let line = diagnosis("WARNING: x\nERROR: something else\n");
        assert!(line.contains("ERROR: something else"), "{line}");
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        remove(&inner).unwrap();
        fs::create_dir_all(inner.join("deep")).unwrap();
        remove(&inner).unwrap();
        assert!(!inner.exists());
    }
}
