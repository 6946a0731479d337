//! Matrix products of bfloat16 operands with float32 sums, on the processor's matrix unit where it has one.
//!
//! A float32 matrix is held as one bfloat16 matrix (8 bits of precision) or as the sum of two (16 bits); see
//! [`OperandPrecision`]. [`product`] multiplies [`Bf16Rows`] by [`Bf16Panels`] and hands over the result block by
//! block, so that a bias, an activation and the rounding to bfloat16 need no further pass over memory.

mod amx;
mod avx512;
mod block;
mod buffer;
mod layout;
mod portable;
mod product;
mod rounding;
mod transpose;

pub use block::{BLOCK, Block};
pub use layout::{Bf16Panels, Bf16Rows, OperandPrecision};
pub use product::{Engine, product, sum, sum_rows};

/// `x` rounded to the nearest bfloat16 (ties to even), as its bits. NaN stays NaN.
#[inline(always)]
pub fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = ((bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16) as u16;
    if x.is_nan() { ((bits >> 16) | 0x40) as u16 } else { rounded }
}

/// The float32 number with the bits of a bfloat16 number.
#[inline(always)]
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
