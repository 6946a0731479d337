//! Where the rays of a parallel beam run: angles, pixels, detector; and what is common to all geometries.

use crate::error::KernelError;
use std::f64::consts::{PI, SQRT_2};
use std::ops::{Range, RangeInclusive};

/// Detector spacings, in pixels: beyond them positions lose their digits, and a pixel would meet millions of rays.
const RATIOS: RangeInclusive<f64> = 1e-4..=1e6;

/// The pixels of an image: square ones, centred at the axis of rotation.
///
/// Pixel `(r, c)` has its centre at `x = (c - (columns - 1)/2) size`, `y = ((rows - 1)/2 - r) size`: columns run along `x`
/// and row 0 is at the top, at the largest `y`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Side of a pixel in metres.
    pub size: f64,
}

impl Pixels {
    /// Half of the width and of the height, in metres.
    pub(super) fn reach(&self) -> [f64; 2] {
        [0.5 * self.columns as f64 * self.size, 0.5 * self.rows as f64 * self.size]
    }

    /// The distance of the corners from the axis of rotation, in metres.
    pub fn radius(&self) -> f64 {
        let [right, up] = self.reach();
        right.hypot(up)
    }
}

/// A line of equal detector pixels; pixel `j` lies at `s = (j - (count - 1)/2) spacing + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detector {
    /// Number of pixels.
    pub count: usize,
    /// Distance of neighbouring pixels in metres.
    pub spacing: f64,
    /// Where the middle of the detector lies, in metres; 0 opposite to the axis of rotation.
    pub offset: f64,
}

impl Detector {
    /// `count` pixels around the axis of rotation.
    pub fn centred(count: usize, spacing: f64) -> Self {
        Self { count, spacing, offset: 0.0 }
    }

    /// `count` pixels, the axis of rotation opposite to the pixel `axis`, counted from 0, also between two.
    pub fn around(axis: f64, count: usize, spacing: f64) -> Self {
        Self { count, spacing, offset: (0.5 * (count as f64 - 1.0) - axis) * spacing }
    }

    /// Position `s` of pixel `j`, in metres.
    pub fn position(&self, j: f64) -> f64 {
        (j - 0.5 * (self.count as f64 - 1.0)) * self.spacing + self.offset
    }
}

/// What a detector pixel measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footprint {
    /// The integral along the ray through its middle: Joseph's model.
    Line,
    /// The mean of these integrals over its width.
    Strip,
}

impl Footprint {
    /// [`Footprint::Strip`] where detector pixels are wider than image pixels, which lie between single rays then.
    pub(super) fn of(pixels: Pixels, detector: Detector) -> Self {
        // Equal sizes stay equal with rounding.
        if detector.spacing > (1.0 + 1e-6) * pixels.size { Self::Strip } else { Self::Line }
    }
}

/// A checked parallel-beam geometry: rays `{ x cos(theta) + y sin(theta) = s }` for every angle `theta` in radians and
/// every position `s` of the [`Detector`]. At `theta = 0` rays run along columns and `s = x`.
///
/// Angles are arbitrary: any number of at least one, any order, any range; `theta + pi` mirrors the detector.
///
/// Detector pixels wider than image pixels measure means over their width, others single rays ([`Footprint`]), unless
/// [`ParallelBeam::with_footprint`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ParallelBeam {
    angles: Vec<f64>,
    pixels: Pixels,
    detector: Detector,
    footprint: Footprint,
}

/// More rows, columns, detector pixels or angles than anybody can hold, and far from overflow.
const MOST: usize = 1 << 20;

/// Angles, pixels and a detector that can be, the detector's pixels as they are seen where the axis of rotation lies.
pub(super) fn check(angles: &[f64], pixels: Pixels, detector: Detector) -> Result<(), KernelError> {
    let counts = [
        ("number of projection angles", angles.len()),
        ("number of image rows", pixels.rows),
        ("number of image columns", pixels.columns),
        ("number of detector pixels", detector.count),
    ];
    for (what, count) in counts {
        if count == 0 || count > MOST {
            return Err(KernelError::new(what, "between 1 and 2^20", count));
        }
    }
    if let Some((k, angle)) = angles.iter().enumerate().find(|(_, angle)| !angle.is_finite()) {
        let got = format!("{angle} at position {k}");
        return Err(KernelError::new("projection angle", "a finite number of radians", got));
    }
    for (what, length) in [("size of a pixel", pixels.size), ("detector spacing", detector.spacing)] {
        if !(length > 0.0 && length.is_finite()) {
            return Err(KernelError::new(what, "a positive, finite number of metres", length));
        }
    }
    let ratio = detector.spacing / pixels.size;
    if !RATIOS.contains(&ratio) {
        let expected = format!("{:e} to {:e} times the size of a pixel", RATIOS.start(), RATIOS.end());
        return Err(KernelError::new("detector spacing", expected, format!("{ratio:e} times")));
    }
    if !detector.offset.is_finite() {
        let expected = "a finite number of metres";
        return Err(KernelError::new("detector offset", expected, detector.offset));
    }
    Ok(())
}

/// Some of the angles.
pub(super) fn part(angles: &[f64], indices: Range<usize>) -> Result<Vec<f64>, KernelError> {
    match angles.get(indices.clone()) {
        Some(part) if !part.is_empty() => Ok(part.to_vec()),
        _ => {
            let expected = format!("at least one index, all below the {} angles", angles.len());
            Err(KernelError::new("range of angles", expected, format!("{indices:?}")))
        }
    }
}

impl ParallelBeam {
    /// A geometry of these angles (radians), pixels and detector.
    ///
    /// # Errors
    /// [`KernelError`] where there is no angle or one that is not finite, no row, column or detector pixel, more than
    /// 2^20 of any, a size or spacing that is not positive and finite, or an offset that is not finite.
    pub fn new(angles: Vec<f64>, pixels: Pixels, detector: Detector) -> Result<Self, KernelError> {
        check(&angles, pixels, detector)?;
        Ok(Self { angles, pixels, detector, footprint: Footprint::of(pixels, detector) })
    }

    /// The same rays with detector pixels that measure this: [`Footprint::Line`] simulates point-like detector pixels on a
    /// finer grid.
    #[must_use]
    pub fn with_footprint(self, footprint: Footprint) -> Self {
        Self { footprint, ..self }
    }

    /// `count` angles at the midpoints `(k + 1/2) pi / count` of equal parts of the half turn.
    pub fn half_turn(count: usize) -> Vec<f64> {
        (0..count).map(|k| (k as f64 + 0.5) * PI / count as f64).collect()
    }

    /// The geometry of LoDoPaB-CT: 362 x 362 pixels on `[-0.13, 0.13]^2` metres, 1000 angles at the midpoints
    /// `(k + 1/2) pi / 1000`, 513 detector pixels on `[-0.13 sqrt 2, 0.13 sqrt 2]`. Its images are stored as `[x, y]`, rows
    /// along `x`: here, where columns are, the same rays have angles that are less by `pi / 2`, and so stored
    /// observations go with stored images.
    ///
    /// # Reference
    /// Leuschner, Schmidt, Otero Baguer, Maass, "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography
    /// reconstruction", Scientific Data 8 (2021), section "Methods".
    pub fn lodopab() -> Self {
        Self::lodopab_sized(362)
    }

    /// The angles and the detector of [`ParallelBeam::lodopab`] with `side` x `side` pixels (at least 1, at most 2^20)
    /// on the same square: for simulation on a finer grid than that of reconstruction, by single rays
    /// ([`Footprint::Line`]) as in LoDoPaB-CT.
    pub fn lodopab_sized(side: usize) -> Self {
        let side = side.clamp(1, MOST);
        let pixels = Pixels { rows: side, columns: side, size: 0.26 / side as f64 };
        let detector = Detector::centred(513, 0.26 * SQRT_2 / 513.0);
        let angles = Self::half_turn(1000).iter().map(|angle| angle - PI / 2.0).collect();
        Self { angles, pixels, detector, footprint: Footprint::Line }
    }

    /// The same geometry with the angles of these indices only: `100..900` is the limited angle of the LoDoPaB experiments.
    ///
    /// # Errors
    /// [`KernelError`] where the range is empty or leads beyond the last angle.
    pub fn angles(&self, indices: Range<usize>) -> Result<Self, KernelError> {
        Ok(Self { angles: part(&self.angles, indices)?, ..self.clone() })
    }

    /// The angles in radians, in the order given.
    pub fn angle_list(&self) -> &[f64] {
        &self.angles
    }

    /// What a detector pixel measures.
    pub fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// The pixels of the image.
    pub fn pixels(&self) -> Pixels {
        self.pixels
    }

    /// The detector.
    pub fn detector(&self) -> Detector {
        self.detector
    }

    /// By how many metres the image reaches beyond the detector at the worst angle; 0 where every projection is whole.
    ///
    /// The part beyond is in no ray of such angles: the projections are truncated, and reconstructions have wrong
    /// values there and near there.
    pub fn truncation(&self) -> f64 {
        let Pixels { rows, columns, size } = self.pixels;
        let detector = 0.5 * self.detector.count as f64 * self.detector.spacing - self.detector.offset.abs();
        let beyond = |angle: &f64| {
            let reach = columns as f64 * angle.cos().abs() + rows as f64 * angle.sin().abs();
            0.5 * size * reach - detector
        };
        let worst = self.angles.iter().map(beyond).fold(0.0, f64::max);
        // Geometries that fit exactly are not truncated by rounding.
        if worst > 1e-9 * size { worst } else { 0.0 }
    }
}
