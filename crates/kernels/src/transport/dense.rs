//! The search that looks at every pair, for data that no bound can prune (noise): a register-blocked product of
//! queries and references whose results are compared in registers and never stored.

use super::{
    bounds::{Limits, Margin},
    references::{Aligned, Potential, References},
    search::{Query, Search, Sink},
};
use crate::lanes::{Group, LANES, Lanes};

/// Centred reference rows, sixteen to a panel, value by value.
#[derive(Debug)]
pub(crate) struct Panels {
    groups: Vec<Aligned>,
    /// `|y - m|^2` of each row as stored.
    squares: Vec<f64>,
}

impl Panels {
    pub(crate) fn of(references: &References) -> Self {
        let (dim, count) = (references.dim(), references.distinct());
        let mut groups = vec![Aligned([0.0; LANES]); count.div_ceil(LANES) * dim];
        let mut squares = vec![f64::INFINITY; count.next_multiple_of(LANES)];
        for (place, square) in squares.iter_mut().enumerate().take(count) {
            let row = centred(references, references.padded(place as u32));
            *square = 0.0;
            for (k, v) in row.enumerate() {
                groups[place / LANES * dim + k].0[place % LANES] = v;
                *square += f64::from(v) * f64::from(v);
            }
        }
        Self { groups, squares }
    }

    /// For each panel `|y|^2 + top - psi`, rounded down.
    pub(crate) fn offsets(&self, references: &References, potential: &Potential) -> Vec<Group> {
        let share = references.dense_margins.kept_share();
        let mut offsets = vec![[f32::INFINITY; LANES]; self.squares.len() / LANES];
        for (place, (psi, square)) in potential.psi.iter().zip(&self.squares).enumerate() {
            offsets[place / LANES][place % LANES] = (square + (potential.top - psi) * share) as f32;
        }
        offsets
    }
}

/// A row less the mean of the references, in float32.
fn centred<'a>(references: &'a References, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    row.iter().zip(references.axes().mean()).map(|(&x, m)| (f64::from(x) - m) as f32)
}

/// `X` queries side by side.
struct Tile<const X: usize> {
    /// -2 times the centred rows, value by value.
    values: Vec<[f32; X]>,
    margins: [Margin; X],
}

impl<const X: usize> Tile<X> {
    /// Of at least one and at most `X` queries; the last one fills up the tile.
    fn of(search: &Search<'_, impl Lanes>, queries: &[Query<'_>]) -> Self {
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
        Self { values, margins }
    }
}

/// Offers the sink of each query every place whose cost is at most its cutoff.
#[inline(always)]
pub(crate) fn nearest<L: Lanes, S: Sink>(
    search: &Search<'_, L>,
    offsets: &[Group],
    queries: &[Query<'_>],
    sinks: &mut [S],
) {
    // As many accumulators as fit into the registers.
    if L::WIDE {
        blocks::<L, S, 12, 2>(search, offsets, queries, sinks)
    } else {
        blocks::<L, S, 5, 1>(search, offsets, queries, sinks)
    }
}

#[inline(always)]
fn blocks<L: Lanes, S: Sink, const X: usize, const Y: usize>(
    search: &Search<'_, L>,
    offsets: &[Group],
    queries: &[Query<'_>],
    sinks: &mut [S],
) {
    let dim = search.references.dim();
    let groups = &search.references.panels().groups;
    for (queries, sinks) in queries.chunks(X).zip(sinks.chunks_mut(X)) {
        let tile = Tile::<X>::of(search, queries);
        let mut limits = [Limits::default(); X];
        for (x, (limits, margin)) in limits.iter_mut().zip(&tile.margins).enumerate() {
            *limits = margin.limits(sinks[x.min(sinks.len() - 1)].cutoff());
        }
        let mut close = [[0; Y]; X];
        for (p, (groups, offsets)) in groups.chunks(Y * dim).zip(offsets.chunks(Y)).enumerate() {
            product(search.lanes, &tile.values, groups, offsets, &limits, &mut close);
            for (x, query) in queries.iter().enumerate() {
                for (y, &close) in close[x].iter().enumerate().take(offsets.len()) {
                    if close != 0 {
                        let query = Query { margin: tile.margins[x], ..*query };
                        search.leaf(query, p * Y + y, close, &mut sinks[x], &mut limits[x]);
                    }
                }
            }
        }
    }
}

/// Which of the rows of `Y` panels (where there is one less, the last one counts twice) come within the limits of `X` queries.
#[inline(always)]
fn product<L: Lanes, const X: usize, const Y: usize>(
    lanes: L,
    values: &[[f32; X]],
    groups: &[Aligned],
    offsets: &[Group],
    limits: &[Limits; X],
    close: &mut [[u16; Y]; X],
) {
    let dim = values.len();
    let mut panel = [groups; Y];
    let mut sums = [[lanes.splat(0.0); Y]; X];
    for y in 0..Y {
        let there = y.min(offsets.len() - 1);
        panel[y] = &groups[there * dim..][..dim];
        for sums in &mut sums {
            sums[y] = lanes.load(&offsets[there]);
        }
    }
    for (k, values) in values.iter().enumerate() {
        let mut rows = [lanes.splat(0.0); Y];
        for (row, panel) in rows.iter_mut().zip(&panel) {
            *row = lanes.load(&panel[k].0);
        }
        for (sums, &value) in sums.iter_mut().zip(values) {
            let value = lanes.splat(value);
            for (sum, &row) in sums.iter_mut().zip(&rows) {
                *sum = lanes.mul_add(value, row, *sum);
            }
        }
    }
    for ((close, sums), limits) in close.iter_mut().zip(&sums).zip(limits) {
        for (close, &sum) in close.iter_mut().zip(sums) {
            *close = lanes.at_most(sum, lanes.splat(limits.points));
        }
    }
}
