//! A planar section of a 3-D Laguerre tessellation.

use rand::Rng;
use smalti_base::seed::Stream;

/// Mean distance of neighbouring seeds, in pixels.
const SPACING: f32 = 56.0;

/// How far from the section seeds are drawn, in multiples of [`SPACING`]: cells of seeds further away do not
/// reach it.
const DEPTH: f32 = 1.2;

/// The section `z = 0` through the cells `{p : |p - s_i|^2 - w_i <= |p - s_j|^2 - w_j for all j}` of random
/// seeds `s_i` with weights `w_i`, one jittered seed in each cube of a lattice.
pub(super) struct Tessellation {
    /// Row, column and offset `z_i^2 - w_i` of every seed, bucket by bucket.
    seeds: Vec<[f32; 3]>,
    rows: usize,
    columns: usize,
    layers: usize,
}

/// The cell that a point lies in.
pub(super) struct Cell {
    /// The number of the cell, below [`Tessellation::len`].
    pub(super) number: usize,
    /// Distance of the point to the nearest face of the cell within the section, in pixels.
    pub(super) depth: f32,
    /// Direction to that face, as (row, column) of a unit vector.
    pub(super) towards: [f32; 2],
}

impl Tessellation {
    /// A tessellation over `height` x `width` pixels.
    pub(super) fn new(height: usize, width: usize, stream: &mut Stream) -> Self {
        // Two buckets of margin on every side: the neighbours of a border cell are there too.
        let buckets = |side: usize| (side as f32 / SPACING).ceil() as usize + 4;
        let (rows, columns, layers) = (buckets(height), buckets(width), 2);
        let mut seeds = Vec::with_capacity(rows * columns * layers);
        for row in 0..rows {
            for column in 0..columns {
                for _ in 0..layers {
                    let y = (row as f32 - 2.0 + stream.random::<f32>()) * SPACING;
                    let x = (column as f32 - 2.0 + stream.random::<f32>()) * SPACING;
                    let z = stream.random_range(-DEPTH..DEPTH) * SPACING;
                    let weight = stream.random_range(0.0..0.15) * SPACING * SPACING;
                    seeds.push([y, x, z * z - weight]);
                }
            }
        }
        Self { seeds, rows, columns, layers }
    }

    /// Number of cells, those that do not reach the section among them.
    pub(super) fn len(&self) -> usize {
        self.seeds.len()
    }

    /// The cell at row `y`, column `x`.
    pub(super) fn at(&self, y: f32, x: f32) -> Cell {
        let power = |s: &[f32; 3]| (y - s[0]).powi(2) + (x - s[1]).powi(2) + s[2];
        let bucket = |p: f32, n: usize| ((p / SPACING + 2.0).floor().max(0.0) as usize).min(n - 1);
        let (row, column) = (bucket(y, self.rows), bucket(x, self.columns));
        let near = |i: usize, n: usize| i.saturating_sub(2)..(i + 3).min(n);
        let candidates = || {
            near(row, self.rows).flat_map(move |r| {
                near(column, self.columns).flat_map(move |c| {
                    let first = (r * self.columns + c) * self.layers;
                    first..first + self.layers
                })
            })
        };

        let (mut number, mut least) = (0, f32::INFINITY);
        for i in candidates() {
            let p = power(&self.seeds[i]);
            if p < least {
                (number, least) = (i, p);
            }
        }
        let own = self.seeds[number];
        let (mut depth, mut towards) = (f32::INFINITY, [0.0, 0.0]);
        for i in candidates().filter(|&i| i != number) {
            let other = &self.seeds[i];
            let step = [other[0] - own[0], other[1] - own[1]];
            let length = step[0].hypot(step[1]).max(1e-3);
            let d = (power(other) - least) / (2.0 * length);
            if d < depth {
                (depth, towards) = (d, [step[0] / length, step[1] / length]);
            }
        }
        Cell { number, depth, towards }
    }
}
