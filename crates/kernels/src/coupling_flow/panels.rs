//! Products of a packed matrix with lines of numbers, one of every patch, and what becomes of the results in registers.

use crate::simd::{Group, LANES, Lanes};

/// Registers of sixteen patches that go through the flow together.
pub(super) const GROUPS: usize = 3;

/// Patches that go through the flow together.
pub(super) const PATCHES: usize = GROUPS * LANES;

/// One number of every patch of a block.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [Group; GROUPS]);

impl Line {
    pub(super) const ZERO: Self = Self([[0.0; LANES]; GROUPS]);

    pub(super) fn values(&self) -> &[f32] {
        self.0.as_flattened()
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.0.as_flattened_mut()
    }
}

/// In which patches of a block a hidden unit is active, one bit for each.
pub(super) type Active = [u16; GROUPS];

/// `x -> W x + b` for a matrix `W` that is held `height` rows after another, column by column. Sums of that many rows stay in
/// registers; the last rows are filled up with zeros.
#[derive(Debug, Clone)]
pub(super) struct Panels {
    rows: usize,
    columns: usize,
    height: usize,
    values: Vec<f32>,
    bias: Vec<f32>,
}

impl Panels {
    /// The matrix with the elements `at(row, column)`, for an instruction set with `wide` registers (see [`Lanes::WIDE`]).
    pub(super) fn new(
        [rows, columns]: [usize; 2],
        wide: bool,
        at: impl Fn(usize, usize) -> f32,
        bias: impl Fn(usize) -> f32,
    ) -> Self {
        // The height of least work, a column of a panel costing one load besides its products.
        let heights: &[usize] = if wide { &[8, 6, 4] } else { &[6, 4] };
        let work = |height: &&usize| rows.div_ceil(**height) * (**height + 1);
        let height = heights.iter().min_by_key(work).copied().unwrap_or(4);
        let padded = rows.next_multiple_of(height);
        let inside = |row: usize, value: &dyn Fn() -> f32| if row < rows { value() } else { 0.0 };
        let mut values = Vec::with_capacity(padded * columns);
        for first in (0..padded).step_by(height) {
            for column in 0..columns {
                values.extend((first..first + height).map(|row| inside(row, &|| at(row, column))));
            }
        }
        let bias = (0..padded).map(|row| inside(row, &|| bias(row))).collect();
        Self { rows, columns, height, values, bias }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// `to = W x + b`.
    pub(super) fn write<L: Lanes>(&self, lanes: L, x: &[Line], to: &mut [Line]) {
        lanes.run(
            #[inline(always)]
            || {
                self.product(
                    lanes,
                    x,
                    #[inline(always)]
                    |row, group, value| to[row].0[group] = lanes.store(value),
                );
            },
        );
    }

    /// `to = to + W x + b`.
    pub(super) fn add<L: Lanes>(&self, lanes: L, x: &[Line], to: &mut [Line]) {
        lanes.run(
            #[inline(always)]
            || {
                self.product(
                    lanes,
                    x,
                    #[inline(always)]
                    |row, group, value| {
                        let to = &mut to[row].0[group];
                        *to = lanes.store(lanes.add(lanes.load(to), value));
                    },
                );
            },
        );
    }

    /// `to = relu(W x + b)`, and where that is not 0; NaN stays NaN.
    pub(super) fn relu<L: Lanes>(&self, lanes: L, x: &[Line], active: &mut [Active], to: &mut [Line]) {
        lanes.run(
            #[inline(always)]
            || {
                let zero = lanes.splat(0.0);
                self.product(
                    lanes,
                    x,
                    #[inline(always)]
                    |row, group, value| {
                        active[row][group] = !lanes.at_most(value, zero);
                        to[row].0[group] = lanes.store(lanes.max(zero, value));
                    },
                );
            },
        );
    }

    /// `to = W x + b` where active, and 0 elsewhere.
    pub(super) fn masked<L: Lanes>(&self, lanes: L, x: &[Line], active: &[Active], to: &mut [Line]) {
        lanes.run(
            #[inline(always)]
            || {
                self.product(
                    lanes,
                    x,
                    #[inline(always)]
                    |row, group, value| to[row].0[group] = lanes.store(lanes.keep(active[row][group], value)),
                );
            },
        );
    }

    /// Gives every row and group of `W x + b` to `take`.
    #[inline(always)]
    fn product<L: Lanes>(&self, lanes: L, x: &[Line], take: impl FnMut(usize, usize, L::F)) {
        assert_eq!(x.len(), self.columns);
        match (L::WIDE, self.height) {
            (true, 8) => self.tiles::<L, 8, GROUPS>(lanes, x, take),
            (true, 6) => self.tiles::<L, 6, GROUPS>(lanes, x, take),
            (true, _) => self.tiles::<L, 4, GROUPS>(lanes, x, take),
            (false, 6) => self.tiles::<L, 6, 1>(lanes, x, take),
            (false, _) => self.tiles::<L, 4, 1>(lanes, x, take),
        }
    }

    /// The same with `R V` sums in registers.
    #[inline(always)]
    fn tiles<L: Lanes, const R: usize, const V: usize>(
        &self,
        lanes: L,
        x: &[Line],
        mut take: impl FnMut(usize, usize, L::F),
    ) {
        let panels = self.values.chunks_exact(R * self.columns).zip(self.bias.as_chunks::<R>().0);
        for ((panel, bias), first_row) in panels.zip((0..self.rows).step_by(R)) {
            for first in (0..GROUPS).step_by(V) {
                let mut sums = [[lanes.splat(0.0); V]; R];
                for (sums, bias) in sums.iter_mut().zip(bias) {
                    *sums = [lanes.splat(*bias); V];
                }
                for (column, x) in panel.as_chunks::<R>().0.iter().zip(x) {
                    let mut there = [lanes.splat(0.0); V];
                    for (there, x) in there.iter_mut().zip(&x.0[first..first + V]) {
                        *there = lanes.load(x);
                    }
                    for (sums, factor) in sums.iter_mut().zip(column) {
                        let factor = lanes.splat(*factor);
                        for (sum, there) in sums.iter_mut().zip(&there) {
                            *sum = lanes.mul_add(factor, *there, *sum);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    if first_row + r < self.rows {
                        for (v, sum) in sums.iter().enumerate() {
                            take(first_row + r, first + v, *sum);
                        }
                    }
                }
            }
        }
    }
}
