//! Memory of matrices, used again and again: fresh memory from the system costs more than the products on it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Numbers kept for later by one thread: 32 MiB.
const KEPT: usize = 1 << 24;

thread_local! {
    static FREE: RefCell<Vec<Vec<u16>>> = const { RefCell::new(Vec::new()) };
}

/// A vector whose memory goes to the next one of this thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffer(Vec<u16>);

impl Buffer {
    /// `n` zeros.
    pub(super) fn zeros(n: usize) -> Self {
        Self(vec![0; n])
    }

    /// `n` numbers of any value.
    pub(super) fn stale(n: usize) -> Self {
        let kept = FREE.with_borrow_mut(|free| {
            let fits = free.iter().rposition(|v| v.len() == n)?;
            Some(free.swap_remove(fits))
        });
        Self(kept.unwrap_or_else(|| vec![0; n]))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.0);
        if memory.is_empty() {
            return;
        }
        // No panic where the thread is ending.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.iter().map(Vec::len).sum::<usize>() + memory.len() <= KEPT {
                free.push(memory);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u16];
    fn deref(&self) -> &[u16] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u16] {
        &mut self.0
    }
}
