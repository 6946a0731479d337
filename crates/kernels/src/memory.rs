//! Large arrays: whether there is memory for them, and large pages.

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

/// Bytes that a new array may take without anything being swapped out, as Linux estimates it; elsewhere no limit.
pub(crate) fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes.saturating_mul(1024))
}

/// From this size on, in bytes, an array is worth large pages: a few of theirs.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// An empty vector with room for `count` values.
///
/// Memory that a process has not had before comes page by page, when it is first written to, at about a microsecond each: for
/// arrays of many megabytes that takes as long as computing what goes there. Linux gives pages of 2 MB instead of 4 kB to those
/// who ask for them.
pub(crate) fn with_capacity<T>(count: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(count);
    on_large_pages(values.spare_capacity_mut());
    values
}

/// `count` zeros, see [`with_capacity`].
pub(crate) fn zeros(count: usize) -> Vec<f64> {
    let mut values = vec![0.0; count];
    on_large_pages(&mut values);
    values
}

/// Asks for large pages behind an array.
fn on_large_pages<T>(values: &mut [T]) {
    #[cfg(target_os = "linux")]
    if size_of_val(values) >= LARGE {
        // The call takes whole pages of 4 kB and more.
        const PAGE: usize = 64 << 10;
        let start = values.as_mut_ptr().cast::<u8>();
        let before = start.align_offset(PAGE);
        let length = (size_of_val(values) - before) / PAGE * PAGE;
        // SAFETY: the range is a part of the array, whose values it leaves alone; a refusal changes nothing.
        #[allow(unsafe_code)]
        unsafe {
            libc::madvise(start.add(before).cast(), length, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
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

    #[test]
    fn arrays_of_all_sizes_hold_what_they_are_given() {
        for count in [0, 1, 1000, 1 << 20, (1 << 21) + 3] {
            assert_eq!(zeros(count), vec![0.0; count]);
            let mut values = with_capacity(count);
            assert!(values.is_empty() && values.capacity() >= count);
            values.extend(0..count);
            assert!(values.iter().copied().eq(0..count));
        }
    }
}
