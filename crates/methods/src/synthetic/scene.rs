//! The scene before the scanner: which phase lies at which pixel, and how bright it is there.

use super::field::Field;
use super::tessellation::{Cell, Tessellation};
use rand::Rng;
use smalti_base::Seed;
use smalti_base::seed::Stream;

const MATRIX: f32 = 0.34;
const GRAIN: f32 = 0.44;
const BINDER: f32 = 0.72;
const CRACK: f32 = 0.06;
const CRUMB: f32 = 0.82;

/// What a cell of the tessellation is filled with.
enum Phase {
    /// Nothing but matrix.
    Matrix,
    /// The bright binder, with a rough outline.
    Binder,
    /// A grain.
    Grain(Grain),
}

/// A grain, kept away from the faces of its cell.
struct Grain {
    grey: f32,
    /// Distance of the grain from the faces of its cell, in pixels.
    margin: f32,
    /// The side where it came loose from the matrix, as a unit vector.
    loose: [f32; 2],
    /// Width of the crack on that side, in pixels.
    crack: f32,
    /// How much of its outline carries bright crumbs, from -1 (none) to 1.
    crumbs: f32,
}

/// A hollow sphere: a disc of binder with a dark hole beside its centre.
struct Sphere {
    centre: [f32; 2],
    radius: f32,
    hole: [f32; 2],
    hole_radius: f32,
}

/// The random fields that a scene needs: edges, outlines, cracks and crumbs, speckle.
struct Fields {
    warp: [Field; 2],
    rough: Field,
    patchy: Field,
    speckle: Field,
    cloud: Field,
}

impl Fields {
    fn new(height: usize, width: usize, seed: Seed) -> Self {
        let field = |name, spacing| Field::new(height, width, spacing, &mut seed.at(name, 0));
        Self {
            warp: [field("warp rows", 14.0), field("warp columns", 14.0)],
            rough: field("rough", 4.0),
            patchy: field("patchy", 7.0),
            speckle: field("speckle", 1.8),
            cloud: field("cloud", 6.0),
        }
    }
}

/// The scene with the given seed: `height * width` values, row by row.
pub(super) fn draw(height: usize, width: usize, seed: Seed) -> Vec<f32> {
    let cells = Tessellation::new(height, width, &mut seed.at("tessellation", 0));
    let mut stream = seed.at("phases", 0);
    let phases: Vec<Phase> = (0..cells.len()).map(|_| phase(&mut stream)).collect();
    let spheres = spheres(height, width, &mut seed.at("spheres", 0));
    let fields = Fields::new(height, width, seed);

    let mut pixels = Vec::with_capacity(height * width);
    for row in 0..height {
        for column in 0..width {
            let (y, x) = (row as f32, column as f32);
            let speckle = fields.speckle.at(y, x);
            let binder = BINDER + 0.05 * speckle + 0.04 * fields.cloud.at(y, x);
            let quiet = 0.02 * speckle;
            let in_sphere = spheres.iter().find_map(|s| s.grey(y, x, &fields, binder));
            pixels.push(in_sphere.unwrap_or_else(|| {
                // Faces are nearly flat: a bend of a pixel at most.
                let bent = (y + 0.8 * fields.warp[0].at(y, x), x + 0.8 * fields.warp[1].at(y, x));
                let cell = cells.at(bent.0, bent.1);
                match &phases[cell.number] {
                    Phase::Matrix => MATRIX + quiet,
                    Phase::Binder if cell.depth > 2.0 + 2.5 * fields.rough.at(y, x) => binder,
                    Phase::Binder => MATRIX + quiet,
                    Phase::Grain(grain) => grain.at(&cell, y, x, &fields) + quiet,
                }
            }));
        }
    }
    pixels
}

fn phase(stream: &mut Stream) -> Phase {
    match stream.random::<f32>() {
        p if p < 0.25 => Phase::Matrix,
        p if p < 0.45 => Phase::Binder,
        _ => {
            let angle = stream.random_range(0.0..std::f32::consts::TAU);
            Phase::Grain(Grain {
                grey: GRAIN + stream.random_range(-0.03..0.03),
                margin: stream.random_range(0.0..8.0),
                loose: [angle.sin(), angle.cos()],
                crack: stream.random_range(1.2..3.2),
                crumbs: stream.random_range(-0.6..0.8),
            })
        }
    }
}

impl Grain {
    /// Brightness in and around the grain.
    fn at(&self, cell: &Cell, y: f32, x: f32, fields: &Fields) -> f32 {
        // Depth below the surface of the grain, negative outside.
        let depth = cell.depth - self.margin;
        let side = cell.towards[0] * self.loose[0] + cell.towards[1] * self.loose[1];
        let patchy = fields.patchy.at(y, x);
        if depth > 0.0 {
            // A bright rim where the grain is attached.
            let rim = if side < 0.2 && depth < 1.5 { 0.16 } else { 0.0 };
            return self.grey + rim;
        }
        if depth > -self.crack && side + 0.4 * patchy > 0.3 {
            return CRACK;
        }
        let reach = 6.0 * fields.rough.at(y, x) * (self.crumbs + patchy).max(0.0);
        if side < 0.5 && -depth < reach { CRUMB } else { MATRIX }
    }
}

/// About one sphere in every 280 x 280 pixels.
fn spheres(height: usize, width: usize, stream: &mut Stream) -> Vec<Sphere> {
    let number = (height * width) as f32 / (280.0 * 280.0);
    let number = (number + stream.random::<f32>()) as usize;
    let mut one = || {
        let centre = [stream.random::<f32>() * height as f32, stream.random::<f32>() * width as f32];
        let radius = stream.random_range(32.0..62.0f32);
        let hole_radius = radius * stream.random_range(0.25..0.55f32);
        let angle = stream.random_range(0.0..std::f32::consts::TAU);
        let shift = stream.random_range(0.0..0.35) * radius;
        let hole = [centre[0] + shift * angle.sin(), centre[1] + shift * angle.cos()];
        Sphere { centre, radius, hole, hole_radius }
    };
    (0..number).map(|_| one()).collect()
}

impl Sphere {
    /// Brightness where the point belongs to the sphere.
    fn grey(&self, y: f32, x: f32, fields: &Fields, binder: f32) -> Option<f32> {
        let distance = |c: [f32; 2]| (y - c[0]).hypot(x - c[1]);
        let outside = distance(self.centre) - self.radius;
        if outside > 4.0 {
            return None;
        }
        // Sintered crumbs on the outside, a dark seam around the smooth hole.
        if outside > 1.2 * fields.rough.at(y, x) + 1.5 * fields.patchy.at(y, x).max(0.0) {
            return None;
        }
        let into_hole = self.hole_radius - distance(self.hole);
        Some(match into_hole {
            d if d > 1.5 => MATRIX - 0.02,
            d if d > 0.0 => CRACK + 0.05,
            _ => binder,
        })
    }
}
