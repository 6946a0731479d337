//! What the kernels ask of rays that cross a line of the image.

use std::ops::Range;

/// Where rays and the edges of detector pixels cross a line, in pixels along it, in rising order.
pub(super) trait Crossing {
    /// Ray `k`.
    fn ray(&self, k: usize) -> f64;
    /// The edge before detector pixel `k`.
    fn edge(&self, k: usize) -> f64;
    /// 1 by the width of detector pixel `k`.
    fn per_width(&self, k: usize) -> f64;
    /// The rays between -1 and the width of the line: where interpolation is not zero.
    fn rays(&self) -> Range<usize>;
    /// The detector pixels whose width meets that.
    fn strips(&self) -> Range<usize>;
}
