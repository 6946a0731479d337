//! The searches that look at every pair, for data that no bound can prune (noise): a register-blocked product of
//! queries and references whose results are compared in registers and never stored. It is one in float32 here, and one
//! of bytes in [`super::bytes`].

use super::{
    bounds::{Limits, Margin},
    references::{Aligned, Potential, References},
    search::{Query, Search, Sink},
};
use crate::lanes::{Group, LANES, Lanes};

/// How bounds on all pairs are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Products {
    /// In float32.
    Floats,
    /// Of bytes.
    Bytes,
}

/// What a search that looks at all pairs needs of one potential.
pub(crate) struct AllPairs {
    pub(crate) products: Products,
    /// For each panel `|y|^2 + top - psi`, the potential's part less its rounding errors.
    pub(crate) offsets: Vec<Group>,
}

impl AllPairs {
    pub(crate) fn new(references: &References, potential: &Potential, products: Products) -> Self {
        let share = references.dense_margins.kept_share();
        let mut offsets = vec![[f32::INFINITY; LANES]; references.distinct().div_ceil(LANES)];
        for (place, (psi, square)) in potential.psi.iter().zip(references.squares()).enumerate() {
            offsets[place / LANES][place % LANES] = (square + (potential.top - psi) * share) as f32;
        }
        Self { products, offsets }
    }

    /// Offers the sink of each query every place whose cost is at most its cutoff, and counts the pairs that bounds did not
    /// exclude. Once these are more than `enough` it stops, and what it found may not be the cheapest.
    #[inline(always)]
    pub(crate) fn nearest<L: Lanes, S: Sink>(
        &self,
        search: &Search<'_, L>,
        queries: &[Query<'_>],
        sinks: &mut [S],
        enough: f64,
    ) -> usize {
        let (references, offsets) = (search.references, &self.offsets);
        match self.products {
            Products::Bytes => tiles(search, references.bytes(), offsets, queries, sinks, enough),
            // As many accumulators as fit into the registers.
            Products::Floats if L::WIDE => {
                tiles::<_, _, _, 12, 2>(search, references.panels(), offsets, queries, sinks, enough)
            }
            Products::Floats => {
                tiles::<_, _, _, 5, 1>(search, references.panels(), offsets, queries, sinks, enough)
            }
        }
    }
}

/// `X` queries side by side.
pub(super) struct Tile<V, const X: usize> {
    pub(super) values: V,
    pub(super) margins: [Margin; X],
}

/// Bounds on the costs of `X` queries and the rows of `Y` panels.
pub(super) trait Bound<const X: usize, const Y: usize> {
    /// The values of `X` queries.
    type Values;

    /// Of at least one and at most `X` queries; the last one fills up the tile.
    fn tile<L: Lanes>(&self, search: &Search<'_, L>, queries: &[Query<'_>]) -> Tile<Self::Values, X>;

    /// Which of the rows come within the limits, and whether any does.
    fn close<L: Lanes>(
        &self,
        lanes: L,
        values: &Self::Values,
        panels: [usize; Y],
        offsets: [&Group; Y],
        limits: &[Limits; X],
        close: &mut [[u16; Y]; X],
    ) -> bool;
}

#[inline(always)]
fn tiles<L: Lanes, S: Sink, B: Bound<X, Y>, const X: usize, const Y: usize>(
    search: &Search<'_, L>,
    bound: &B,
    offsets: &[Group],
    queries: &[Query<'_>],
    sinks: &mut [S],
    enough: f64,
) -> usize {
    let mut count = 0;
    for (queries, sinks) in queries.chunks(X).zip(sinks.chunks_mut(X)) {
        let tile = bound.tile(search, queries);
        let mut limits = [Limits::default(); X];
        for (x, (limits, margin)) in limits.iter_mut().zip(&tile.margins).enumerate() {
            *limits = margin.limits(sinks[x.min(sinks.len() - 1)].cutoff());
        }
        let mut close = [[0; Y]; X];
        for first in (0..offsets.len()).step_by(Y) {
            // Where there is one less, the last one counts twice.
            let there = (offsets.len() - first).min(Y);
            let panels = std::array::from_fn(|y| first + y.min(there - 1));
            let offsets = panels.map(|panel| &offsets[panel]);
            if !bound.close(search.lanes, &tile.values, panels, offsets, &limits, &mut close) {
                continue;
            }
            for (x, query) in queries.iter().enumerate() {
                for (&panel, &close) in panels.iter().zip(&close[x]).take(there) {
                    if close != 0 {
                        let query = Query { margin: tile.margins[x], ..*query };
                        search.leaf(query, panel, close, &mut sinks[x], &mut limits[x]);
                        count += close.count_ones() as usize;
                    }
                }
            }
            if count as f64 > enough {
                return count;
            }
        }
    }
    count
}

/// Centred reference rows, sixteen to a panel, value by value.
#[derive(Debug)]
pub(crate) struct Panels(Vec<Aligned>);

impl Panels {
    pub(crate) fn of(references: &References) -> Self {
        let (dim, count) = (references.dim(), references.distinct());
        let mut groups = vec![Aligned([0.0; LANES]); count.div_ceil(LANES) * dim];
        for place in 0..count {
            for (k, v) in centred(references, references.padded(place as u32)).enumerate() {
                groups[place / LANES * dim + k].0[place % LANES] = v;
            }
        }
        Self(groups)
    }
}

/// `|y - m|^2` of each row, centred in float32.
pub(crate) fn squares(references: &References) -> Vec<f64> {
    let row = |place| centred(references, references.padded(place as u32));
    let square = |place| row(place).map(|v| f64::from(v) * f64::from(v)).sum();
    (0..references.distinct()).map(square).collect()
}

/// A row less the mean of the references, in float32.
pub(super) fn centred<'a>(references: &'a References, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    row.iter().zip(references.axes().mean()).map(|(&x, m)| (f64::from(x) - m) as f32)
}

impl<const X: usize, const Y: usize> Bound<X, Y> for Panels {
    /// -2 times the centred rows, value by value.
    type Values = Vec<[f32; X]>;

    #[inline(always)]
    fn tile<L: Lanes>(&self, search: &Search<'_, L>, queries: &[Query<'_>]) -> Tile<Self::Values, X> {
        let references = search.references;
        let mut values = vec![[0.0; X]; references.dim()];
        let mut margins = [queries[0].margin; X];
        for (x, margin) in margins.iter_mut().enumerate() {
            let query = queries[x.min(queries.len() - 1)];
            let mut square = 0.0;
            for (values, v) in values.iter_mut().zip(centred(references, query.row)) {
                values[x] = -2.0 * v;
                square += f64::from(v) * f64::from(v);
            }
            *margin = references.dense_margins.of(query.point.length, square, search.potential.top);
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
