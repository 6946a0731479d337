//! Where organs lie and how much they attenuate.
//!
//! Points are `[row, column]`, 0 in the middle of the image and 1 at its border: rows from the patient's right (-1) to the
//! left (1), columns from the chest (-1) to the back (1).

use super::fields::Fields;
use super::shapes::{Ellipse, Tube};
use rand::Rng;
use smalti_base::Seed;
use smalti_base::seed::Stream;

const LUNG: f32 = 0.022;
const FAT: f32 = 0.21;
const MUSCLE: f32 = 0.252;
const BLOOD: f32 = 0.258;
const LIVER: f32 = 0.262;
const MARROW: f32 = 0.31;

/// Thickness of the dense outer layer of bones.
const CORTEX: f32 = 0.014;

/// One slice.
pub(super) struct Anatomy {
    body: Ellipse,
    /// Thickness of the fat under the skin.
    fat: f32,
    thorax: Ellipse,
    lungs: [Ellipse; 2],
    /// Lies in front of the lungs where the slice is low.
    liver: Option<Ellipse>,
    heart: Ellipse,
    vessels: [Ellipse; 3],
    windpipe: [Ellipse; 2],
    vertebra: Ellipse,
    canal: Ellipse,
    bones: Vec<Tube>,
    breastbone: Ellipse,
    branches: Vec<Tube>,
    /// How much the outer layer of bones attenuates.
    cortex: f32,
}

impl Anatomy {
    pub(super) fn draw(seed: Seed) -> Self {
        let s = &mut seed.at("anatomy", 0);
        let depth = s.random_range(0.82..0.98);
        let body = Ellipse::new([0.0, s.random_range(0.0..0.1)], [s.random_range(1.05..1.3), depth], 0.0);
        let thorax = body.scaled(s.random_range(0.78..0.86));
        // 1 in the middle of the chest, less towards its lower end.
        let level = s.random_range(0.55..1.0f32);
        let lung = |side: f32, s: &mut Stream| {
            let centre = [side * s.random_range(0.46..0.54), s.random_range(-0.08..0.08)];
            let axes = [s.random_range(0.39..0.48) * level, s.random_range(0.58..0.72) * level.sqrt()];
            Ellipse::new(centre, axes, side * s.random_range(0.0..0.25))
        };
        let lungs = [lung(-1.0, s), lung(1.0, s)];
        let liver = (level < 0.75).then(|| {
            let axes = [s.random_range(0.3..0.5), s.random_range(0.3..0.45)];
            Ellipse::new([s.random_range(-0.45..-0.25), s.random_range(-0.35..-0.15)], axes, 0.4)
        });
        let heart = Ellipse::new(
            [s.random_range(0.0..0.15), s.random_range(-0.4..-0.25)],
            [s.random_range(0.2..0.34), s.random_range(0.15..0.27)],
            s.random_range(0.2..0.8),
        );
        let spine = s.random_range(0.36..0.46);
        let disc = |centre: [f32; 2], radius: f32| Ellipse::new(centre, [radius, radius * 0.92], 0.3);
        let vessels = [
            disc([s.random_range(0.08..0.16), spine - 0.16], s.random_range(0.06..0.09)),
            disc([s.random_range(-0.12..-0.04), s.random_range(-0.2..-0.05)], s.random_range(0.05..0.09)),
            disc([s.random_range(0.0..0.12), s.random_range(-0.12..0.02)], s.random_range(0.05..0.08)),
        ];
        let fork = s.random_range(0.0..0.12);
        let airway = s.random_range(0.03..0.055);
        let windpipe = [-1.0, 1.0].map(|side: f32| disc([side * fork, spine - 0.26], airway));
        let vertebra =
            Ellipse::new([0.0, spine], [s.random_range(0.13..0.17), s.random_range(0.10..0.13)], 0.0);
        let canal = Ellipse::new([0.0, spine + 0.18], [0.065, 0.055], 0.0);
        let breastbone = Ellipse::new(thorax.surface(-std::f32::consts::FRAC_PI_2), [0.12, 0.04], 0.0);
        let bones = bones(&thorax, spine, s);
        let branches = lungs.iter().flat_map(|lung| branches(lung, s)).collect();
        Self {
            body,
            fat: s.random_range(0.03..0.14),
            thorax,
            lungs,
            liver,
            heart,
            vessels,
            windpipe,
            vertebra,
            canal,
            bones,
            breastbone,
            branches,
            cortex: s.random_range(0.42..0.52),
        }
    }

    /// Attenuation / `mu_max` at a point.
    pub(super) fn value(&self, p: [f32; 2], fields: &Fields) -> f32 {
        let q = fields.bend(p);
        let skin = self.body.depth(q);
        if skin < 0.0 {
            return 0.0;
        }
        let tissue = 0.006 * fields.at(&fields.tissue, p);
        if let Some(bone) = self.bone(q, p, fields) {
            return bone;
        }
        if skin < 0.015 {
            return MUSCLE;
        }
        if skin < self.fat {
            return FAT + tissue;
        }
        if self.thorax.depth(q) < 0.0 {
            // Muscles of the wall, with fat between them.
            let streak = fields.at(&fields.streak, p) + 0.6 * fields.at(&fields.tissue, p);
            return if streak > 0.55 { FAT } else { MUSCLE + tissue };
        }
        self.inside(q, p, fields) + tissue
    }

    /// What lies within the ribs.
    fn inside(&self, q: [f32; 2], p: [f32; 2], fields: &Fields) -> f32 {
        if self.windpipe.iter().any(|w| w.depth(q) > 0.0) {
            return 0.002;
        }
        let solid = |e: &Ellipse| e.depth(q) > 0.0;
        if self.vessels.iter().any(solid) || self.windpipe.iter().any(|w| w.depth(q) > -0.012) {
            return BLOOD;
        }
        if solid(&self.heart) {
            return BLOOD;
        }
        if self.liver.as_ref().is_some_and(solid) {
            return LIVER;
        }
        let lining = self.vertebra.depth(q) > -0.03;
        let deep = self.lungs.iter().map(|l| l.depth(q)).fold(f32::NEG_INFINITY, f32::max);
        if deep > 0.0 && self.thorax.depth(q) > 0.03 && !lining {
            let vessel = self.branches.iter().any(|b| b.depth(q) > 0.0);
            let air = LUNG + 0.008 * fields.at(&fields.streak, p) + 0.012 * (1.0 - q[1]) * 0.2;
            return if vessel { BLOOD - 0.02 } else { air };
        }
        // Fat and soft tissue between the organs.
        if fields.at(&fields.tissue, q) > 0.35 { FAT } else { MUSCLE }
    }

    /// Bone, where there is any: a dense layer around marrow.
    fn bone(&self, q: [f32; 2], p: [f32; 2], fields: &Fields) -> Option<f32> {
        let canal = self.canal.depth(q);
        if canal > 0.0 {
            return Some(MUSCLE);
        }
        let ring = (canal + 0.045).min(-canal);
        let tubes = self.bones.iter().map(|b| b.depth(q)).fold(f32::NEG_INFINITY, f32::max);
        let deep = tubes.max(ring).max(self.vertebra.depth(q)).max(self.breastbone.depth(q));
        if deep < 0.0 {
            return None;
        }
        let marrow = MARROW + 0.04 * fields.at(&fields.marrow, p);
        Some(if deep < CORTEX { self.cortex } else { marrow })
    }
}

/// Ribs along the thorax, processes of the vertebra, shoulder blades.
fn bones(thorax: &Ellipse, spine: f32, s: &mut Stream) -> Vec<Tube> {
    let mut bones = Vec::new();
    let ribs = s.random_range(4..7);
    for side in [-1.0, 1.0f32] {
        for k in 0..ribs {
            // From the back (pi / 2) to the front (-pi / 2), the cut through every rib short or long.
            let share = (k as f32 + s.random_range(0.2..0.8)) / ribs as f32;
            let angle = 1.2 - 2.3 * share;
            let half = s.random_range(0.02..0.13);
            let radius = s.random_range(0.018..0.03);
            let point = |angle: f32| {
                let [row, column] = thorax.surface(angle);
                [side * row, column]
            };
            let steps = 3;
            for step in 0..steps {
                let at = |k: usize| point(angle - half + 2.0 * half * k as f32 / steps as f32);
                bones.push(Tube { from: at(step), to: at(step + 1), radius });
            }
        }
        // Transverse process, and the rib that begins there in some slices.
        let root = [side * 0.08, spine + 0.16];
        let tip = [side * s.random_range(0.2..0.3), spine + s.random_range(0.16..0.26)];
        bones.push(Tube { from: root, to: tip, radius: 0.028 });
        if s.random::<f32>() < 0.6 {
            let from = [side * s.random_range(0.55..0.7), s.random_range(0.62..0.74)];
            let to = [side * s.random_range(0.78..0.9), s.random_range(0.3..0.5)];
            bones.push(Tube { from, to, radius: s.random_range(0.015..0.025) });
        }
    }
    let end = spine + s.random_range(0.36..0.46);
    bones.push(Tube { from: [0.0, spine + 0.24], to: [0.0, end], radius: 0.022 });
    bones
}

/// Vessels of a lung: a tree from its inner side outwards, and cuts through others.
fn branches(lung: &Ellipse, s: &mut Stream) -> Vec<Tube> {
    let mut all = Vec::new();
    let inner = if lung.surface(0.0)[0] + lung.surface(std::f32::consts::PI)[0] > 0.0 {
        std::f32::consts::PI
    } else {
        0.0
    };
    let root = lung.scaled(0.9).surface(inner);
    let mut ends: Vec<([f32; 2], f32, f32)> = (0..3)
        .map(|_| {
            (root, inner + std::f32::consts::PI + s.random_range(-1.2..1.2), s.random_range(0.016..0.028))
        })
        .collect();
    while let Some((from, direction, radius)) = ends.pop() {
        let length = radius * s.random_range(3.0..7.0);
        let to = [from[0] + length * direction.cos(), from[1] + length * direction.sin()];
        // In a slice vessels come and go.
        if s.random::<f32>() < 0.45 {
            all.push(Tube { from, to, radius });
        }
        if radius > 0.006 {
            for side in [-1.0, 1.0f32] {
                let turn = side * s.random_range(0.1..0.8);
                ends.push((to, direction + turn, radius * s.random_range(0.6..0.85)));
            }
        }
        if all.len() > 120 {
            break;
        }
    }
    for _ in 0..s.random_range(15..35) {
        let angle = s.random_range(0.0..std::f32::consts::TAU);
        let from = lung.scaled(s.random_range(0.1..0.95)).surface(angle);
        let length = s.random_range(0.0..0.03f32);
        let to = [from[0] + length * angle.cos(), from[1] + length * angle.sin()];
        all.push(Tube { from, to, radius: s.random_range(0.004..0.014) });
    }
    all
}
