//! The device that a run computes on, and the process-wide settings of libtorch.

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, os::unix::process::CommandExt, str::FromStr};
use tch::Device;

/// The device as a user writes it: `auto`, `cpu` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA device number N.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::value("device", "auto, cpu or cuda:N", text);
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", n)) => Ok(Self::Cuda(n.parse().map_err(|_| wrong())?)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl DeviceChoice {
    /// The device to compute on; loads libtorch's CUDA part only where it is wanted and there.
    ///
    /// # Errors
    /// [`Error::Device`] where a CUDA device is asked for that is not there.
    pub fn resolve(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !has_driver() => Ok(Device::Cpu),
            Self::Auto => Ok(load_cuda().map_or_else(
                |problem| {
                    tracing::warn!("there is an NVIDIA driver, but {problem}: computing on the CPU");
                    Device::Cpu
                },
                |()| Device::cuda_if_available(),
            )),
            Self::Cuda(n) => {
                let no = |problem: String| Error::Device { index: n, problem };
                load_cuda().map_err(no)?;
                let count = tch::Cuda::device_count();
                if (n as i64) < count {
                    Ok(Device::Cuda(n))
                } else {
                    Err(no(format!("libtorch sees {count} CUDA devices")))
                }
            }
        }
    }
}

/// Whether the driver's library is on this machine: a light question, asked before the heavy CUDA part of
/// libtorch is loaded.
#[allow(unsafe_code)]
fn has_driver() -> bool {
    use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
    // SAFETY: the driver's public library, whose initialisers expect to run in any program, as they do when libtorch
    // loads it; never unloaded.
    unsafe { Library::open(Some("libcuda.so.1"), RTLD_LAZY | RTLD_LOCAL) }.map(std::mem::forget).is_ok()
}

/// Loads `libtorch_cuda.so`, which the linker leaves out of our programs so that they also start, and start
/// light, on machines without CUDA.
#[allow(unsafe_code)]
fn load_cuda() -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: libtorch's own library, whose initialisers register its CUDA kernels; never unloaded.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    library.map(std::mem::forget).map_err(|e| format!("libtorch_cuda.so cannot be loaded ({e})"))
}

/// How often an idle thread of libgomp looks for work before it sleeps: some microseconds.
const SPINS: &str = "1000";

/// Lets libtorch's idle threads sleep soon, so that the program does not waste the cores that it shares with others: for the very
/// start of `main`, before any thread is made.
///
/// libgomp, whose threads run libtorch's loops, spins for long at every barrier: beside two busy programs on two cores small work
/// takes many times as long as alone. It reads its settings when it is loaded, so the program starts itself anew in the same process
/// (same arguments, same process number) with `GOMP_SPINCOUNT=1000`. Where `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT` is set already, the
/// user has chosen, and nothing happens; nor where the program's file cannot be started again.
pub fn limit_spinning() {
    let chosen =
        ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"].into_iter().any(|name| std::env::var_os(name).is_some());
    // Not where the program was given to the loader by hand, which then is what runs.
    let loader = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld"))
    };
    let program = std::env::current_exe().ok().filter(|path| !chosen && !loader(path));
    let Some(program) = program else { return };
    let mut words = std::env::args_os();
    let mut command = std::process::Command::new(&program);
    command.arg0(words.next().unwrap_or_else(|| program.into_os_string())).args(words);
    // Returns only where it failed.
    drop(command.env("GOMP_SPINCOUNT", SPINS).exec());
}

/// What [`prepare_process`] was given; 0 stands for one for every core.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Number of threads of [`crate::parallel::map`]: what [`prepare_process`] was given, else one for every core
/// that the process may use.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    }
}

/// Settings of the process, for the start of `main` (a second call only changes the number of threads).
///
/// Keeps large freed tensors in the process: glibc otherwise gives them back to the kernel on every free,
/// which took a third of a training loop's time. All threads share one heap for this, since glibc's heaps for
/// other threads cannot hold more than 64 MiB; threads that have allocated before keep theirs.
///
/// Makes libtorch single-threaded: large work is spread over `threads` threads (default: all cores) by
/// [`crate::parallel::map`].
#[allow(unsafe_code)]
pub fn prepare_process(threads: Option<usize>) {
    // SAFETY: mallopt only sets numbers of the allocator, each a machine word that other threads read whenever they allocate
    // (glibc's `free` changes the same thresholds while they do). Older glibc refuses thresholds above 32 MiB.
    #[cfg(target_env = "gnu")]
    unsafe {
        if libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30) == 0 {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        }
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    THREADS.store(threads.map_or(0, |n| n.max(1)), Ordering::Relaxed);
    tch::set_num_threads(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_written() {
        let read = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(read("auto").unwrap(), DeviceChoice::Auto);
        assert_eq!(read("cpu").unwrap(), DeviceChoice::Cpu);
        assert_eq!(read("cuda").unwrap(), DeviceChoice::Cuda(0));
        assert_eq!(read("cuda:3").unwrap(), DeviceChoice::Cuda(3));
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(2)] {
            assert_eq!(read(&choice.to_string()).unwrap(), choice);
        }
        for text in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0"] {
            let line = read(text).unwrap_err().to_string();
            assert_eq!(line, format!("device: expected auto, cpu or cuda:N, got {text}"));
        }
    }

    #[test]
    fn a_missing_cuda_device_is_one_clear_line() {
        // No machine has this many, and most have none at all.
        let line = DeviceChoice::Cuda(999).resolve().unwrap_err().to_string();
        assert!(line.starts_with("device cuda:999: libtorch"), "{line}");
        assert!(line.ends_with("; use cpu or auto") && line.lines().count() == 1, "{line}");
    }

    #[test]
    fn the_cpu_and_auto_always_resolve() {
        assert_eq!(DeviceChoice::Cpu.resolve().unwrap(), Device::Cpu);
        let auto = DeviceChoice::Auto.resolve().unwrap();
        assert!(auto == Device::Cpu || tch::Cuda::is_available());
    }
}
