//! Products block by block.

use super::block::{BLOCK, Block, Operands};
use super::layout::{Bf16Panels, Bf16Rows, padded};
use super::{amx, avx512, portable};
use crate::prefetch::prefetch;
use std::ops::Range;
use std::sync::OnceLock;

/// What computes a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The matrix unit of Intel processors (AMX).
    Amx,
    /// The dot products of AVX-512 BF16.
    Avx512,
    /// float32 arithmetic on any processor.
    Portable,
}

impl Engine {
    /// The fastest one that this processor has and the system allows.
    pub fn best() -> Self {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| {
            [Self::Amx, Self::Avx512].into_iter().find(|e| e.available()).unwrap_or(Self::Portable)
        })
    }

    /// Whether it works here.
    pub fn available(self) -> bool {
        match self {
            Self::Amx => amx::available(),
            Self::Avx512 => avx512::available(),
            Self::Portable => true,
        }
    }
}

/// Computes `A B` and gives every 32 x 32 block of it (row-major) with the numbers of its first row and column to
/// `take`; rows and columns beyond the shape of the product hold what the padding made of them.
///
/// Where both operands have two parts, the product of the two small ones is left out.
pub fn product(engine: Engine, a: &Bf16Rows, b: &Bf16Panels, take: impl FnMut(usize, usize, &Block)) {
    sum(engine, &[(a, b)], take);
}

/// The same for a sum `A_1 B_1 + A_2 B_2 + ...` of matrices of one shape.
pub fn sum(engine: Engine, factors: &[(&Bf16Rows, &Bf16Panels)], take: impl FnMut(usize, usize, &Block)) {
    let rows = factors.first().map_or(0, |(a, _)| padded(a.shape.0));
    sum_rows(engine, factors, 0..rows, take);
}

/// The same for some rows only, from one multiple of [`BLOCK`] to another.
pub fn sum_rows(
    engine: Engine,
    factors: &[(&Bf16Rows, &Bf16Panels)],
    rows: Range<usize>,
    mut take: impl FnMut(usize, usize, &Block),
) {
    let Some((_, b)) = factors.first() else { return };
    let columns = padded(b.shape.1);
    let mut terms: Vec<(&[u16], &[u16], usize)> = Vec::with_capacity(3 * factors.len());
    for (a, b) in factors {
        debug_assert_eq!(a.shape.1, b.shape.0);
        for (i, a_part) in a.parts.iter().enumerate() {
            for b_part in &b.parts[..b.parts.len().min(2 - i)] {
                terms.push((a_part, b_part, padded(a.shape.1)));
            }
        }
    }
    let mut c = Aligned([0.0; BLOCK * BLOCK]);
    let tiles = (engine == Engine::Amx).then(amx::Tiles::configure);
    for column in (0..columns).step_by(BLOCK) {
        for row in rows.clone().step_by(BLOCK) {
            for (k, &(a, b, depth)) in terms.iter().enumerate() {
                // The next two panels come from afar: a share of them with every block that uses these.
                let next = b.get((column + BLOCK) * depth..).unwrap_or_default();
                let share = (BLOCK * depth * BLOCK).div_ceil(rows.len());
                prefetch(next.get((row - rows.start) / BLOCK * share..).unwrap_or_default(), share);
                let panel = |n: usize| &b[(column + 16 * n) * depth..(column + 16 * (n + 1)) * depth];
                let operands = Operands {
                    a: &a[row * depth..(row + BLOCK) * depth],
                    stride: depth,
                    b: [panel(0), panel(1)],
                    steps: depth / 32,
                };
                if k == 0 && tiles.is_none() {
                    c.0.fill(0.0);
                }
                match &tiles {
                    Some(tiles) => amx::block(tiles, &operands, &mut c.0, k > 0),
                    None if engine == Engine::Avx512 => avx512::block(&operands, &mut c.0),
                    None => portable::block(&operands, &mut c.0),
                }
            }
            take(row, column, &c.0);
        }
    }
}

#[repr(align(64))]
struct Aligned(Block);
