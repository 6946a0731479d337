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

/// How much of libtorch is installed into this checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What programs on the CPU need.
    Cpu,
    /// All of it, with the libraries for NVIDIA GPUs.
    Whole,
}

/// The two small libraries of CUDA that libtorch's CPU part is linked with, in the versions of torch's own requirements.
const LINKED: [&str; 2] = ["nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"];

/// What of the wheels the CPU part needs, relative to the folder that they are unpacked in.
const NEEDED_ON_CPU: [&str; 9] = [
    "torch/version.py",
    "torch/include",
    "torch/share",
    "torch/lib/libc10.so",
    "torch/lib/libgomp",
    "torch/lib/libtorch_cpu.so",
    "nvidia/cu13/lib/libcudart.so",
    "nvidia/cu13/lib/libcupti.so",
    // With the licences.
    ".dist-info",
];

impl Extent {
    /// All of it where a driver is loaded or the user asks for it, and on machines whose wheels bring other libraries.
    fn wanted(cuda: bool) -> Self {
        if cuda || has_driver() || std::env::consts::ARCH != "x86_64" { Self::Whole } else { Self::Cpu }
    }

    /// What is in the folder of a libtorch.
    fn of(torch: &Path) -> Self {
        if torch.join("lib/libtorch_cuda.so").exists() { Self::Whole } else { Self::Cpu }
    }

    /// Free space that the installation takes: what stays, and the downloaded wheels beside it for a while.
    fn needed_bytes(self) -> u64 {
        match self {
            Self::Cpu => 2_500_000_000,
            Self::Whole => 8_000_000_000,
        }
    }

    fn said(self) -> &'static str {
        match self {
            Self::Cpu => {
                "for the CPU (torch from PyPI, a download of 0.55 GB, 0.5 GB on disk; `cargo xtask setup --cuda` for GPUs)"
            }
            Self::Whole => "with CUDA (torch from PyPI, 4.6 GB)",
        }
    }

    fn install(self, part: &Path, scratch: &Path) -> Result {
        let torch = format!("torch=={VERSION}");
        match self {
            Self::Whole => pip::install(part, scratch, &[&torch], &[]),
            Self::Cpu => {
                pip::install(part, scratch, &[&torch, LINKED[0], LINKED[1]], &["--no-deps"])?;
                reduce(part)
            }
        }
    }
}

/// Whether the NVIDIA driver is loaded.
fn has_driver() -> bool {
    // The second one under WSL.
    ["/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// Removes what the CPU part does not need. `libtorch.so`, a library without code that names CUDA's, becomes a link to the CPU part.
fn reduce(folder: &Path) -> Result {
    fn keep_needed(folder: &Path, within: &str) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{within}{}", entry.file_name().to_string_lossy());
            let needed =
                |known: &str| name.starts_with(known) || (known.starts_with('.') && name.ends_with(known));
            if NEEDED_ON_CPU.iter().any(|known| needed(known)) {
                continue;
            }
            let on_the_way = NEEDED_ON_CPU.iter().any(|known| known.starts_with(&format!("{name}/")));
            match entry.file_type()?.is_dir() {
                true if on_the_way => keep_needed(&entry.path(), &format!("{name}/"))?,
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }
    let fail = |e: std::io::Error| Failure::file(folder, "removing what the CPU does not need from", &e);
    keep_needed(folder, "").map_err(fail)?;
    std::os::unix::fs::symlink("libtorch_cpu.so", folder.join("torch/lib/libtorch.so")).map_err(fail)
}

/// Makes libtorch available, or finds that it is; quick where there is nothing to do.
pub(crate) fn setup(root: &Path) -> Result<Libtorch> {
    with_extent(root, false)
}

/// The same, with what GPUs need where `cuda` says so.
pub(crate) fn with_extent(root: &Path, cuda: bool) -> Result<Libtorch> {
    platform(std::env::consts::OS, std::env::consts::ARCH)?;
    compiler(|name| std::env::var_os(name))?;
    let variable = |name| std::env::var_os(name);
    match Wanted::from_variables(root, variable("LIBTORCH"), variable("LIBTORCH_USE_PYTORCH")) {
        Wanted::Ours => ours(root, cuda),
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

/// Installs libtorch into `.libtorch` unless it is there, with CUDA where that is asked for.
fn ours(root: &Path, cuda: bool) -> Result<Libtorch> {
    let torch = libtorch::ours(root);
    let there = || {
        let libtorch = Libtorch::checked(torch.clone(), Wanted::Ours)?;
        match Extent::of(&torch) {
            Extent::Cpu if cuda => Err(Failure::new("libtorch for the CPU only")),
            _ => Ok(libtorch),
        }
    };
    if let Ok(libtorch) = there() {
        if has_driver() && Extent::of(&torch) == Extent::Cpu {
            eprintln!(
                "There is an NVIDIA driver, but .libtorch is for the CPU: `cargo xtask setup --cuda` brings the rest"
            );
        }
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
    for leftover in [&part, &scratch] {
        pip::remove(leftover)?;
    }
    let extent = Extent::wanted(cuda);
    space(root, free_bytes(root)?, extent.needed_bytes())?;

    let start = Instant::now();
    eprintln!("Installing libtorch {VERSION} {} into .libtorch", extent.said());
    if let Err(failure) = extent.install(&part, &scratch) {
        // Nothing half-written stays; finished downloads are in pip's cache.
        pip::remove(&part)?;
        return Err(failure);
    }
    pip::remove(&whole)?;
    fs::rename(&part, &whole).map_err(|e| Failure::file(&part, "renaming to .libtorch", &e))?;
    let libtorch = Libtorch::checked(torch.clone(), Wanted::Ours)?;
    if cuda && Extent::of(&torch) == Extent::Cpu {
        return Err(Failure::new(
            "torch on this package index has no CUDA part for this machine; run without --cuda",
        ));
    }
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

fn space(folder: &Path, free: u64, needed: u64) -> Result {
    if free >= needed {
        return Ok(());
    }
    let giga = |bytes: u64| bytes as f64 / 1e9;
    Err(Failure::new(format!(
        "{} has {:.1} GB free, but libtorch needs {:.1} GB while it is installed; free some space, or let LIBTORCH \
         name a libtorch {VERSION} on another disk",
        folder.display(),
        giga(free),
        giga(needed),
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
        let needed = Extent::Whole.needed_bytes();
        space(Path::new("."), needed, needed).unwrap();
        let line = space(Path::new("here"), 2_500_000_000, needed).unwrap_err().to_string();
        assert!(line.starts_with("here has 2.5 GB free, but libtorch needs 8.0 GB"), "{line}");
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
    fn the_cpu_part_keeps_what_it_needs_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let kept = [
            "torch/version.py",
            "torch/include/ATen/ATen.h",
            "torch/share/cmake/Torch/TorchConfig.cmake",
            "torch/lib/libc10.so",
            "torch/lib/libgomp.so.1",
            "torch/lib/libtorch_cpu.so",
            "nvidia/cu13/lib/libcudart.so.13",
            "torch-2.11.0.dist-info/licenses/LICENSE",
        ];
        let dropped = [
            "torch/__init__.py",
            "torch/nn/functional.py",
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libtorch.so",
            "torch/lib/libc10_cuda.so",
            "nvidia/cu13/lib/libnvperf_host.so",
            "nvidia/cu13/include/cuda.h",
            "functorch/x.py",
        ];
        for file in kept.iter().chain(&dropped) {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        reduce(folder.path()).unwrap();
        kept.iter().for_each(|file| assert!(folder.path().join(file).is_file(), "{file}"));
        let library = folder.path().join("torch/lib/libtorch.so");
        assert_eq!(fs::read_to_string(library).unwrap(), "torch/lib/libtorch_cpu.so");
        let gone = dropped.iter().filter(|file| !file.ends_with("libtorch.so"));
        gone.for_each(|file| assert!(!folder.path().join(file).exists(), "{file}"));
        assert_eq!(Extent::of(&folder.path().join("torch")), Extent::Cpu);
    }

    #[test]
    fn what_is_there_is_not_installed_again() {
        let root = tempfile::tempdir().unwrap();
        let torch = libtorch::ours(root.path());
        fs::create_dir_all(torch.join("lib")).unwrap();
        fs::write(torch.join("version.py"), "__version__ = '2.11.0+cpu'\n").unwrap();
        fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
        ours(root.path(), false).unwrap();
        assert!(!root.path().join(".libtorch.lock").exists(), "the quick way takes no lock");
    }
}
