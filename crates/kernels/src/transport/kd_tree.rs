//! A k-d tree that puts neighbours side by side.

use rayon::join;

use super::pca::{COORDINATES, Point};
use crate::simd::LANES;

/// Points of a box of the upper level: sixteen groups of sixteen.
const WIDE: usize = LANES * LANES;

/// A cut: points with `z[axis] < value` (and some with equality) are on the left.
#[derive(Debug)]
enum Node {
    Cut { axis: usize, value: f32, sides: Box<[Node; 2]> },
    Leaf,
}

/// A binary tree over points whose leaves are runs of [`LANES`] neighbours in `order`.
#[derive(Debug)]
pub(crate) struct KdTree {
    root: Node,
    len: usize,
}

impl KdTree {
    /// The tree and the order that it puts the points in. All leaves but the last are full.
    pub(crate) fn of(points: &[Point]) -> (Self, Vec<u32>) {
        let mut order: Vec<u32> = (0..points.len() as u32).collect();
        let root = split(points, &mut order);
        (Self { root, len: points.len() }, order)
    }

    /// The leaf whose cell `z` is in: the number of its run in the order.
    pub(crate) fn leaf(&self, z: &[f32; COORDINATES]) -> usize {
        let (mut node, mut first, mut len) = (&self.root, 0, self.len);
        while let Node::Cut { axis, value, sides } = node {
            let left = left_of(len);
            if z[*axis] < *value {
                (node, len) = (&sides[0], left);
            } else {
                (node, first, len) = (&sides[1], first + left, len - left);
            }
        }
        first / LANES
    }
}

/// How many of `len` points go left: about half, in whole boxes of the upper level while there are several, then in
/// whole leaves.
fn left_of(len: usize) -> usize {
    let unit = if len > WIDE { WIDE } else { LANES };
    len.div_ceil(unit).div_ceil(2) * unit
}

/// Cuts along the coordinate of largest variance until runs are short enough.
fn split(points: &[Point], order: &mut [u32]) -> Node {
    if order.len() <= LANES {
        return Node::Leaf;
    }
    let axis = widest(points, order);
    let left = left_of(order.len());
    // Coordinates side by side: comparing them through the order would read all over the points.
    let mut along: Vec<(f32, u32)> = order.iter().map(|&i| (points[i as usize].z[axis], i)).collect();
    let (_, &mut (value, _), _) =
        along.select_nth_unstable_by(left, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.iter_mut().zip(&along).for_each(|(i, a)| *i = a.1);
    drop(along);
    let large = order.len() > 8 * WIDE;
    let (low, high) = order.split_at_mut(left);
    let sides = if large {
        join(|| split(points, low), || split(points, high)).into()
    } else {
        [split(points, low), split(points, high)]
    };
    Node::Cut { axis, value, sides: Box::new(sides) }
}

/// The coordinate along which the points (a sample of many) vary most.
fn widest(points: &[Point], order: &[u32]) -> usize {
    let (mut sums, mut squares, mut count) = ([0.0_f64; COORDINATES], [0.0_f64; COORDINATES], 0.0);
    for point in order.iter().step_by(1 + order.len() / 64).map(|&i| &points[i as usize]) {
        count += 1.0;
        for (k, &z) in point.z.iter().enumerate() {
            sums[k] += f64::from(z);
            squares[k] += f64::from(z) * f64::from(z);
        }
    }
    let variance = |k: usize| squares[k] - sums[k] * sums[k] / count;
    (0..COORDINATES).max_by(|&a, &b| variance(a).total_cmp(&variance(b))).unwrap_or(0)
}
