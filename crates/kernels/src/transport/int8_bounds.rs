//! Bounds on all pairs by products of bytes, four at a time: a quarter of the instructions of those in float32.
//!
//! Centred rows are rounded to whole numbers of at most 127 in size, `x = s a + u` and `y = t b + v`, with one `t` for all
//! references and one `s` for each query. From `x.y = s t a.b + u.y + s a.v` follows
//!
//! `|x - y|^2 >= |x|^2 + |y|^2 - 2 s t a.b - 2 (|u| |y| + s |a| |v|)`.
//!
//! The product `a.b` is exact, and with the largest `|y|` and `|v|` the last term depends on the query alone: it widens
//! its margin. Where bytes are too coarse, as for clusters that are far apart, too many pairs come within it.

use super::{
    bounds::Limits,
    reference_index::ReferenceIndex,
    search::{Query, Search},
    tiled_search::{Bound, Tile},
};
use crate::simd::{Group, LANES, Lanes};

/// The largest whole number.
const MOST: f64 = 127.0;

/// What is added to the numbers of references, whose bytes have no sign.
const LIFT: i32 = 128;

/// Of rows up to this length, products are float32 numbers, and what a scale loses by underflow is below the least normal
/// number, which limits allow for.
const LONGEST: usize = 512;

/// Queries and panels of a tile: 24 sums in registers.
const X: usize = 12;
const Y: usize = 2;

/// Four bytes of each of sixteen rows.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Quads([u8; 4 * LANES]);

/// Centred reference rows as bytes, sixteen to a panel, four values at a time.
#[derive(Debug)]
pub(crate) struct Int8Panels {
    groups: Vec<Quads>,
    /// `t`.
    unit: f64,
    /// The largest `|v|`.
    error: f64,
    /// The largest `|y|`.
    radius: f64,
    /// What [`quick`] says.
    quick: bool,
}

/// Whether these products are quick here: AVX-512 VNNI, and rows of at most 512 values.
pub(crate) fn quick(dim: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let there = {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512vnni")
    };
    #[cfg(not(target_arch = "x86_64"))]
    let there = false;
    there && dim <= LONGEST
}

impl Int8Panels {
    // On one thread: others wait for it, who must not be given parts of it to do.
    pub(crate) fn of(index: &ReferenceIndex) -> Self {
        let (quads, count) = (index.dim().div_ceil(4), index.distinct());
        let row = |place: usize| index.centred(index.padded(place as u32));
        let grid = Quantizer::to((0..count).flat_map(row).fold(0.0, |largest, v| v.abs().max(largest)));
        let mut groups = vec![Quads([LIFT as u8; 4 * LANES]); count.div_ceil(LANES) * quads];
        let mut error = 0.0_f64;
        for place in 0..count {
            let mut off = 0.0;
            for (k, v) in row(place).enumerate() {
                let (whole, rest) = grid.round(v);
                groups[place / LANES * quads + k / 4].0[place % LANES * 4 + k % 4] = (whole + LIFT) as u8;
                off += rest * rest;
            }
            error = error.max(off);
        }
        let radius = index.squares().iter().copied().fold(0.0, f64::max);
        let quick = quick(index.dim());
        Self { groups, unit: grid.unit, error: error.sqrt(), radius: radius.sqrt(), quick }
    }

    /// The same without a margin for what is rounded away, to show that it is needed.
    #[cfg(test)]
    pub(crate) fn without_margins(self) -> Self {
        Self { error: 0.0, radius: 0.0, ..self }
    }

    /// The same without special instructions.
    #[cfg(test)]
    pub(crate) fn plain(self) -> Self {
        Self { quick: false, ..self }
    }
}

/// Int8Queries numbers of a unit.
#[derive(Clone, Copy)]
struct Quantizer {
    unit: f64,
    /// `1 / unit`; 0 where all values are.
    inverse: f64,
}

impl Quantizer {
    /// The finest for values up to `largest` in size.
    #[inline(always)]
    fn to(largest: f32) -> Self {
        let unit = f64::from(largest) / MOST;
        Self { unit, inverse: if largest > 0.0 { 1.0 / unit } else { 0.0 } }
    }

    /// The nearest whole number, and what is left.
    #[inline(always)]
    fn round(self, v: f32) -> (i32, f64) {
        /// A sum with it has no room for fractions, and its low bits are the whole number.
        const SHIFT: f64 = 1.5 * (1_u64 << 52) as f64;
        let shifted = f64::from(v) * self.inverse + SHIFT;
        (shifted.to_bits() as i32, f64::from(v) - (shifted - SHIFT) * self.unit)
    }
}

/// Queries as bytes.
pub(crate) struct Int8Queries {
    /// Four bytes of each query, four values at a time.
    quads: Vec<[i32; X]>,
    /// What takes the lift of the references' bytes off a sum.
    starts: [i32; X],
    /// `-2 s t`.
    scales: [f32; X],
}

impl Bound<X, Y> for Int8Panels {
    type Values = Int8Queries;

    #[inline(always)]
    fn tile<L: Lanes>(&self, search: &Search<'_, L>, queries: &[Query<'_>]) -> Tile<Int8Queries, X> {
        let index = search.index;
        let mut quads = vec![[[0_u8; 4]; X]; index.dim().div_ceil(4)];
        let (mut starts, mut scales, mut margins) = ([0; X], [0.0; X], [queries[0].margin; X]);
        let mut row = vec![0.0; index.stride()];
        for (x, margin) in margins.iter_mut().enumerate() {
            let query = queries[x.min(queries.len() - 1)];
            row.iter_mut().zip(index.centred(query.row)).for_each(|(row, v)| *row = v);
            let row = row.as_chunks::<LANES>().0;
            // Sixteen sums at a time.
            let (mut largest, mut square) = ([0.0_f32; LANES], [0.0; LANES]);
            for row in row {
                for ((largest, square), &v) in largest.iter_mut().zip(&mut square).zip(row) {
                    *largest = if v.abs() > *largest { v.abs() } else { *largest };
                    *square += f64::from(v) * f64::from(v);
                }
            }
            let grid = Quantizer::to(largest.iter().copied().fold(0.0, f32::max));
            let (mut off, mut sum) = ([0.0; LANES], [0; LANES]);
            for (row, quads) in row.iter().zip(quads.chunks_mut(LANES / 4)) {
                let mut wholes = [0; LANES];
                for (((whole, off), sum), &v) in wholes.iter_mut().zip(&mut off).zip(&mut sum).zip(row) {
                    let rest;
                    (*whole, rest) = grid.round(v);
                    *off += rest * rest;
                    *sum += *whole;
                }
                for (quads, wholes) in quads.iter_mut().zip(wholes.as_chunks::<4>().0) {
                    quads[x] = wholes.map(|whole| whole as u8);
                }
            }
            let (sum, off): (i32, f64) = (sum.iter().sum(), off.iter().sum::<f64>().sqrt());
            let square: f64 = square.iter().sum();
            starts[x] = -LIFT * sum;
            scales[x] = (-2.0 * grid.unit * self.unit) as f32;
            let rounding = 2.0 * (off * self.radius + (square.sqrt() + off) * self.error);
            let exact = index.dense_margins.of(query.point.length, square, search.potential.top);
            *margin = exact.widened(1.0001 * rounding);
        }
        let quads = quads.into_iter().map(|quads| quads.map(i32::from_le_bytes)).collect();
        Tile { values: Int8Queries { quads, starts, scales }, margins }
    }

    #[inline(always)]
    fn close<L: Lanes>(
        &self,
        _: L,
        values: &Int8Queries,
        panels: [usize; Y],
        offsets: [&Group; Y],
        limits: &[Limits; X],
        close: &mut [[u16; Y]; X],
    ) -> bool {
        let quads = values.quads.len();
        let panels = panels.map(|panel| &self.groups[panel * quads..][..quads]);
        match self.quick {
            // SAFETY: `quick` is true only where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            true => unsafe { vnni(values, panels, offsets, limits, close) },
            _ => portable(values, panels, offsets, limits, close),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni(
    values: &Int8Queries,
    panels: [&[Quads]; Y],
    offsets: [&Group; Y],
    limits: &[Limits; X],
    close: &mut [[u16; Y]; X],
) -> bool {
    use std::arch::x86_64::*;
    // Loops, not closures handed to functions of arrays: those would be compiled for any processor.
    let zero = _mm512_setzero_si512();
    let mut sums = [[zero; Y]; X];
    for (sums, &start) in sums.iter_mut().zip(&values.starts) {
        *sums = [_mm512_set1_epi32(start); Y];
    }
    for (k, quads) in values.quads.iter().enumerate() {
        let mut rows = [zero; Y];
        for (row, panel) in rows.iter_mut().zip(panels) {
            *row = pulp::cast(panel[k].0);
        }
        for (sums, &quad) in sums.iter_mut().zip(quads) {
            let quad = _mm512_set1_epi32(quad);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = _mm512_dpbusd_epi32(*sum, row, quad);
            }
        }
    }
    let mut any = 0;
    for (x, (close, sums)) in close.iter_mut().zip(sums).enumerate() {
        let (scale, limit) = (_mm512_set1_ps(values.scales[x]), _mm512_set1_ps(limits[x].points));
        for (close, (sum, offsets)) in close.iter_mut().zip(sums.into_iter().zip(offsets)) {
            let bound = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, pulp::cast(*offsets));
            *close = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(bound, limit);
            any |= *close;
        }
    }
    any != 0
}

/// The same on any processor.
fn portable(
    values: &Int8Queries,
    panels: [&[Quads]; Y],
    offsets: [&Group; Y],
    limits: &[Limits; X],
    close: &mut [[u16; Y]; X],
) -> bool {
    for (x, close) in close.iter_mut().enumerate() {
        for (close, (panel, offsets)) in close.iter_mut().zip(panels.into_iter().zip(offsets)) {
            *close = 0;
            for (l, &offset) in offsets.iter().enumerate() {
                let products = values.quads.iter().zip(panel).flat_map(|(quads, rows)| {
                    let row = rows.0[4 * l..4 * l + 4].iter().map(|&b| i32::from(b));
                    row.zip(quads[x].to_le_bytes()).map(|(b, a)| b * i32::from(a as i8))
                });
                let sum = values.starts[x] + products.sum::<i32>();
                let bound = (sum as f32).mul_add(values.scales[x], offset);
                *close |= u16::from(bound <= limits[x].points) << l;
            }
        }
    }
    close.as_flattened().iter().any(|&close| close != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector instructions find what plain ones do, to the bit.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn both_products_are_the_same() {
        if !quick(20) {
            return;
        }
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let mut quad = || i32::from_le_bytes(std::array::from_fn(|_| random() as u8));
        let quads = (0..5).map(|_| std::array::from_fn(|_| quad())).collect();
        let panels: Vec<Quads> = (0..10).map(|_| Quads(std::array::from_fn(|_| random() as u8))).collect();
        let starts = std::array::from_fn(|_| -(random() as i32 % 100_000));
        let scales = std::array::from_fn(|x| -1e-3 * (x + 1) as f32);
        let values = Int8Queries { quads, starts, scales };
        let offsets: [Group; 2] = std::array::from_fn(|_| std::array::from_fn(|_| (random() % 1000) as f32));
        let limits = std::array::from_fn(|x| Limits { boxes: 0.0, points: 50.0 * x as f32 });
        let (panels, offsets) = ([&panels[..5], &panels[5..]], [&offsets[0], &offsets[1]]);
        let (mut quick, mut plain) = ([[0; Y]; X], [[0; Y]; X]);
        // SAFETY: asked above.
        #[allow(unsafe_code)]
        let any = unsafe { vnni(&values, panels, offsets, &limits, &mut quick) };
        assert_eq!(any, portable(&values, panels, offsets, &limits, &mut plain));
        assert_eq!(quick, plain);
        let found: u32 = plain.as_flattened().iter().map(|close| close.count_ones()).sum();
        assert!((20..364).contains(&found), "{found} of 384");
    }
}
