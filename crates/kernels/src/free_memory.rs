//! Whether there is memory for arrays that grow with a product of sizes.

use crate::error::KernelError;

/// Refuses `what`, an array of `bytes` bytes by the rule `rule`, where it is larger than `limit`; no number of bytes stands for
/// more than can be counted. Systems that promise more memory than they have end the process when an array is written to, so this is
/// asked before.
pub(crate) fn check(what: &str, rule: &str, bytes: Option<u64>, limit: u64) -> Result<(), KernelError> {
    if bytes.is_some_and(|bytes| bytes <= limit) {
        return Ok(());
    }
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let expected =
        format!("at most the {:.1} GB of free memory; take a sample of the points", gigabytes(limit));
    let got = bytes.map_or("more than can be counted".into(), |bytes| format!("{:.1} GB", gigabytes(bytes)));
    Err(KernelError::new(what, expected, format!("{rule} = {got}")))
}

/// Bytes that a new array may take without anything being swapped out, as Linux estimates it, and no more than a container
/// may have; elsewhere no limit.
pub(crate) fn available() -> u64 {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let free = text("/proc/meminfo").lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?;
        Some(kilobytes.trim().parse::<u64>().ok()?.saturating_mul(1024))
    });
    // "max" where there is no limit.
    let allowed = text("/sys/fs/cgroup/memory.max").trim().parse().ok();
    free.unwrap_or(u64::MAX).min(allowed.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_memory_for_is_refused() {
        assert!(check("costs", "8 n^2", Some(8), 8).is_ok());
        let line = check("costs", "8 n^2", Some(12_800_000_000), 8_000_000_000).unwrap_err().to_string();
        assert_eq!(
            line,
            "costs: expected at most the 8.0 GB of free memory; take a sample of the points, got 8 n^2 = 12.8 GB"
        );
        assert!(
            check("costs", "8 n^2", None, u64::MAX)
                .unwrap_err()
                .to_string()
                .contains("more than can be counted")
        );
        assert!(available() > 1 << 20);
    }
}
