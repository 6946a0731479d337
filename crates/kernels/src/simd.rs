//! Sixteen float32 numbers at once: AVX-512, AVX2, or plain arrays that the compiler vectorises as it can.

use pulp::Simd as _;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

/// How many numbers go together, whatever the processor.
pub(crate) const LANES: usize = 16;

/// The bits of a fraction in units of `2^-23`, which are those of a float32 in `[1, 2)` next to the bits of 1.
const FRACTION: u32 = (1 << 23) - 1;
const ONE: u32 = 1.0_f32.to_bits();

/// Sixteen numbers in memory.
pub(crate) type Group = [f32; LANES];

/// Sixteen numbers at the start of a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Aligned(pub(crate) Group);

/// Arithmetic on sixteen numbers. All results are the same to the last bit for all implementations but for
/// `mul_add`, which may round once or twice, and `sum`, whose order is free: nothing but bounds is computed here.
pub(crate) trait Lanes: Copy + Send + Sync {
    /// Sixteen numbers in registers.
    type F: Copy;
    /// Sixteen indices.
    type Index: Copy;
    /// Whether sixteen numbers are one register, of which there are 32.
    const WIDE: bool;

    fn splat(self, v: f32) -> Self::F;
    fn load(self, v: &Group) -> Self::F;
    fn store(self, v: Self::F) -> Group;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a b + c`.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Bit `l` tells whether `a_l <= b_l`.
    fn at_most(self, a: Self::F, b: Self::F) -> u16;
    /// `a` where the bit of the lane is set, 0 elsewhere.
    fn keep(self, mask: u16, a: Self::F) -> Self::F;
    fn sum(self, a: Self::F) -> f32;
    /// Writes `first` plus the positions of the bits that are set, ascending, into sixteen numbers; what follows these has
    /// no meaning.
    fn positions(self, mask: u16, first: u32, to: &mut [u32]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn indices(self, v: &[u32; LANES]) -> Self::Index;
    /// Positions `start + offsets` in units of `2^-23`, below `2^9`: their whole places, and 1 plus their fractions.
    fn split(self, start: u32, offsets: Self::Index) -> (Self::Index, Self::F);
    /// The indices plus 1.
    fn next(self, index: Self::Index) -> Self::Index;
    /// Values of the 32 in `low` and `high`, by the last five bits of the indices.
    fn look_up(self, low: Self::F, high: Self::F, index: Self::Index) -> Self::F;
    /// Runs `f`, and what is inlined into it, compiled for this processor.
    fn run<R>(self, f: impl FnOnce() -> R) -> R;
}

#[cfg(target_arch = "x86_64")]
impl Lanes for V4 {
    type F = pulp::f32x16;
    type Index = pulp::u32x16;
    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F {
        self.splat_f32s(v)
    }
    #[inline(always)]
    fn load(self, v: &Group) -> Self::F {
        pulp::cast(*v)
    }
    #[inline(always)]
    fn store(self, v: Self::F) -> Group {
        pulp::cast(v)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        self.sub_f32s(a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        self.min_f32s(a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        self.max_f32s(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.mul_add_f32s(a, b, c)
    }
    #[inline(always)]
    fn at_most(self, a: Self::F, b: Self::F) -> u16 {
        self.cmp_le_f32x16(a, b).0
    }
    #[inline(always)]
    fn keep(self, mask: u16, a: Self::F) -> Self::F {
        pulp::cast(self.avx512f._mm512_maskz_mov_ps(mask, pulp::cast(a)))
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        self.reduce_sum_f32s(a)
    }
    #[inline(always)]
    fn positions(self, mask: u16, first: u32, to: &mut [u32]) {
        let all = self.add_u32s(self.splat_u32s(first), pulp::cast(POSITIONS));
        let set: [u32; LANES] = pulp::cast(self.avx512f._mm512_maskz_compress_epi32(mask, pulp::cast(all)));
        to.copy_from_slice(&set);
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        self.add_f32s(a, b)
    }
    #[inline(always)]
    fn indices(self, v: &[u32; LANES]) -> Self::Index {
        pulp::cast(*v)
    }
    #[inline(always)]
    fn split(self, start: u32, offsets: Self::Index) -> (Self::Index, Self::F) {
        let at = self.add_u32s(self.splat_u32s(start), offsets);
        let fraction = self.and_u32s(at, self.splat_u32s(FRACTION));
        let one_plus = self.or_u32s(fraction, self.splat_u32s(ONE));
        (self.shr_const_u32x16::<23>(at), pulp::cast(one_plus))
    }
    #[inline(always)]
    fn next(self, index: Self::Index) -> Self::Index {
        self.add_u32s(index, self.splat_u32s(1))
    }
    #[inline(always)]
    fn look_up(self, low: Self::F, high: Self::F, index: Self::Index) -> Self::F {
        pulp::cast(self.avx512f._mm512_permutex2var_ps(pulp::cast(low), pulp::cast(index), pulp::cast(high)))
    }
    // The closure carries the attribute.
    #[expect(clippy::redundant_closure)]
    #[inline(always)]
    fn run<R>(self, f: impl FnOnce() -> R) -> R {
        V4::vectorize(
            self,
            #[inline(always)]
            || f(),
        )
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for V3 {
    type F = [pulp::f32x8; 2];
    type Index = [u32; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, v: f32) -> Self::F {
        [self.splat_f32s(v); 2]
    }
    #[inline(always)]
    fn load(self, v: &Group) -> Self::F {
        pulp::cast(*v)
    }
    #[inline(always)]
    fn store(self, v: Self::F) -> Group {
        pulp::cast(v)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        [self.sub_f32s(a[0], b[0]), self.sub_f32s(a[1], b[1])]
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        [self.min_f32s(a[0], b[0]), self.min_f32s(a[1], b[1])]
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        [self.max_f32s(a[0], b[0]), self.max_f32s(a[1], b[1])]
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        [self.mul_add_f32s(a[0], b[0], c[0]), self.mul_add_f32s(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn at_most(self, a: Self::F, b: Self::F) -> u16 {
        let bits = |k: usize| self.avx._mm256_movemask_ps(pulp::cast(self.cmp_le_f32x8(a[k], b[k]))) as u16;
        bits(0) | bits(1) << 8
    }
    #[inline(always)]
    fn keep(self, mask: u16, a: Self::F) -> Self::F {
        let half = |mask: u16, a: pulp::f32x8| -> pulp::f32x8 {
            let of_lanes = pulp::cast(PLACES);
            let set = self.and_u32s(self.splat_u32s(u32::from(mask)), of_lanes);
            let set = self.avx2._mm256_cmpeq_epi32(pulp::cast(set), pulp::cast(of_lanes));
            pulp::cast(self.and_u32s(pulp::cast(set), pulp::cast(a)))
        };
        [half(mask, a[0]), half(mask >> HALF, a[1])]
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        self.reduce_sum_f32s(self.add_f32s(a[0], a[1]))
    }
    #[inline(always)]
    fn positions(self, mask: u16, first: u32, to: &mut [u32]) {
        let half = |mask: u16, first: u32| -> [u32; HALF] {
            let bytes = pulp::cast([PACKED[mask as usize % PACKED.len()], 0]);
            let bits = pulp::cast(self.avx2._mm256_cvtepu8_epi32(bytes));
            pulp::cast(self.add_u32s(self.splat_u32s(first), bits))
        };
        let lower = (mask as u8).count_ones() as usize;
        to[..HALF].copy_from_slice(&half(mask, first));
        to[lower..lower + HALF].copy_from_slice(&half(mask >> HALF, first + HALF as u32));
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        [self.add_f32s(a[0], b[0]), self.add_f32s(a[1], b[1])]
    }
    #[inline(always)]
    fn indices(self, v: &[u32; LANES]) -> Self::Index {
        *v
    }
    #[inline(always)]
    fn split(self, start: u32, offsets: Self::Index) -> (Self::Index, Self::F) {
        let at = offsets.map(|offset| start.wrapping_add(offset));
        let one_plus = at.map(|at| f32::from_bits(at & FRACTION | ONE));
        (at.map(|at| at >> 23), self.load(&one_plus))
    }
    #[inline(always)]
    fn next(self, index: Self::Index) -> Self::Index {
        index.map(|index| index.wrapping_add(1))
    }
    #[inline(always)]
    fn look_up(self, low: Self::F, high: Self::F, index: Self::Index) -> Self::F {
        let window: [f32; 2 * LANES] = pulp::cast([self.store(low), self.store(high)]);
        self.load(&index.map(|index| window[index as usize % (2 * LANES)]))
    }
    #[expect(clippy::redundant_closure)]
    #[inline(always)]
    fn run<R>(self, f: impl FnOnce() -> R) -> R {
        V3::vectorize(
            self,
            #[inline(always)]
            || f(),
        )
    }
}

/// No more than the target's own instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

impl Lanes for Plain {
    type F = Group;
    type Index = [u32; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, v: f32) -> Group {
        [v; LANES]
    }
    #[inline(always)]
    fn load(self, v: &Group) -> Group {
        *v
    }
    #[inline(always)]
    fn store(self, v: Group) -> Group {
        v
    }
    #[inline(always)]
    fn sub(self, a: Group, b: Group) -> Group {
        std::array::from_fn(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn min(self, a: Group, b: Group) -> Group {
        std::array::from_fn(|l| if a[l] < b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn max(self, a: Group, b: Group) -> Group {
        std::array::from_fn(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn mul_add(self, a: Group, b: Group, c: Group) -> Group {
        std::array::from_fn(|l| a[l] * b[l] + c[l])
    }
    #[inline(always)]
    fn at_most(self, a: Group, b: Group) -> u16 {
        (0..LANES).fold(0, |bits, l| bits | u16::from(a[l] <= b[l]) << l)
    }
    #[inline(always)]
    fn keep(self, mask: u16, a: Group) -> Group {
        std::array::from_fn(|l| if mask >> l & 1 == 1 { a[l] } else { 0.0 })
    }
    #[inline(always)]
    fn sum(self, a: Group) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    fn positions(self, mask: u16, first: u32, to: &mut [u32]) {
        let mut count = 0;
        for l in POSITIONS {
            to[count % LANES] = first + l;
            count += usize::from(mask >> l & 1);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn indices(self, v: &[u32; LANES]) -> Self::Index {
        *v
    }
    #[inline(always)]
    fn split(self, start: u32, offsets: Self::Index) -> (Self::Index, Self::F) {
        let at = offsets.map(|offset| start.wrapping_add(offset));
        let one_plus = at.map(|at| f32::from_bits(at & FRACTION | ONE));
        (at.map(|at| at >> 23), self.load(&one_plus))
    }
    #[inline(always)]
    fn next(self, index: Self::Index) -> Self::Index {
        index.map(|index| index.wrapping_add(1))
    }
    #[inline(always)]
    fn look_up(self, low: Self::F, high: Self::F, index: Self::Index) -> Self::F {
        let window: [f32; 2 * LANES] = pulp::cast([self.store(low), self.store(high)]);
        self.load(&index.map(|index| window[index as usize % (2 * LANES)]))
    }
    #[inline(always)]
    fn run<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// The positions of sixteen bits.
const POSITIONS: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Half of the lanes: a register of AVX2.
#[cfg(target_arch = "x86_64")]
const HALF: usize = LANES / 2;

/// The bits of the lanes of such a register.
#[cfg(target_arch = "x86_64")]
const PLACES: pulp::u32x8 = pulp::u32x8(1, 2, 4, 8, 16, 32, 64, 128);

/// For each mask of eight bits the positions of those that are set, ascending, one in each byte from the lowest on.
#[cfg(target_arch = "x86_64")]
static PACKED: [i64; 1 << HALF] = {
    let mut all = [0; 1 << HALF];
    let mut mask = 0;
    while mask < all.len() {
        let (mut count, mut l) = (0, 0);
        while l < HALF {
            if mask >> l & 1 == 1 {
                all[mask] |= (l as i64) << (8 * count);
                count += 1;
            }
            l += 1;
        }
        mask += 1;
    }
    all
};

/// A computation that is compiled for each kind of processor.
pub(crate) trait Kernel {
    type Output;
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Which instructions to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512, where the processor has it.
    V4,
    /// AVX2 with fused multiply-add, where the processor has it.
    V3,
    /// What every processor has.
    Plain,
}

impl Isa {
    /// The widest instructions that this processor has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if V4::try_new().is_some() {
                return Self::V4;
            }
            if V3::try_new().is_some() {
                return Self::V3;
            }
        }
        Self::Plain
    }
}

/// Runs `kernel` with the widest instructions that the processor has, up to `most`.
pub(crate) fn dispatch<K: Kernel>(most: Isa, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let (Isa::V4, Some(v4)) = (most, V4::try_new()) {
            return kernel.run(v4);
        }
        if let (Isa::V4 | Isa::V3, Some(v3)) = (most, V3::try_new()) {
            return kernel.run(v3);
        }
    }
    kernel.run(Plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Positions(u16);

    impl Kernel for Positions {
        type Output = [u32; LANES];

        fn run<L: Lanes>(self, lanes: L) -> Self::Output {
            let mut to = [0; LANES];
            lanes.positions(self.0, 100, &mut to);
            to
        }
    }

    #[test]
    fn positions_of_all_masks() {
        for mask in 0..=u16::MAX {
            let set: Vec<u32> = (0..16).filter(|l| mask >> l & 1 == 1).map(|l| 100 + l).collect();
            for isa in [Isa::V4, Isa::V3, Isa::Plain] {
                assert_eq!(dispatch(isa, Positions(mask))[..set.len()], set, "{mask:b} {isa:?}");
            }
        }
    }
}
