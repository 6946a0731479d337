//! Transposition of small blocks in registers.

/// A 16 x 16 matrix.
pub(super) type Tile = [[u32; 16]; 16];

/// Transposes in place.
#[allow(unsafe_code)]
#[inline]
pub(super) fn transpose(tile: &mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512.
        unsafe { avx512(tile) };
        return;
    }
    let before = *tile;
    *tile = std::array::from_fn(|r| std::array::from_fn(|c| before[c][r]));
}

/// Four rounds of shuffles: within pairs of rows by 1 and by 2 numbers, then by quarters of rows.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn avx512(tile: &mut Tile) {
    use std::arch::x86_64::*;
    // SAFETY: every row is 64 bytes.
    let mut r: [__m512i; 16] =
        std::array::from_fn(|k| unsafe { _mm512_loadu_si512(tile[k].as_ptr().cast()) });
    let pairs = |r: &[__m512i; 16], k: usize| {
        let (a, b) = (r[k & !1], r[k | 1]);
        if k & 1 == 0 { _mm512_unpacklo_epi32(a, b) } else { _mm512_unpackhi_epi32(a, b) }
    };
    let mut t: [__m512i; 16] = std::array::from_fn(|k| pairs(&r, k));
    for four in 0..4 {
        let at = 4 * four;
        r[at] = _mm512_unpacklo_epi64(t[at], t[at + 2]);
        r[at + 1] = _mm512_unpackhi_epi64(t[at], t[at + 2]);
        r[at + 2] = _mm512_unpacklo_epi64(t[at + 1], t[at + 3]);
        r[at + 3] = _mm512_unpackhi_epi64(t[at + 1], t[at + 3]);
    }
    for k in 0..4 {
        for half in [0, 8] {
            t[half + k] = _mm512_shuffle_i32x4::<0x88>(r[half + k], r[half + k + 4]);
            t[half + k + 4] = _mm512_shuffle_i32x4::<0xdd>(r[half + k], r[half + k + 4]);
        }
    }
    for k in 0..8 {
        r[k] = _mm512_shuffle_i32x4::<0x88>(t[k], t[k + 8]);
        r[k + 8] = _mm512_shuffle_i32x4::<0xdd>(t[k], t[k + 8]);
    }
    for (line, r) in tile.iter_mut().zip(r) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), r) };
    }
}
