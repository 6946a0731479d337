//! Hints to the processor's caches.

/// Asks for the first `n` values to be brought into the second-level cache.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T], n: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in values[..n.min(values.len())].chunks((64 / size_of::<T>().max(1)).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, for an address that exists.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, n);
}
