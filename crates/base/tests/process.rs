//! Settings of the process: a program of its own without the test harness, since they are made in `main`.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::device::{prepare_process, threads};
use tch::{Device, Kind, Tensor};

fn main() {
    prepare_process(Some(2));
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for size_mib in [1, 8, 80] {
        freed_memory_stays(size_mib);
        std::thread::spawn(move || freed_memory_stays(size_mib)).join().unwrap();
    }
    may_come_late_and_twice();
    println!("prepare_process: ok");
}

fn may_come_late_and_twice() {
    // Parallel work has started before: some settings of libtorch can then no longer be made.
    let x = Tensor::ones([512, 512], (Kind::Float, Device::Cpu));
    let _ = x.matmul(&x);
    prepare_process(Some(3));
    assert_eq!((threads(), tch::get_num_threads()), (3, 1), "libtorch itself computes with one thread");
    prepare_process(Some(0));
    assert_eq!(threads(), 1, "no thread at all is one");
    prepare_process(None);
    assert_eq!(threads(), std::thread::available_parallelism().unwrap().get());
}

/// Fresh from the kernel, a tensor takes a page fault for every 4 KiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn freed_memory_stays(size_mib: i64) {
    let fill = || drop(Tensor::ones([size_mib << 18], (Kind::Float, Device::Cpu)));
    (0..20).for_each(|_| fill());
    let before = page_faults();
    (0..10).for_each(|_| fill());
    let (faults, if_fresh) = (page_faults() - before, 10 * size_mib as u64 * 256);
    println!("{size_mib} MiB, {:?}: {faults} page faults of {if_fresh}", std::thread::current().id());
    assert!(faults < if_fresh / 10, "freed memory went back to the kernel");
}

/// Minor page faults of this process so far: the tenth field of its `stat`, the name in parentheses apart.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(7).unwrap().parse().unwrap()
}
