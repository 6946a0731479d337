//! The index over the reference rows `y_j`.

use std::sync::OnceLock;

use rayon::{join, prelude::*};

use super::{
    bounds::Margins,
    bvh::{Boxes, Leaves},
    kd_tree::KdTree,
    pca::{COORDINATES, PrincipalAxes, project},
};
use crate::{error::KernelError, rows::Rows, simd::LANES};

/// Potentials beyond this are refused, so that float32 bounds on them do not overflow.
const LARGEST_PSI: f64 = 1e35;

/// An index over reference rows.
///
/// Rows that are equal are kept once. The distinct ones lie in the order of a k-d tree over their principal
/// coordinates, sixteen to a leaf, with boxes around leaves and around sixteen leaves.
#[derive(Debug)]
pub(crate) struct ReferenceIndex {
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
    axes: PrincipalAxes,
    tree: KdTree,
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
}

impl ReferenceIndex {
    pub(crate) fn new(rows: &Rows) -> Self {
        let (dim, stride) = (rows.dim(), rows.dim().next_multiple_of(LANES));
        let ((distinct, of), axes) = join(|| distinct(rows), || PrincipalAxes::of(rows));
        let points = project(&axes, rows, &distinct);
        let (tree, order) = KdTree::of(&points);

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
        Self {
            len: rows.len(),
            dim,
            stride,
            values,
            members,
            ends,
            places,
            margins: Margins::new(radius, axes.relative_error(), COORDINATES),
            dense_margins: Margins::new(radius, f64::from(f32::EPSILON), dim),
            axes,
            tree,
            upper: leaves.upper(),
            variance: leaves.variance(order.len()),
            leaves,
            squares: OnceLock::new(),
        }
    }

    /// Number of reference rows, equal ones counted each.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Values of a row.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Reference row `j`, as it was given.
    pub(crate) fn row(&self, j: usize) -> &[f32] {
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

    pub(crate) fn axes(&self) -> &PrincipalAxes {
        &self.axes
    }

    pub(crate) fn tree(&self) -> &KdTree {
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

    /// A row less the mean of the references, in float32.
    pub(crate) fn centred<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        row.iter().zip(self.axes.mean()).map(|(&x, m)| (f64::from(x) - m) as f32)
    }

    /// `|y - m|^2` of each distinct row, centred in float32; computed when first asked for.
    pub(crate) fn squares(&self) -> &[f64] {
        let row = |place| self.centred(self.padded(place as u32));
        let square = |place| row(place).map(|v| f64::from(v) * f64::from(v)).sum();
        self.squares.get_or_init(|| (0..self.distinct()).map(square).collect())
    }

    /// The original indices of the rows at a place.
    pub(crate) fn members(&self, place: usize) -> &[u32] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.members[start as usize..self.ends[place] as usize]
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
