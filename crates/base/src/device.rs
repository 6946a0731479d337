//! The device that a run computes on, and the process-wide settings of libtorch.

use crate::error::{Error, Result};
use std::str::FromStr;
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
        let wrong = || Error::value("--device", "auto, cpu or cuda:N", text);
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", n)) => Ok(Self::Cuda(n.parse().map_err(|_| wrong())?)),
            _ => Err(wrong()),
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
            Self::Auto => {
                let driver = std::path::Path::new("/dev/nvidiactl").exists();
                Ok(if driver && load_cuda().is_ok() { Device::cuda_if_available() } else { Device::Cpu })
            }
            Self::Cuda(n) => {
                let no = |problem: String| Error::Device { asked: format!("cuda:{n}"), problem };
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

/// Loads `libtorch_cuda.so`, which the linker leaves out of our programs so that they also start, and start
/// light, on machines without CUDA.
#[allow(unsafe_code)]
fn load_cuda() -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: libtorch's own library, whose initialisers register its CUDA kernels; never unloaded.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    library.map(std::mem::forget).map_err(|e| format!("libtorch_cuda.so cannot be loaded ({e})"))
}

/// Settings of the process, to be called once at the start of `main`: keeps large freed tensors in the
/// process (glibc otherwise gives them back to the kernel on every free, which took a third of a training
/// loop's time) and fixes the number of threads, by default one for every core.
#[allow(unsafe_code)]
pub fn prepare_process(threads: Option<usize>) {
    // SAFETY: mallopt only sets two numbers of the allocator.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    tch::set_num_threads(threads.unwrap_or(cores) as i32);
    tch::set_num_interop_threads(1);
}
