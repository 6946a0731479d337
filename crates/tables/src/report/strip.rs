//! One picture of everything about a shown image, for talks and front pages.

use super::pictures::Region;
use crate::outcome::ReportImage;
use crate::png::Picture;
use smalti_base::{Result, Space};
use smalti_operators::Grid;
use tch::{Device, Kind, Tensor};

/// Side of the shown region in pixels of the ground truth.
const SIDE: i64 = 112;
/// Every pixel is shown as a square of this side.
const ENLARGED: usize = 2;
/// White pixels between neighbours.
const GAP: i64 = 3;

/// Ground truth, observation where it is an image, then every result, side by side: the same region, around `place`, pixels as
/// squares; every pixel of the observation as the square that it stands for.
pub(super) fn side_by_side(shown: &ReportImage, place: Region) -> Result<Picture> {
    let Space { height, width, .. } = Space::of("shown image", &shown.truth)?;
    let start = |first: i64, length: i64, all: i64, side: i64| {
        (first + length / 2 - side / 2).clamp(0, (all - side).max(0))
    };
    let (rows, columns) = (SIDE.min(height), SIDE.min(width));
    let top = start(place.top, place.height, height, rows);
    let left = start(place.left, place.width, width, columns);
    let region = |t: &Tensor| -> Result<Tensor> { Ok(t.f_narrow(2, top, rows)?.f_narrow(3, left, columns)?) };
    let mut parts = vec![region(&shown.truth)?];
    if let Some((observation, grid)) = &shown.observation {
        parts.push(region(&nearest(observation, (height, width), *grid)?)?);
    }
    for result in &shown.results {
        parts.push(region(&result.image)?);
    }
    let white = Tensor::full([1, 1, rows, GAP], shown.window[1], (Kind::Float, Device::Cpu));
    let mut strip = Vec::new();
    for (k, part) in parts.iter().enumerate() {
        if k > 0 {
            strip.push(white.shallow_clone());
        }
        strip.push(part.to_device(Device::Cpu).to_kind(Kind::Float));
    }
    Ok(Picture::grey(&Tensor::f_cat(&strip, 3)?, shown.window)?.enlarged(ENLARGED))
}

/// The observed pixel that lies nearest to each of `size` pixels of the ground truth.
fn nearest(observation: &Tensor, size: (i64, i64), grid: Grid) -> Result<Tensor> {
    let index = |n: i64, observed: i64, origin: f64, spacing: f64| {
        let nearest = |u: i64| ((u as f64 - origin) / spacing).round() as i64;
        let all: Vec<i64> = (0..n).map(|u| nearest(u).clamp(0, observed - 1)).collect();
        Tensor::from_slice(&all).to_device(observation.device())
    };
    let seen = observation.size();
    let rows = index(size.0, seen[2], grid.origin.0, grid.spacing.0);
    let columns = index(size.1, seen[3], grid.origin.1, grid.spacing.1);
    Ok(observation.f_index_select(2, &rows)?.f_index_select(3, &columns)?)
}
