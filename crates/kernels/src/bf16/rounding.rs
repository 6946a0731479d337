//! Blocks of a product, rounded to bfloat16 on their way to the next layer.

use super::block::{BLOCK, Block};
use super::round;
use pulp::Arch;

/// Writes `max(value + bias, 0)`, rounded, to the first 32 numbers of 32 rows, `width` numbers apart.
#[allow(unsafe_code)]
pub(super) fn relu(to: &mut [u16], width: usize, block: &Block, bias: &[f32; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    if super::avx512::available() {
        // SAFETY: just asked.
        unsafe { wide::relu(to, width, block, bias) };
        return;
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (to, from) in to.chunks_mut(width).zip(block.as_chunks::<BLOCK>().0) {
                let Some(to) = to.first_chunk_mut::<BLOCK>() else { continue };
                for c in 0..BLOCK {
                    let v = from[c] + bias[c];
                    // Not `max`, which would make 0 of NaN.
                    to[c] = round(if v <= 0.0 { 0.0 } else { v });
                }
            }
        },
    );
}

/// Writes values, rounded, where the number at the same place of `active` is not zero, and zeros elsewhere.
#[allow(unsafe_code)]
pub(super) fn masked(to: &mut [u16], active: &[u16], width: usize, block: &Block) {
    #[cfg(target_arch = "x86_64")]
    if super::avx512::available() {
        // SAFETY: just asked.
        unsafe { wide::masked(to, active, width, block) };
        return;
    }
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let rows = to.chunks_mut(width).zip(active.chunks(width));
            for ((to, active), from) in rows.zip(block.as_chunks::<BLOCK>().0) {
                let (Some(to), Some(active)) = (to.first_chunk_mut::<BLOCK>(), active.first_chunk::<BLOCK>())
                else {
                    continue;
                };
                for c in 0..BLOCK {
                    // All bits, or none: no branch.
                    to[c] = round(from[c]) & 0_u16.wrapping_sub(u16::from(active[c] != 0));
                }
            }
        },
    );
}

/// The same with the conversions of AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod wide {
    use super::{BLOCK, Block};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn relu(to: &mut [u16], width: usize, block: &Block, bias: &[f32; BLOCK]) {
        let zero = _mm512_setzero_ps();
        for (to, from) in to.chunks_mut(width).zip(block.as_chunks::<BLOCK>().0) {
            let Some(to) = to.first_chunk_mut::<BLOCK>() else { continue };
            // SAFETY: all three arrays hold 32 values. Of NaN and zero the maximum is the second operand.
            unsafe {
                let half = |k: usize| {
                    let sum = _mm512_add_ps(
                        _mm512_loadu_ps(from.as_ptr().add(k)),
                        _mm512_loadu_ps(bias.as_ptr().add(k)),
                    );
                    _mm512_max_ps(zero, sum)
                };
                let rounded = _mm512_cvtne2ps_pbh(half(16), half(0));
                _mm512_storeu_si512(
                    to.as_mut_ptr().cast(),
                    std::mem::transmute::<__m512bh, __m512i>(rounded),
                );
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn masked(to: &mut [u16], active: &[u16], width: usize, block: &Block) {
        let rows = to.chunks_mut(width).zip(active.chunks(width));
        for ((to, active), from) in rows.zip(block.as_chunks::<BLOCK>().0) {
            let (Some(to), Some(active)) = (to.first_chunk_mut::<BLOCK>(), active.first_chunk::<BLOCK>())
            else {
                continue;
            };
            // SAFETY: all three arrays hold 32 values.
            unsafe {
                let half = |k: usize| _mm512_loadu_ps(from.as_ptr().add(k));
                let rounded =
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(half(16), half(0)));
                let active = _mm512_loadu_si512(active.as_ptr().cast());
                let kept = _mm512_test_epi16_mask(active, active);
                _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_maskz_mov_epi16(kept, rounded));
            }
        }
    }
}
