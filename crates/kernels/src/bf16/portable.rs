//! Blocks on any processor.

use super::block::{BLOCK, Operands};
use super::widen;

/// `c += a b` in float32.
pub(super) fn block(operands: &Operands<'_>, c: &mut [f32; BLOCK * BLOCK]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (a, line) in operands.a.chunks_exact(operands.stride).zip(c.chunks_exact_mut(BLOCK)) {
                for (b, line) in operands.b.iter().zip(line.chunks_exact_mut(16)) {
                    for (a, b) in a.chunks_exact(2).zip(b.chunks_exact(32)) {
                        for (o, b) in line.iter_mut().zip(b.chunks_exact(2)) {
                            *o += widen(a[0]) * widen(b[0]) + widen(a[1]) * widen(b[1]);
                        }
                    }
                }
            }
        },
    );
}
