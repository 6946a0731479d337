//! Bounds on all pairs by products in float32.

use super::{
    bounds::Limits,
    reference_index::ReferenceIndex,
    search::{Query, Search},
    tiled_search::{Bound, Tile},
};
use crate::simd::{Aligned, Group, LANES, Lanes};

/// Centred reference rows, sixteen to a panel, value by value.
#[derive(Debug)]
pub(crate) struct FloatPanels(Vec<Aligned>);

impl FloatPanels {
    pub(crate) fn of(index: &ReferenceIndex) -> Self {
        let (dim, count) = (index.dim(), index.distinct());
        let mut groups = vec![Aligned([0.0; LANES]); count.div_ceil(LANES) * dim];
        for place in 0..count {
            for (k, v) in index.centred(index.padded(place as u32)).enumerate() {
                groups[place / LANES * dim + k].0[place % LANES] = v;
            }
        }
        Self(groups)
    }
}

impl<const X: usize, const Y: usize> Bound<X, Y> for FloatPanels {
    /// -2 times the centred rows, value by value.
    type Values = Vec<[f32; X]>;

    #[inline(always)]
    fn tile<L: Lanes>(&self, search: &Search<'_, L>, queries: &[Query<'_>]) -> Tile<Self::Values, X> {
        let index = search.index;
        let mut values = vec![[0.0; X]; index.dim()];
        let mut margins = [queries[0].margin; X];
        for (x, margin) in margins.iter_mut().enumerate() {
            let query = queries[x.min(queries.len() - 1)];
            let mut square = 0.0;
            for (values, v) in values.iter_mut().zip(index.centred(query.row)) {
                values[x] = -2.0 * v;
                square += f64::from(v) * f64::from(v);
            }
            *margin = index.dense_margins.of(query.point.length, square, search.potential.top);
        }
        Tile { values, margins }
    }

    #[inline(always)]
    fn close<L: Lanes>(
        &self,
        lanes: L,
        values: &Self::Values,
        panels: [usize; Y],
        offsets: [&Group; Y],
        limits: &[Limits; X],
        close: &mut [[u16; Y]; X],
    ) -> bool {
        let dim = values.len();
        let panels = panels.map(|panel| &self.0[panel * dim..][..dim]);
        let mut sums = [[lanes.splat(0.0); Y]; X];
        for sums in &mut sums {
            for (sum, offsets) in sums.iter_mut().zip(offsets) {
                *sum = lanes.load(offsets);
            }
        }
        for (k, values) in values.iter().enumerate() {
            let mut rows = [lanes.splat(0.0); Y];
            for (row, panel) in rows.iter_mut().zip(panels) {
                *row = lanes.load(&panel[k].0);
            }
            for (sums, &value) in sums.iter_mut().zip(values) {
                let value = lanes.splat(value);
                for (sum, &row) in sums.iter_mut().zip(&rows) {
                    *sum = lanes.mul_add(value, row, *sum);
                }
            }
        }
        let mut any = 0;
        for ((close, sums), limits) in close.iter_mut().zip(&sums).zip(limits) {
            for (close, &sum) in close.iter_mut().zip(sums) {
                *close = lanes.at_most(sum, lanes.splat(limits.points));
                any |= *close;
            }
        }
        any != 0
    }
}
