//! Any geometry of rays.

use super::bundle::Bundle;
use super::fan::FanBeam;
use super::geometry::{Detector, Footprint, ParallelBeam, Pixels};
use super::{Fan, Scan};
use crate::error::KernelError;
use std::ops::Range;

/// A parallel beam or a fan beam: the same kernels project along the rays of both.
#[derive(Debug, Clone, PartialEq)]
pub enum Geometry {
    /// Rays of one angle are parallel.
    Parallel(ParallelBeam),
    /// Rays of one angle leave a source.
    Fan(FanBeam),
}

impl From<ParallelBeam> for Geometry {
    fn from(beam: ParallelBeam) -> Self {
        Self::Parallel(beam)
    }
}

impl From<FanBeam> for Geometry {
    fn from(beam: FanBeam) -> Self {
        Self::Fan(beam)
    }
}

macro_rules! either {
    ($self:expr, $beam:ident => $value:expr) => {
        match $self {
            Self::Parallel($beam) => $value,
            Self::Fan($beam) => $value,
        }
    };
}

impl Geometry {
    /// The angles in radians, in the order given.
    pub fn angle_list(&self) -> &[f64] {
        either!(self, beam => beam.angle_list())
    }

    /// What a detector pixel measures.
    pub fn footprint(&self) -> Footprint {
        either!(self, beam => beam.footprint())
    }

    /// The same rays with detector pixels that measure this.
    #[must_use]
    pub fn with_footprint(self, footprint: Footprint) -> Self {
        either!(self, beam => beam.with_footprint(footprint).into())
    }

    /// The same geometry with the angles of these indices only.
    ///
    /// # Errors
    /// [`KernelError`] where the range is empty or leads beyond the last angle.
    pub fn angles(&self, indices: Range<usize>) -> Result<Self, KernelError> {
        Ok(either!(self, beam => beam.angles(indices)?.into()))
    }

    /// The pixels of the image.
    pub fn pixels(&self) -> Pixels {
        either!(self, beam => beam.pixels())
    }

    /// The detector.
    pub fn detector(&self) -> Detector {
        either!(self, beam => beam.detector())
    }

    /// By how many metres the image reaches beyond the detector at the worst angle, at the axis of rotation; 0 where every
    /// projection is whole.
    pub fn truncation(&self) -> f64 {
        either!(self, beam => beam.truncation())
    }
}

impl Scan for Geometry {
    fn grid(&self) -> Pixels {
        self.pixels()
    }

    fn views(&self) -> usize {
        self.angle_list().len()
    }

    fn rays(&self) -> usize {
        self.detector().count
    }

    fn bundles(&self, k: usize) -> Vec<Bundle> {
        match self {
            Self::Parallel(beam) => vec![Bundle::Parallel(beam.view(k))],
            Self::Fan(beam) => Fan::bundles(beam, k),
        }
    }

    fn fan(&self) -> Option<&FanBeam> {
        match self {
            Self::Parallel(_) => None,
            Self::Fan(beam) => Some(beam),
        }
    }
}
