//! Blocks by the dot products of AVX-512 BF16.

use super::block::{BLOCK, Operands};

/// Whether the processor has them.
pub(super) fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512bw") && has!("avx512bf16")
    };
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `c += a b`; only where [`available`] says so.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn block(operands: &Operands<'_>, c: &mut [f32; BLOCK * BLOCK]) {
    assert!(available(), "AVX-512 BF16 blocks on a processor without it");
    // SAFETY: just checked.
    unsafe { dots(operands, c) }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn block(operands: &Operands<'_>, c: &mut [f32; BLOCK * BLOCK]) {
    super::portable::block(operands, c);
}

/// 8 rows of both panels at once: 16 sums in registers.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dots(operands: &Operands<'_>, c: &mut [f32; BLOCK * BLOCK]) {
    use std::arch::x86_64::*;
    let pairs = 16 * operands.steps;
    let (left, right) = (&operands.b[0][..32 * pairs], &operands.b[1][..32 * pairs]);
    for rows in (0..BLOCK).step_by(8) {
        let a = &operands.a[rows * operands.stride..][..7 * operands.stride + 2 * pairs];
        let c = &mut c[rows * BLOCK..(rows + 8) * BLOCK];
        // SAFETY: all offsets below are inside of the slices just cut.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; 8];
            for (r, s) in sums.iter_mut().enumerate() {
                s[0] = _mm512_loadu_ps(c.as_ptr().add(r * BLOCK));
                s[1] = _mm512_loadu_ps(c.as_ptr().add(r * BLOCK + 16));
            }
            for pair in 0..pairs {
                let b = [left, right].map(|b| {
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(
                        b.as_ptr().add(32 * pair).cast(),
                    ))
                });
                for (r, s) in sums.iter_mut().enumerate() {
                    let value = a.as_ptr().add(r * operands.stride + 2 * pair).cast::<i32>().read_unaligned();
                    let value = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(value));
                    s[0] = _mm512_dpbf16_ps(s[0], value, b[0]);
                    s[1] = _mm512_dpbf16_ps(s[1], value, b[1]);
                }
            }
            for (r, s) in sums.iter().enumerate() {
                _mm512_storeu_ps(c.as_mut_ptr().add(r * BLOCK), s[0]);
                _mm512_storeu_ps(c.as_mut_ptr().add(r * BLOCK + 16), s[1]);
            }
        }
    }
}
