//! Smooth random fields that phantoms are drawn with.

use crate::synthetic::field::Field;
use smalti_base::Seed;

/// Smooth random fields over the image, in its coordinates.
pub(super) struct Fields {
    pub(super) warp: [Field; 2],
    pub(super) tissue: Field,
    pub(super) streak: Field,
    pub(super) marrow: Field,
    half: [f32; 2],
}

impl Fields {
    /// Steps of the fields' lattices are given in hundredths of the half shorter side.
    const FINE: f32 = 100.0;

    pub(super) fn new(height: f32, width: f32, seed: Seed) -> Self {
        let side = |length: f32| (length * Self::FINE).ceil() as usize + 1;
        let field = |name, spacing| Field::new(side(height), side(width), spacing, &mut seed.at(name, 0));
        Self {
            warp: [field("warp rows", 22.0), field("warp columns", 22.0)],
            tissue: field("tissue", 9.0),
            streak: field("streak", 5.0),
            marrow: field("marrow", 1.6),
            half: [height / 2.0, width / 2.0],
        }
    }

    pub(super) fn at(&self, field: &Field, p: [f32; 2]) -> f32 {
        field.at((p[0] + self.half[0]) * Self::FINE, (p[1] + self.half[1]) * Self::FINE)
    }

    /// `p`, moved a little so that outlines are not round.
    pub(super) fn bend(&self, p: [f32; 2]) -> [f32; 2] {
        [p[0] + 0.025 * self.at(&self.warp[0], p), p[1] + 0.025 * self.at(&self.warp[1], p)]
    }
}
