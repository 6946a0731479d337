//! The blocks that a product is computed in, and what one of them is computed from.

/// Side of the blocks that a product is computed in.
pub const BLOCK: usize = 32;

/// 32 x 32 values, row by row.
pub type Block = [f32; BLOCK * BLOCK];

/// One block: `c += a b`, `a` 32 rows of `steps` x 32 numbers, `b` two panels of as many rows.
pub(super) struct Operands<'a> {
    pub(super) a: &'a [u16],
    /// From one row of `a` to the next.
    pub(super) stride: usize,
    pub(super) b: [&'a [u16]; 2],
    pub(super) steps: usize,
}
