//! What a run was made with, and where: `run.toml` beside its table.

use crate::options::RunOptions;
use crate::publish::Results;
use serde::Serialize;
use smalti_base::Result;
use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::Path;
use tch::Device;

/// The release that tch is built for; its build refuses another one.
const LIBTORCH: &str = "2.11.0";

/// Instructions that decide how fast our kernels are, as the system names them.
const INSTRUCTIONS: [&str; 5] = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"];

/// What a run was made with.
#[derive(Debug, Serialize)]
struct Made<'a> {
    experiment: &'a str,
    title: &'a str,
    profile: String,
    seed: u64,
    command: &'a str,
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<String>,
    processor: String,
    threads: usize,
    smalti: &'a str,
    libtorch: &'a str,
}

/// Adds `run.toml` to the results of a run of `experiment`.
///
/// # Errors
/// Those of [`Results::add`].
pub(crate) fn add(results: &Results, experiment: &str, title: &str, options: &RunOptions) -> Result<()> {
    let (device, gpu) = match options.device {
        Device::Cpu => ("cpu".to_owned(), None),
        Device::Cuda(n) => (format!("cuda:{n}"), gpu()),
        other => (format!("{other:?}"), None),
    };
    let made = Made {
        experiment,
        title,
        profile: options.profile.to_string(),
        seed: options.seed.value(),
        command: &options.command_line,
        device,
        gpu,
        processor: processor(&read_to_string("/proc/cpuinfo").unwrap_or_default()),
        threads: options.threads,
        smalti: env!("CARGO_PKG_VERSION"),
        libtorch: LIBTORCH,
    };
    // Numbers and texts, which TOML can hold.
    results.add("run.toml", toml::to_string(&made).unwrap_or_default().as_bytes())
}

/// The seed of the results in `folder`, where there are some.
pub(crate) fn seed(folder: &Path) -> Option<u64> {
    let made: toml::Table = toml::from_str(&read_to_string(folder.join("run.toml")).ok()?).ok()?;
    made.get("seed")?.as_integer()?.try_into().ok()
}

/// Model and instructions of the first processor that the system lists.
fn processor(cpuinfo: &str) -> String {
    let value = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let model = value("model name").unwrap_or(std::env::consts::ARCH);
    let flags: BTreeSet<&str> = value("flags").unwrap_or_default().split_whitespace().collect();
    let known: Vec<&str> = INSTRUCTIONS.into_iter().filter(|flag| flags.contains(flag)).collect();
    if known.is_empty() { model.to_owned() } else { format!("{model} ({})", known.join(", ")) }
}

/// The models of the GPUs that the driver lists.
fn gpu() -> Option<String> {
    let models: BTreeSet<String> = read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .filter_map(|gpu| {
            let text = read_to_string(gpu.ok()?.path().join("information")).ok()?;
            Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned())
        })
        .collect();
    (!models.is_empty()).then(|| models.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::processor;

    #[test]
    fn a_processor_is_its_model_and_what_it_can_do() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(processor(cpuinfo), "Some CPU @ 2 GHz (avx2, amx_bf16)");
        assert_eq!(processor(""), std::env::consts::ARCH);
    }
}
