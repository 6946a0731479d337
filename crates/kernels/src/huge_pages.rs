//! Large arrays on large pages.

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
