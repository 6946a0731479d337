//! Smooth random fields: what roughens edges and gives phases their texture.

use rand::Rng;
use smalti_base::seed::Stream;

/// A smooth random field: independent values, uniform in `[-1, 1]`, on a square lattice, joined by cubic
/// interpolation weights `3 t^2 - 2 t^3`.
pub(super) struct Field {
    lattice: Vec<f32>,
    columns: usize,
    spacing: f32,
}

impl Field {
    /// A field over an image of `height` x `width` pixels whose bumps are about `spacing` pixels wide.
    pub(super) fn new(height: usize, width: usize, spacing: f32, stream: &mut Stream) -> Self {
        let nodes = |side: usize| (side as f32 / spacing).ceil() as usize + 2;
        let (rows, columns) = (nodes(height), nodes(width));
        let lattice = (0..rows * columns).map(|_| stream.random_range(-1.0..=1.0)).collect();
        Self { lattice, columns, spacing }
    }

    /// The value at row `y` and column `x`, both inside of the image.
    pub(super) fn at(&self, y: f32, x: f32) -> f32 {
        let (y, x) = (y / self.spacing, x / self.spacing);
        let (row, column) = (y as usize, x as usize);
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (v, u) = (smooth(y - row as f32), smooth(x - column as f32));
        let node = |r: usize, c: usize| self.lattice[(row + r) * self.columns + column + c];
        let along = |r: usize| node(r, 0) + u * (node(r, 1) - node(r, 0));
        along(0) + v * (along(1) - along(0))
    }
}
