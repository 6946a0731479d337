//! Detector pixels that are wider than image pixels: means over their width instead of single rays.
//!
//! On a line of the image detector pixel `k` reaches from `e_k` to `e_{k+1}`; `e_k = origin + per_ray (k - 1/2) +
//! per_line l` for parallel beams. The mean over these positions of the line's values, interpolated linearly, is
//!
//! `1 / (e_{k+1} - e_k) sum_c line[c] (H(e_{k+1} - c) - H(e_k - c))`,
//!
//! where `H` rises from 0 at -1 to 1 at 1 and is the integral of the hat of linear interpolation. With `e = i + w`,
//! `0 <= w < 1`, `H(e - c)` is 1 for all `c < i`, `1 - (1 - w)^2 / 2` for `c = i`, `w^2 / 2` for `c = i + 1` and 0 beyond:
//! all but the pixels at edges are plain sums. The weights of a pixel add up to 1, so that no mass is lost between
//! rays.

use super::crossing::Crossing;
use super::number::Number;
use super::plane::PAD;

/// An edge between two detector pixels on a line with [`PAD`] zeros in front: the pixel `i` below it, the weight that it
/// lacks, and that of the next one.
struct Edge<T> {
    pixel: usize,
    lacks: T,
    next: T,
}

impl<T: Number> Edge<T> {
    /// The edge before detector pixel `k`, or the end of the image where it lies beyond.
    #[inline(always)]
    fn before(k: usize, at: &impl Crossing, width: usize) -> Self {
        let position = at.edge(k).clamp(-1.0, width as f64) + PAD as f64;
        let pixel = position as i32;
        let w = position - f64::from(pixel);
        let pixel = pixel as usize;
        Self { pixel, lacks: T::of(0.5 * (1.0 - w) * (1.0 - w)), next: T::of(0.5 * w * w) }
    }
}

/// Adds what the detector pixels see on a line.
pub(super) fn project<T: Number>(crossing: &impl Crossing, width: usize, values: &[T], rays: &mut [T]) {
    let at = |edge: &Edge<T>| edge.next * values[edge.pixel + 1] - edge.lacks * values[edge.pixel];
    let strips = crossing.strips();
    let mut low = Edge::<T>::before(strips.start, crossing, width);
    for k in strips {
        let high = Edge::<T>::before(k + 1, crossing, width);
        let inside = &values[low.pixel + 1..=high.pixel];
        let sum = inside.iter().fold(at(&high) - at(&low), |sum, &value| sum + value);
        rays[k] = rays[k] + T::of(crossing.per_width(k)) * sum;
        low = high;
    }
}

/// Adds what the padded `rays` bring to a line by the transpose of [`project`].
pub(super) fn collect<T: Number>(crossing: &impl Crossing, width: usize, rays: &[T], values: &mut [T]) {
    let strips = crossing.strips();
    let mut low = Edge::<T>::before(strips.start, crossing, width);
    for k in strips {
        let high = Edge::<T>::before(k + 1, crossing, width);
        let ray = T::of(crossing.per_width(k)) * rays[PAD + k];
        for value in &mut values[low.pixel + 1..=high.pixel] {
            *value = *value + ray;
        }
        values[high.pixel] = values[high.pixel] - high.lacks * ray;
        values[high.pixel + 1] = values[high.pixel + 1] + high.next * ray;
        values[low.pixel] = values[low.pixel] + low.lacks * ray;
        values[low.pixel + 1] = values[low.pixel + 1] - low.next * ray;
        low = high;
    }
}
