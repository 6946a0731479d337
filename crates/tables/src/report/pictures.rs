//! The pictures of one shown image: overviews, insets at the same place, signed error maps.

use crate::outcome::ReportImage;
use crate::png::Picture;
use smalti_base::{Result, Space};
use smalti_operators::Grid;
use tch::{Kind, Tensor};

/// Side of an inset in pixels of the ground truth.
const INSET: i64 = 56;

/// Colours of the error maps from the most negative error over zero to the most positive one.
pub(super) const COLOURS: [[u8; 3]; 5] =
    [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]];

/// Steps on either side of zero in an error map.
const STEPS: u8 = 60;

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Region {
    pub(super) top: i64,
    pub(super) left: i64,
    pub(super) height: i64,
    pub(super) width: i64,
}

impl Region {
    /// The region with these first indices and lengths of rows and columns.
    pub(super) fn of([(top, height), (left, width)]: [(i64, i64); 2]) -> Self {
        Self { top, left, height, width }
    }

    /// The region of `picture`.
    pub(super) fn cut(&self, picture: &Picture) -> Picture {
        let at = |v: i64| v.max(0) as usize;
        picture.part(at(self.top), at(self.left), at(self.height), at(self.width))
    }

    /// CSS that places the region within an image of `height` x `width` pixels.
    pub(super) fn css(&self, height: usize, width: usize) -> String {
        let percent = |part: i64, whole: usize| 100.0 * part as f64 / whole as f64;
        format!(
            "left:{:.3}%;top:{:.3}%;width:{:.3}%;height:{:.3}%",
            percent(self.left, width),
            percent(self.top, height),
            percent(self.width, width),
            percent(self.height, height)
        )
    }
}

/// Where the insets lie: the square within `scored` in which the ground truth has most edges. What the methods
/// made of it has no say in that.
pub(super) fn inset(truth: &Tensor, scored: Region) -> Result<Region> {
    let side = INSET.min(scored.height).min(scored.width);
    let part = truth.f_to_kind(Kind::Double)?.f_narrow(2, scored.top, scored.height)?;
    let part = part.f_narrow(3, scored.left, scored.width)?;
    if scored.height.min(scored.width) < 2 {
        return Ok(scored);
    }
    let edges = part
        .f_diff(1, 2, None::<&Tensor>, None::<&Tensor>)?
        .f_narrow(3, 0, scored.width - 1)?
        .f_abs()?
        + part.f_diff(1, 3, None::<&Tensor>, None::<&Tensor>)?.f_narrow(2, 0, scored.height - 1)?.f_abs()?;
    let window = (side - 1).max(1);
    let sums = edges.f_avg_pool2d([window, window], [1, 1], [0, 0], false, true, None::<i64>)?;
    let columns = sums.size()[3];
    let best = sums.f_flatten(0, -1)?.f_argmax(None, false)?.int64_value(&[]);
    Ok(Region {
        top: scored.top + best / columns,
        left: scored.left + best % columns,
        height: side,
        width: side,
    })
}

/// The observed pixels whose centres lie in `region` of the ground truth.
pub(super) fn observed(region: Region, observation: &Tensor, grid: Grid) -> Result<Region> {
    let Space { height, width, .. } = Space::of("observation", observation)?;
    let axis = |start: i64, length: i64, origin: f64, spacing: f64, side: i64| {
        let pixel = |v: f64| (((v - origin) / spacing).ceil() as i64).clamp(0, side);
        let first = pixel(start as f64 - 0.5).min(side - 1);
        (first, (pixel((start + length) as f64 - 0.5) - first).max(1))
    };
    let (top, rows) = axis(region.top, region.height, grid.origin.0, grid.spacing.0, height);
    let (left, columns) = axis(region.left, region.width, grid.origin.1, grid.spacing.1, width);
    Ok(Region { top, left, height: rows, width: columns })
}

/// The error that the colours at the ends of the scale stand for: what 99.5 % of all scored errors stay
/// below, in steps of 0.05.
pub(super) fn error_scale(shown: &[ReportImage]) -> Result<f64> {
    let mut largest: f64 = 0.05;
    for image in shown {
        let part = Region::of(image.scored);
        for result in &image.results {
            let error = (result.image.f_sub(&image.truth)?).f_abs()?.f_to_kind(Kind::Float)?;
            let error = error.f_narrow(2, part.top, part.height)?.f_narrow(3, part.left, part.width)?;
            let (sorted, _) = error.f_flatten(0, -1)?.f_sort(0, false)?;
            let n = sorted.size()[0];
            largest = largest.max(sorted.double_value(&[(n - 1) * 995 / 1000]));
        }
    }
    // Rounding lets 0.15 stay 0.15.
    Ok((largest / 0.05 - 1e-6).ceil() * 0.05)
}

/// The signed error `image - truth`, from `-scale` to `scale` (values beyond get the last colour).
pub(super) fn error_map(image: &Tensor, truth: &Tensor, scale: f64) -> Result<Picture> {
    let error = image.f_sub(truth)?.f_div_scalar(scale)?;
    let steps = f32::from(STEPS);
    let palette = (0..=2 * STEPS).map(|i| colour(f64::from(i) / f64::from(2 * STEPS))).collect();
    Picture::from_tensor(&error, Some(palette), |e| ((e.clamp(-1.0, 1.0) + 1.0) * steps).round() as u8)
}

/// The colour at `t` in `[0, 1]` along the scale.
fn colour(t: f64) -> [u8; 3] {
    let along = t * (COLOURS.len() - 1) as f64;
    let i = (along as usize).min(COLOURS.len() - 2);
    let mix = |k: usize| {
        let (a, b) = (f64::from(COLOURS[i][k]), f64::from(COLOURS[i + 1][k]));
        (a + (along - i as f64) * (b - a)).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inset_finds_the_edge_and_stays_inside() {
        let truth = Tensor::zeros([1, 1, 200, 160], tch::kind::FLOAT_CPU);
        let _ = truth.narrow(2, 120, 20).narrow(3, 90, 20).fill_(1.0);
        let whole = Region::of([(20, 160), (20, 120)]);
        assert_eq!(whole, Region { top: 20, left: 20, height: 160, width: 120 });
        let found = inset(&truth, whole).unwrap();
        assert!(found.top <= 119 && found.top + found.height >= 141, "{found:?}");
        assert!(found.left <= 89 && found.left + found.width >= 111, "{found:?}");
        assert!(found.top >= 20 && found.left >= 20 && found.left + found.width <= 140);
    }

    #[test]
    fn errors_have_their_sign_in_the_colour() {
        let truth = Tensor::from_slice(&[0.5f32, 0.5, 0.5]).reshape([1, 1, 1, 3]);
        let image = Tensor::from_slice(&[0.3f32, 0.5, 0.9]).reshape([1, 1, 1, 3]);
        let map = error_map(&image, &truth, 0.2).unwrap();
        let palette = map.palette.unwrap();
        let seen: Vec<[u8; 3]> = map.pixels.iter().map(|&p| palette[usize::from(p)]).collect();
        assert_eq!(seen, [COLOURS[0], COLOURS[2], COLOURS[4]]);
    }
}
