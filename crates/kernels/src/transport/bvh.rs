//! A bounding-volume hierarchy: points sixteen by sixteen with boxes around them, in the order of the index or regrouped by
//! their potential.

use rayon::prelude::*;

use super::pca::{BOX_AXES, COORDINATES};
use crate::simd::{Group, LANES};

/// Neighbouring leaves whose points are regrouped together: all below the same box of the upper level, which stays as it is.
const REGROUPED: usize = 4;
const _: () = assert!(LANES.is_multiple_of(REGROUPED));

/// Mean of `h` above its least in a leaf, as a share of the variance of the points in it, from which on regrouping pays.
const SHARE: f64 = 0.4;

/// Sixteen points, coordinate by coordinate.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Leaf {
    pub(crate) z: [Group; COORDINATES],
    /// `|z|^2`; infinite where there is no point.
    pub(crate) square: [f64; LANES],
}

/// Sixteen boxes, coordinate by coordinate, along the leading axes.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Boxes {
    pub(crate) low: [Group; BOX_AXES],
    pub(crate) high: [Group; BOX_AXES],
}

/// Leaves, and the boxes around each of them.
#[derive(Debug)]
pub(crate) struct Leaves {
    pub(crate) all: Vec<Leaf>,
    pub(crate) boxes: Vec<Boxes>,
}

impl Leaves {
    /// `count` points in the order of `z`.
    pub(crate) fn of(count: usize, z: impl Fn(usize) -> [f32; COORDINATES] + Sync) -> Self {
        let leaf = |leaf: usize| Leaf::of((leaf * LANES..count.min((leaf + 1) * LANES)).map(&z));
        let all: Vec<Leaf> = (0..count.div_ceil(LANES)).into_par_iter().with_min_len(64).map(leaf).collect();
        let filled = |leaf: usize| LANES.min(count - leaf * LANES);
        let hull = |(i, leaf): (usize, &Leaf)| leaf.hull(filled(i));
        let hulls: Vec<_> = all.iter().enumerate().map(hull).collect();
        Self { boxes: hulls.chunks(LANES).map(Boxes::of).collect(), all }
    }

    /// The variance of the `count` points within their leaves, on the mean.
    pub(crate) fn variance(&self, count: usize) -> f64 {
        let filled = |leaf: usize| LANES.min(count - leaf * LANES);
        let within = self.all.iter().enumerate().map(|(i, leaf)| leaf.variance(filled(i)));
        within.sum::<f64>() / self.all.len() as f64
    }

    /// Boxes around sixteen leaves each.
    pub(crate) fn upper(&self) -> Vec<Boxes> {
        let count = |boxes: usize| LANES.min(self.all.len() - boxes * LANES);
        let hulls: Vec<_> = self.boxes.iter().enumerate().map(|(i, boxes)| boxes.hull(count(i))).collect();
        hulls.chunks(LANES).map(Boxes::of).collect()
    }

    /// The coordinates of a point.
    #[inline]
    pub(crate) fn point(&self, slot: u32) -> [f32; COORDINATES] {
        let leaf = &self.all[slot as usize / LANES];
        std::array::from_fn(|k| leaf.z[k][slot as usize % LANES])
    }
}

impl Leaf {
    fn of(points: impl Iterator<Item = [f32; COORDINATES]>) -> Self {
        let mut leaf = Self { z: [[0.0; LANES]; COORDINATES], square: [f64::INFINITY; LANES] };
        for (l, z) in points.enumerate() {
            leaf.square[l] = z.iter().map(|&z| f64::from(z) * f64::from(z)).sum();
            leaf.z.iter_mut().zip(z).for_each(|(group, z)| group[l] = z);
        }
        leaf
    }

    /// The ranges of the first `count` points.
    fn hull(&self, count: usize) -> Hull {
        std::array::from_fn(|k| range(&self.z[k][..count], &self.z[k][..count]))
    }

    fn variance(&self, count: usize) -> f64 {
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count as f64;
        let squares = mean(&mut self.square[..count].iter().copied());
        let centre = self.z.iter().map(|z| mean(&mut z[..count].iter().map(|&z| f64::from(z))).powi(2));
        (squares - centre.sum::<f64>()).max(0.0)
    }
}

/// The range of each of the leading coordinates.
type Hull = [(f32, f32); BOX_AXES];

#[inline]
fn range(low: &[f32], high: &[f32]) -> (f32, f32) {
    let least = low.iter().fold(f32::INFINITY, |least, &v| if v < least { v } else { least });
    (least, high.iter().fold(f32::NEG_INFINITY, |most, &v| if v > most { v } else { most }))
}

impl Boxes {
    /// At most sixteen; those that are missing are points at the origin.
    fn of(hulls: &[Hull]) -> Self {
        let mut boxes = Self { low: [[0.0; LANES]; BOX_AXES], high: [[0.0; LANES]; BOX_AXES] };
        for (l, hull) in hulls.iter().enumerate() {
            for (k, &(low, high)) in hull.iter().enumerate() {
                (boxes.low[k][l], boxes.high[k][l]) = (low, high);
            }
        }
        boxes
    }

    /// The box around the first `count`.
    fn hull(&self, count: usize) -> Hull {
        std::array::from_fn(|k| range(&self.low[k][..count], &self.high[k][..count]))
    }
}

/// The points of a few neighbouring leaves, grouped anew by their potential.
///
/// A leaf has to be entered where its least `h = top - psi` and the distance to its box allow it. Where `h` varies within
/// leaves by as much as their points are apart, as it does for a converged potential, leaves of about equal `h` are entered
/// less often, though their boxes are larger: by a fifth to a third less for patches of images.
#[derive(Debug)]
pub(crate) struct Regrouped {
    pub(crate) leaves: Leaves,
    /// The place of each point.
    pub(crate) places: Vec<u32>,
}

impl Regrouped {
    /// Those of `leaves`, with this variance in them, for the potential `psi` of the places, whose largest is `top`; none where
    /// it would not pay.
    pub(crate) fn of(leaves: &Leaves, variance: f64, psi: &[f64], top: f64) -> Option<Self> {
        let most = |psi: &[f64]| psi.iter().copied().fold(f64::NEG_INFINITY, f64::max) * psi.len() as f64;
        let loss = psi.chunks(LANES).map(most).sum::<f64>() - psi.iter().sum::<f64>();
        (loss > SHARE * variance * psi.len() as f64).then(|| Self::by(leaves, psi, top))
    }

    fn by(leaves: &Leaves, psi: &[f64], top: f64) -> Self {
        let mut places = vec![0; psi.len()];
        let runs =
            places.par_chunks_mut(REGROUPED * LANES).zip(psi.par_chunks(REGROUPED * LANES)).enumerate();
        runs.with_min_len(16).for_each(|(run, (places, psi))| {
            let mut keys = [0_u64; REGROUPED * LANES];
            for ((key, &psi), place) in keys.iter_mut().zip(psi).zip(run * REGROUPED * LANES..) {
                // Bits of numbers that are not negative have the order of the numbers.
                *key = u64::from(((top - psi) as f32).to_bits()) << 32 | place as u64;
            }
            let keys = &mut keys[..psi.len()];
            keys.sort_unstable();
            places.iter_mut().zip(keys).for_each(|(place, key)| *place = *key as u32);
        });
        let leaves = Leaves::of(places.len(), |slot| leaves.point(places[slot]));
        Self { leaves, places }
    }
}
