//! `cargo xtask setup`: libtorch where the build and every program finds it.

use crate::{
    child,
    failure::{Failure, Result},
    libtorch::{self, Libtorch, VERSION, Wanted},
    pip,
};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Instant,
};

/// Free space that the installation needs: 4.6 GB stay, and the downloaded wheels beside them for a while.
const NEEDED_BYTES: u64 = 8_000_000_000;

/// Makes libtorch available, or finds that it is; quick where there is nothing to do.
pub(crate) fn setup(root: &Path) -> Result<Libtorch> {
    platform(std::env::consts::OS, std::env::consts::ARCH)?;
    compiler(|name| std::env::var_os(name))?;
    let variable = |name| std::env::var_os(name);
    match Wanted::from_variables(root, variable("LIBTORCH"), variable("LIBTORCH_USE_PYTORCH")) {
        Wanted::Ours => ours(root),
        Wanted::Folder(folder) => {
            // torch-sys is built in a folder of its own, so a relative path would lead nowhere.
            let folder = folder.canonicalize().unwrap_or(folder);
            Libtorch::checked(folder.clone(), Wanted::Folder(folder))
        }
        Wanted::Python => Libtorch::checked(python_torch()?, Wanted::Python),
    }
}

fn platform(system: &str, machine: &str) -> Result {
    if system == "linux" && ["x86_64", "aarch64"].contains(&machine) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{system} on {machine} is not supported; use Linux on x86-64 or aarch64 (a container or virtual machine will do)"
    )))
}

/// torch-sys compiles C++ with CXX or `c++`.
fn compiler(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result {
    let path = variable("PATH").unwrap_or_default();
    let found = variable("CXX").is_some_and(|value| !value.is_empty())
        || std::env::split_paths(&path).any(|folder| folder.join("c++").is_file());
    if found {
        return Ok(());
    }
    Err(Failure::new(
        "no C++ compiler (c++) in PATH; install one (Debian: apt install g++) or name it in CXX",
    ))
}

/// The folder of the torch that the user's Python would import, found without importing it.
fn python_torch() -> Result<PathBuf> {
    let script = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s else '')";
    let origin = child::output(pip::python().args(["-c", script]))?;
    Path::new(origin.trim()).parent().map(Path::to_owned).ok_or_else(|| {
        Failure::new(format!(
            "LIBTORCH_USE_PYTORCH is set, but that Python has no torch; install torch=={VERSION} in it, or unset \
             the variable and run `cargo xtask setup`"
        ))
    })
}

/// Installs libtorch into `.libtorch` unless it is there.
fn ours(root: &Path) -> Result<Libtorch> {
    let there = || Libtorch::checked(libtorch::ours(root), Wanted::Ours);
    if let Ok(libtorch) = there() {
        return Ok(libtorch);
    }
    let _lock = lock(&root.join(".libtorch.lock"))?;
    // Another set-up may have finished while this one waited.
    if let Ok(libtorch) = there() {
        return Ok(libtorch);
    }
    pip::check()?;
    let (whole, part, scratch) =
        (root.join(".libtorch"), root.join(".libtorch-part"), root.join(".libtorch-scratch"));
    for leftover in [&part, &scratch, &whole] {
        pip::remove(leftover)?;
    }
    space(root, free_bytes(root)?)?;

    let start = Instant::now();
    eprintln!("Installing libtorch {VERSION} (torch from PyPI, 4.6 GB) into .libtorch");
    if let Err(failure) = pip::install(&part, &scratch, &[&format!("torch=={VERSION}")], &[]) {
        // Nothing half-written stays; finished downloads are in pip's cache.
        pip::remove(&part)?;
        return Err(failure);
    }
    fs::rename(&part, &whole).map_err(|e| Failure::file(&part, "renaming to .libtorch", &e))?;
    let libtorch = there()?;
    eprintln!("libtorch {VERSION} is ready after {:.0} s", start.elapsed().as_secs_f64());
    Ok(libtorch)
}

/// Waits until no other set-up works on this checkout; the lock goes with the returned file.
fn lock(path: &Path) -> Result<File> {
    let fail = |e: &std::io::Error| Failure::file(path, "locking", e);
    let file = File::options().create(true).append(true).open(path).map_err(|e| fail(&e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("Another set-up of this checkout is running: waiting for it");
            file.lock().map_err(|e| fail(&e))?;
        }
        Err(TryLockError::Error(e)) => return Err(fail(&e)),
    }
    Ok(file)
}

fn free_bytes(folder: &Path) -> Result<u64> {
    let disk =
        rustix::fs::statvfs(folder).map_err(|e| Failure::file(folder, "measuring the disk", &e.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn space(folder: &Path, free: u64) -> Result {
    if free >= NEEDED_BYTES {
        return Ok(());
    }
    let giga = |bytes: u64| bytes as f64 / 1e9;
    Err(Failure::new(format!(
        "{} has {:.1} GB free, but libtorch needs {:.0} GB while it is installed; free some space, or let LIBTORCH \
         name a libtorch {VERSION} on another disk",
        folder.display(),
        giga(free),
        giga(NEEDED_BYTES),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_platforms_are_refused_clearly() {
        platform("linux", "x86_64").unwrap();
        platform("linux", "aarch64").unwrap();
        let line = platform("macos", "aarch64").unwrap_err().to_string();
        assert!(line.contains("macos on aarch64 is not supported; use Linux"), "{line}");
        platform("linux", "riscv64").unwrap_err();
    }

    #[test]
    fn a_missing_compiler_is_told() {
        let bin = tempfile::tempdir().unwrap();
        let path = |name: &str| (name == "PATH").then(|| bin.path().as_os_str().to_owned());
        assert!(compiler(path).unwrap_err().to_string().contains("apt install g++"));
        compiler(|name| (name == "CXX").then(|| "clang++".into())).unwrap();
        fs::write(bin.path().join("c++"), "").unwrap();
        compiler(path).unwrap();
    }

    #[test]
    fn a_full_disk_is_told_before_anything_is_downloaded() {
        space(Path::new("."), NEEDED_BYTES).unwrap();
        let line = space(Path::new("here"), 2_500_000_000).unwrap_err().to_string();
        assert!(line.starts_with("here has 2.5 GB free, but libtorch needs 8 GB"), "{line}");
        assert!(free_bytes(Path::new(".")).unwrap() > 0);
    }

    #[test]
    fn two_set_ups_do_not_run_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        let other = File::options().append(true).open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }

    #[test]
    fn what_is_there_is_not_installed_again() {
        let root = tempfile::tempdir().unwrap();
        let torch = libtorch::ours(root.path());
        fs::create_dir_all(torch.join("lib")).unwrap();
        fs::write(torch.join("version.py"), "__version__ = '2.11.0+cpu'\n").unwrap();
        fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
        ours(root.path()).unwrap();
        assert!(!root.path().join(".libtorch.lock").exists(), "the quick way takes no lock");
    }
}
