//! Volumes: polyhedral grains in a matrix, seen by a tomograph.

use super::scanner::{SCANNER_NOISE, SCANNER_SIGMA};
use rand::Rng;
use smalti_base::seed::Stream;
use smalti_base::{Error, Result, Seed};
use smalti_operators::volume::gaussian;
use tch::Tensor;

const MATRIX: f32 = 0.30;
const BINDER: f32 = 0.75;
const CRACK: f32 = 0.08;

/// A cell of the tessellation.
struct Cell {
    /// Slice, row and column of its seed.
    seed: [f32; 3],
    /// In squared voxels: larger ones reach further.
    weight: f32,
    /// Brightness inside.
    grey: f32,
    /// What is left free between it and its faces, in voxels.
    margin: f32,
    /// Whether a crack runs along its surface.
    cracked: bool,
}

impl Cell {
    fn draw(place: [f32; 3], spacing: f32, stream: &mut Stream) -> Self {
        let seed = place.map(|p| (p + stream.random::<f32>()) * spacing);
        let weight = stream.random_range(0.0..0.15) * spacing * spacing;
        let (grey, margin) = match stream.random::<f32>() {
            p if p < 0.15 => (MATRIX, 0.0),
            p if p < 0.40 => (BINDER + stream.random_range(-0.03..0.03), 0.0),
            _ => (stream.random_range(0.42..0.55), stream.random_range(0.4..1.6)),
        };
        Self { seed, weight, grey, margin, cracked: stream.random::<f32>() < 0.3 }
    }

    /// What decides which cell a point belongs to: the squared distance less the weight.
    fn power(&self, p: [f32; 3]) -> f32 {
        self.seed.iter().zip(p).map(|(s, p)| (s - p).powi(2)).sum::<f32>() - self.weight
    }
}

/// A volume of `side` voxels a side with grains of about `grain` voxels: `[1, D, H, W]`, slices in the place of channels,
/// float32 on the CPU, values in `[0, 1]`.
///
/// Grains are the cells of a 3-D Laguerre tessellation with one jittered seed in each cube of a lattice: bright binder,
/// grey grains kept apart by the darker matrix, some of them loose with a crack around. The scanner then blurs by a Gaussian
/// of [`SCANNER_SIGMA`] voxels and adds white noise of [`SCANNER_NOISE`]. The same arguments give the same volume on every
/// machine, up to the rounding of the blur.
///
/// # Errors
/// [`Error::Value`] where the side is not in `1..=512` or grains are not 4 to 512 voxels.
pub fn microstructure_volume(side: i64, grain: f64, seed: Seed, index: u64) -> Result<Tensor> {
    if !(1..=512).contains(&side) {
        return Err(Error::value("microstructure side", "1 to 512 voxels", side));
    }
    if !(4.0..=512.0).contains(&grain) {
        return Err(Error::value("microstructure grain", "4 to 512 voxels", grain));
    }
    let seed = seed.derive("microstructure volume", index);
    // The blur needs what lies beyond the volume.
    let border = (3.5 * SCANNER_SIGMA).ceil() as i64;
    let whole = side + 2 * border;
    let scene = scene(whole as usize, grain as f32, seed);
    let scene = Tensor::f_from_slice(&scene)?.f_reshape([1, 1, whole, whole, whole])?;
    let size = 2 * border + 1;
    let kernel =
        gaussian(size, SCANNER_SIGMA)?.f_reshape([1, 1, size, size, size])?.f_to_kind(scene.kind())?;
    let seen = scene.f_conv3d(&kernel, None::<Tensor>, [1, 1, 1], [0, 0, 0], [1, 1, 1], 1)?;
    let noise = seed.at("scanner noise", 0).normal(&[1, side, side, side]) * SCANNER_NOISE;
    Ok((seen.f_reshape([1, side, side, side])? + noise).f_clamp(0.0, 1.0)?)
}

/// Brightness before the scanner, slice by slice.
fn scene(side: usize, spacing: f32, seed: Seed) -> Vec<f32> {
    // Two cubes of margin on every side: the neighbours of a border cell are there too.
    let count = (side as f32 / spacing).ceil() as usize + 4;
    let stream = &mut seed.at("cells", 0);
    let mut cells = Vec::with_capacity(count.pow(3));
    for number in 0..count.pow(3) {
        let place = [number / (count * count), number / count % count, number % count];
        cells.push(Cell::draw(place.map(|p| p as f32 - 2.0), spacing, stream));
    }
    let mut voxels = Vec::with_capacity(side.pow(3));
    for number in 0..side.pow(3) {
        let p = [number / (side * side), number / side % side, number % side].map(|v| v as f32);
        let cube = p.map(|v| ((v / spacing + 2.0) as usize).min(count - 1));
        let near = |axis: usize| cube[axis].saturating_sub(2)..(cube[axis] + 3).min(count);
        let around = || {
            near(0).flat_map(move |l| {
                near(1).flat_map(move |r| near(2).map(move |c| (l * count + r) * count + c))
            })
        };
        voxels.push(grey(&cells, around, p));
    }
    voxels
}

/// Brightness at a point, from the cells around it.
fn grey<I: Iterator<Item = usize>>(cells: &[Cell], around: impl Fn() -> I, p: [f32; 3]) -> f32 {
    let (mut own, mut least) = (0, f32::INFINITY);
    for i in around() {
        let power = cells[i].power(p);
        if power < least {
            (own, least) = (i, power);
        }
    }
    let cell = &cells[own];
    // Distance to the nearest face.
    let depth = around().filter(|&i| i != own).fold(f32::INFINITY, |depth, i| {
        let step: f32 = cells[i].seed.iter().zip(cell.seed).map(|(a, b)| (a - b).powi(2)).sum();
        depth.min((cells[i].power(p) - least) / (2.0 * step.sqrt().max(1e-3)))
    });
    match depth {
        d if d >= cell.margin => cell.grey,
        _ if cell.cracked => CRACK,
        _ => MATRIX,
    }
}

#[cfg(test)]
mod tests {
    use super::microstructure_volume;
    use smalti_base::Seed;
    use tch::{Kind, Tensor};

    #[test]
    fn volumes_are_reproducible_sharp_and_differ_by_seed() {
        let volume = |seed, index| microstructure_volume(30, 10.0, Seed::new(seed), index).unwrap();
        let x = volume(1, 0);
        assert_eq!((x.size(), x.kind()), (vec![1, 30, 30, 30], Kind::Float));
        assert_eq!(x, volume(1, 0));
        assert!(x != volume(1, 1) && x != volume(2, 0));
        assert!(x.min().double_value(&[]) >= 0.0 && x.max().double_value(&[]) <= 1.0);
        assert!((0.08..0.25).contains(&x.std(true).double_value(&[])), "{}", x.std(true));
        // Edges along every axis, and flat parts between them.
        for axis in 1..4 {
            let step = x.diff(1, axis, None::<&Tensor>, None::<&Tensor>).abs().flatten(0, -1);
            let (sorted, _) = step.sort(0, false);
            let quantile = |q: f64| sorted.double_value(&[((sorted.size()[0] - 1) as f64 * q) as i64]);
            assert!(
                quantile(0.4) < 0.03 && quantile(0.98) > 0.1,
                "{axis}: {} {}",
                quantile(0.4),
                quantile(0.98)
            );
        }
        for bad in [
            microstructure_volume(0, 10.0, Seed::new(1), 0),
            microstructure_volume(9, f64::NAN, Seed::new(1), 0),
        ] {
            assert!(bad.is_err());
        }
    }
}
