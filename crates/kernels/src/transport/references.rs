//! The reference side: an index over rows `y_j`, and the dual potential in its order.

use std::sync::OnceLock;

use rayon::{join, prelude::*};

use super::{
    axes::{Axes, KEPT},
    bounds::Margins,
    bytes::Bytes,
    dense::{Panels, squares},
    leaves::{Boxes, Dealt, Leaves},
    queries::project,
    tree::Tree,
};
use crate::{
    error::KernelError,
    lanes::{Group, LANES},
    rows::Rows,
};

/// Potentials beyond this are refused, so that float32 bounds on them do not overflow.
const LARGEST_PSI: f64 = 1e35;

/// An index over reference rows: built once, searched for every query row and every potential.
///
/// Rows that are equal are kept once. The distinct ones lie in the order of a k-d tree over their principal
/// coordinates, sixteen to a leaf, with boxes around leaves and around sixteen leaves.
#[derive(Debug)]
pub struct References {
    len: usize,
    dim: usize,
    /// Values of a row in memory: `dim` and zeros up to a multiple of sixteen.
    stride: usize,
    values: Vec<f32>,
    /// The original indices of the rows at each place, ascending: a slice of `members` that ends at `ends`.
    members: Vec<u32>,
    ends: Vec<u32>,
    /// The place of each original row.
    places: Vec<u32>,
    axes: Axes,
    tree: Tree,
    pub(crate) leaves: Leaves,
    /// Around sixteen leaves each.
    pub(crate) upper: Vec<Boxes>,
    /// Of the points within their leaves.
    variance: f64,
    /// For bounds on distances between points.
    pub(crate) margins: Margins,
    /// For distances between full rows in float32.
    pub(crate) dense_margins: Margins,
    squares: OnceLock<Vec<f64>>,
    panels: OnceLock<Panels>,
    bytes: OnceLock<Bytes>,
}

impl References {
    /// Indexes the rows `y_j` (a few milliseconds for 10,000 of 36).
    ///
    /// # Errors
    /// None today beyond what [`Rows`] already refuses; a `Result` so that callers are ready for limits on size.
    pub fn new(rows: &Rows) -> Result<Self, KernelError> {
        let (dim, stride) = (rows.dim(), rows.dim().next_multiple_of(LANES));
        let ((distinct, of), axes) = join(|| distinct(rows), || Axes::of(rows));
        let points = project(&axes, rows, &distinct);
        let (tree, order) = Tree::of(&points);

        let mut values = vec![0.0; order.len() * stride];
        values.par_chunks_exact_mut(stride).zip(&order).with_min_len(1024).for_each(|(to, &u)| {
            rows.read(distinct[u as usize] as usize, to);
        });
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(p, &u)| place[u as usize] = p as u32);
        let places: Vec<u32> = of.iter().map(|&u| place[u as usize]).collect();
        let (members, ends) = group(&places, order.len());

        let leaves = Leaves::of(order.len(), |place| points[order[place] as usize].z);
        let radius = points.iter().map(|p| p.length).fold(0.0, f64::max);
        Ok(Self {
            len: rows.len(),
            dim,
            stride,
            values,
            members,
            ends,
            places,
            margins: Margins::new(radius, axes.blur(), KEPT),
            dense_margins: Margins::new(radius, f64::from(f32::EPSILON), dim),
            axes,
            tree,
            upper: leaves.upper(),
            variance: leaves.variance(order.len()),
            leaves,
            squares: OnceLock::new(),
            panels: OnceLock::new(),
            bytes: OnceLock::new(),
        })
    }

    /// Number of reference rows, equal ones counted each.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Values of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Reference row `j`, as it was given.
    ///
    /// # Panics
    /// If `j` is not below `len`.
    pub fn row(&self, j: usize) -> &[f32] {
        &self.padded(self.places[j])[..self.dim]
    }

    /// Refuses what is no potential of these rows.
    pub(crate) fn check_potential(&self, psi: &[f64]) -> Result<(), KernelError> {
        if psi.len() != self.len {
            let expected = format!("{}, one value for each reference row", self.len);
            return Err(KernelError::new("length of the potential psi", expected, psi.len()));
        }
        if let Some(j) = psi.iter().position(|v| v.is_nan() || v.abs() > LARGEST_PSI) {
            let got = format!("{} at position {j}", psi[j]);
            let expected = "finite values of at most 1e35 in size; take smaller steps";
            return Err(KernelError::new("potential psi", expected, got));
        }
        Ok(())
    }

    /// The place of row `j` in the index.
    pub(crate) fn place(&self, j: usize) -> u32 {
        self.places[j]
    }

    /// The row at a place of the index, with its zeros.
    #[inline(always)]
    pub(crate) fn padded(&self, place: u32) -> &[f32] {
        &self.values[place as usize * self.stride..][..self.stride]
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn variance(&self) -> f64 {
        self.variance
    }

    pub(crate) fn axes(&self) -> &Axes {
        &self.axes
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Number of distinct rows.
    pub(crate) fn distinct(&self) -> usize {
        self.ends.len()
    }

    /// Which of the sixteen points of a leaf there are: all but in the last leaf.
    #[inline(always)]
    pub(crate) fn filled(&self, leaf: usize) -> u16 {
        let count = (self.distinct() - leaf * LANES).min(LANES);
        (u32::MAX >> (32 - count)) as u16
    }

    /// The squared lengths of the centred rows, computed when first asked for, as is what follows.
    pub(crate) fn squares(&self) -> &[f64] {
        self.squares.get_or_init(|| squares(self))
    }

    /// The full rows for a search that looks at all of them.
    pub(crate) fn panels(&self) -> &Panels {
        self.panels.get_or_init(|| Panels::of(self))
    }

    /// The same as bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        self.bytes.get_or_init(|| Bytes::of(self))
    }

    /// Takes others, to show that they decide.
    #[cfg(test)]
    pub(crate) fn set_bytes(&mut self, bytes: Bytes) {
        self.bytes = OnceLock::from(bytes);
    }

    /// The original indices of the rows at a place.
    pub(crate) fn members(&self, place: usize) -> &[u32] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.members[start as usize..self.ends[place] as usize]
    }
}

/// A potential `psi` in the order of the index, and the parts of bounds that depend on it alone.
#[derive(Debug)]
pub(crate) struct Potential {
    /// The largest psi among the (equal) rows at each place.
    pub(crate) psi: Vec<f64>,
    /// The lowest original index with that psi.
    pub(crate) row: Vec<u32>,
    /// The largest psi of all.
    pub(crate) top: f64,
    /// Leaves to search instead of those of the references, where that is better.
    dealt: Option<Dealt>,
    /// For each leaf `|z|^2 + top - psi`, rounded down.
    pub(crate) offsets: Vec<Aligned>,
    /// For each leaf `top - psi`, rounded down.
    pub(crate) drops: Vec<Aligned>,
    /// For each box the least `top - psi` inside, rounded down.
    pub(crate) box_least: Vec<Aligned>,
    /// The same for boxes of the upper level.
    pub(crate) upper_least: Vec<Aligned>,
}

/// Sixteen numbers at the start of a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Aligned(pub(crate) Group);

impl Potential {
    pub(crate) fn of(references: &References, psi: &[f64]) -> Result<Self, KernelError> {
        references.check_potential(psi)?;
        let (best, row): (Vec<f64>, Vec<u32>) = (0..references.distinct())
            .map(|place| {
                let members = references.members(place).iter();
                members.fold((f64::NEG_INFINITY, 0), |best, &j| {
                    let value = psi[j as usize];
                    if value > best.0 { (value, j) } else { best }
                })
            })
            .unzip();
        Ok(Self::with(references, best, row))
    }

    /// The potential with these values at the places.
    pub(crate) fn at_places(references: &References, psi: Vec<f64>) -> Self {
        let row = (0..references.distinct()).map(|place| references.members(place)[0]).collect();
        Self::with(references, psi, row)
    }

    /// The leaves to search, and the places of their points where these are not in the order of the index.
    pub(crate) fn leaves<'a>(&'a self, references: &'a References) -> (&'a Leaves, Option<&'a [u32]>) {
        self.dealt.as_ref().map_or((&references.leaves, None), |d| (&d.leaves, Some(&d.places)))
    }

    /// Takes values that are nowhere higher. Bounds stay as they are, which is right and the slower the more has fallen.
    pub(crate) fn fall_to(&mut self, psi: impl Iterator<Item = f64>) {
        self.psi.iter_mut().zip(psi).for_each(|(old, new)| *old = new);
    }

    fn with(references: &References, psi: Vec<f64>, row: Vec<u32>) -> Self {
        let top = psi.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let dealt = Dealt::of(references, &psi, top);
        let leaves = dealt.as_ref().map_or(&references.leaves, |dealt| &dealt.leaves);
        let place = |slot: usize| dealt.as_ref().map_or(slot, |dealt| dealt.places[slot] as usize);
        let share = references.margins.kept_share();
        let mut box_least = vec![Aligned([f32::INFINITY; LANES]); leaves.boxes.len()];
        let mut upper_least = vec![Aligned([f32::INFINITY; LANES]); references.upper.len()];
        let mut offsets = Vec::with_capacity(leaves.all.len());
        let mut drops = Vec::with_capacity(leaves.all.len());
        for (i, leaf) in leaves.all.iter().enumerate() {
            let (mut offset, mut drops_here) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
            let mut least = f32::INFINITY;
            for (l, slot) in (i * LANES..psi.len().min((i + 1) * LANES)).enumerate() {
                let drop = (top - psi[place(slot)]) * share;
                (offset[l], drops_here[l]) = ((leaf.square[l] + drop) as f32, drop as f32);
                least = least.min(drop as f32);
            }
            offsets.push(Aligned(offset));
            drops.push(Aligned(drops_here));
            box_least[i / LANES].0[i % LANES] = least;
            let above = i / LANES;
            let entry = &mut upper_least[above / LANES].0[above % LANES];
            *entry = entry.min(least);
        }
        Self { psi, row, top, dealt, offsets, drops, box_least, upper_least }
    }
}

/// The first of each kind of equal rows, and which of these each row equals.
fn distinct(rows: &Rows) -> (Vec<u32>, Vec<u32>) {
    let dim = rows.dim();
    let mut values = vec![0.0; rows.len() * dim];
    values.par_chunks_exact_mut(dim).enumerate().with_min_len(256).for_each(|(j, row)| {
        rows.read(j, row);
        // Adding zero makes -0 and 0 the same.
        row.iter_mut().for_each(|v| *v += 0.0);
    });
    let row = |j: u32| &values[j as usize * dim..][..dim];
    let hashes: Vec<u64> =
        values.par_chunks_exact(dim).with_min_len(256).map(|row| row.iter().fold(0, mixed)).collect();
    // The last kind of each bucket, and the one before each kind.
    let buckets = rows.len().next_power_of_two();
    let mut last = vec![NONE; buckets];
    let (mut first, mut before, mut of) = (Vec::<u32>::new(), Vec::new(), Vec::with_capacity(rows.len()));
    for (j, hash) in (0..).zip(hashes) {
        let last = &mut last[(hash >> 32) as usize % buckets];
        let mut kind = *last;
        while kind != NONE && row(first[kind as usize]) != row(j) {
            kind = before[kind as usize];
        }
        if kind == NONE {
            kind = first.len() as u32;
            first.push(j);
            before.push(std::mem::replace(last, kind));
        }
        of.push(kind);
    }
    (first, of)
}

/// No kind of row.
const NONE: u32 = u32::MAX;

/// A hash that takes in one more value.
fn mixed(hash: u64, value: &f32) -> u64 {
    (hash.rotate_left(5) ^ u64::from(value.to_bits())).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// The indices that share a place, place after place, and where each place ends.
fn group(places: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0_u32; count];
    places.iter().for_each(|&p| ends[p as usize] += 1);
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        *end = total;
    }
    let mut next = ends.clone();
    let mut members = vec![0; places.len()];
    for (j, &p) in places.iter().enumerate().rev() {
        next[p as usize] -= 1;
        members[next[p as usize] as usize] = j as u32;
    }
    (members, ends)
}
