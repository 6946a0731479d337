//! Inpainting: a part of an image in which a rectangle was not seen.

use crate::instrument::Problem;
use crate::instrument::{Instrument, MIN_SCORED, ObservedImage, Role};
use crate::problem::ProblemKey;
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind};
use crate::settings::SettingFault;
use crate::settings::to_toml;
use crate::synthetic::microstructure;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Grid, Mask};
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// Inpainting.
#[derive(Debug)]
pub struct Inpainting;

/// Rows and columns of a drawn image.
const PHANTOM_SIDE: i64 = 600;

/// What is seen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct InpaintingSettings {
    /// The part of an image, in its pixels: all that is reconstructed.
    #[garde(dive)]
    pub part: Rectangle,
    /// The hole, in pixels of the part.
    #[garde(dive)]
    pub hole: Rectangle,
    /// Standard deviation of the white Gaussian noise on what is seen, above 0, at most 1.
    #[garde(range(min = 1e-6, max = 1.0))]
    pub noise: f64,
    /// What methods that learn from the observation see around the hole.
    #[serde(default)]
    #[garde(dive)]
    pub neighbourhood: Neighbourhood,
}

/// What is seen around a hole, also beyond the part that is reconstructed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Neighbourhood {
    /// Pixels from the hole on, 8 to 10,000.
    #[garde(range(min = 8, max = 10_000))]
    pub reach: i64,
    /// Side of the patches that are learned, each of which it holds once; 1 to 64.
    #[garde(range(min = 1, max = 64))]
    pub patch_size: i64,
}

impl Default for Neighbourhood {
    fn default() -> Self {
        Self { reach: 10_000, patch_size: 6 }
    }
}

/// Rows `top` to `top + height - 1` and columns `left` to `left + width - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Rectangle {
    /// First row, 0 to 100,000.
    #[garde(range(min = 0, max = 100_000))]
    pub top: i64,
    /// First column, 0 to 100,000.
    #[garde(range(min = 0, max = 100_000))]
    pub left: i64,
    /// Rows, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub height: i64,
    /// Columns, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub width: i64,
}

impl Rectangle {
    /// Whether it lies within `height` x `width` pixels.
    fn within(&self, height: i64, width: i64) -> bool {
        self.top + self.height <= height && self.left + self.width <= width
    }

    fn of(&self, images: &Tensor) -> Result<Tensor> {
        let rows = images.f_narrow(2, self.top, self.height)?;
        Ok(rows.f_narrow(3, self.left, self.width)?.f_contiguous()?)
    }
}

impl Problem for Inpainting {
    const KEY: ProblemKey = ProblemKey::Inpainting;
    const NAME: &'static str = "inpainting";
    const TITLE: &'static str = "Inpainting";
    type Settings = InpaintingSettings;

    fn check(settings: &InpaintingSettings) -> std::result::Result<(), SettingFault> {
        let InpaintingSettings { part, hole, .. } = settings;
        let of = format!("the part of {} x {} pixels", part.height, part.width);
        let misfit = |problem: String| Err(("hole".to_owned(), problem));
        if hole.height > part.height || hole.width > part.width {
            return misfit(format!("{} x {} pixels, larger than {of}", hole.height, hole.width));
        }
        if !hole.within(part.height, part.width) {
            return misfit(format!("reaches beyond {of}"));
        }
        if (hole.height, hole.width) == (part.height, part.width) {
            return misfit(format!("nothing is seen of {of}"));
        }
        if hole.height.min(hole.width) < MIN_SCORED {
            return misfit(format!("less than {MIN_SCORED} pixels wide: too little to score"));
        }
        Ok(())
    }

    fn instrument(settings: &InpaintingSettings, _folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        Ok(Box::new(Blinded(*settings)))
    }
}

/// An eye with a blind spot.
struct Blinded(InpaintingSettings);

impl Blinded {
    /// 1 where the part is seen, 0 in the hole.
    fn mask(&self, like: &Tensor) -> Result<Tensor> {
        let InpaintingSettings { part, hole, .. } = self.0;
        let mask = Tensor::f_ones([part.height, part.width], (Kind::Float, like.device()))?;
        let _ = mask.f_narrow(0, hole.top, hole.height)?.f_narrow(1, hole.left, hole.width)?.f_fill_(0.0)?;
        Ok(mask)
    }

    fn noisy(&self, image: &Tensor, seed: Seed) -> Result<Tensor> {
        let noise = seed.at("observation noise", 0).normal(&image.size());
        Ok(image.f_add(&(noise.f_to_device(image.device())? * self.0.noise))?)
    }
}

impl Instrument for Blinded {
    fn key(&self) -> ProblemKey {
        ProblemKey::Inpainting
    }

    fn identity(&self) -> String {
        to_toml(&self.0)
    }

    fn domain(&self) -> Option<Space> {
        Some(Space::image(1, self.0.part.height, self.0.part.width))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let Space { height, width, .. } = Space::of(name, image)?;
        let part = self.0.part;
        if !part.within(height, width) {
            let (rows, columns) = (part.top + part.height, part.left + part.width);
            let expected = format!("at least {rows} x {columns} pixels, for the part in the file");
            return Err(Error::shape(name, expected, image.size()));
        }
        part.of(image)
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        Ok(self.noisy(truth, seed)?.f_mul(&self.mask(truth)?)?)
    }

    fn acquire(&self, name: &str, image: &Tensor, seed: Seed) -> Result<ObservedImage> {
        let truth = self.truth(name, image)?;
        let noisy = self.noisy(image, seed)?;
        let observation = self.0.part.of(&noisy)?.f_mul(&self.mask(image)?)?;
        Ok(ObservedImage { truth, observation, surroundings: around(&noisy, &self.0)? })
    }

    fn surroundings(&self, observation: &Tensor) -> Result<Vec<Tensor>> {
        let part = self.0.part;
        Space::image(1, part.height, part.width).check("observation", observation)?;
        around(observation, &InpaintingSettings { part: Rectangle { top: 0, left: 0, ..part }, ..self.0 })
    }

    fn pose(&self, name: &str, observation: &Tensor, _domain: Option<Space>) -> Result<InverseProblem> {
        let InpaintingSettings { part, hole, .. } = self.0;
        Space::image(1, part.height, part.width).check(name, observation)?;
        let mask = self.mask(observation)?;
        // A measured observation may hold anything in the hole.
        let blank = Tensor::f_zeros_like(observation)?;
        let observation = observation.f_where_self(&mask.f_gt(0.0)?, &blank)?;
        let clock = Instant::now();
        let image = filled(&observation, &mask, hole.height.max(hole.width))?;
        let seconds = clock.elapsed().as_secs_f64();
        Ok(InverseProblem {
            name: name.to_owned(),
            operator: Box::new(Mask::new(1, &mask)?),
            grid: Some(Grid::IDENTITY),
            noise: self.noise(),
            observation,
            start: Start { image, kind: StartKind::FillIn, seconds },
            range: Range::UNIT,
            wanted: vec![(hole.top, hole.height), (hole.left, hole.width)],
        })
    }

    fn phantom(&self, _role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        microstructure(PHANTOM_SIDE, PHANTOM_SIDE, seed, index)
    }

    fn noise(&self) -> Noise {
        Noise::Gaussian { sigma: self.0.noise }
    }

    fn is_published_protocol(&self) -> bool {
        true
    }

    fn range(&self) -> Range {
        Range::UNIT
    }

    fn scored(&self, _domain: Space) -> Vec<(i64, i64)> {
        let Rectangle { top, left, height, width } = self.0.hole;
        vec![(top, height), (left, width)]
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let InpaintingSettings { part, hole, noise, .. } = self.0;
        let problem = format!(
            "hole of {} × {} px in a part of {} × {} px; white Gaussian noise of σ = {noise} on what is seen",
            hole.height, hole.width, part.height, part.width
        );
        vec![
            ("Problem", problem),
            (
                "Score",
                "PSNR and SSIM (7 × 7 uniform window) of the hole; range 1; intervals likewise".to_owned(),
            ),
        ]
    }
}

/// What is seen around the hole, as at most four images that hold every patch once; none where there is no room for patches.
fn around(image: &Tensor, settings: &InpaintingSettings) -> Result<Vec<Tensor>> {
    let InpaintingSettings { part, hole, neighbourhood: Neighbourhood { reach, patch_size: patch }, .. } =
        *settings;
    let Space { height, width, .. } = Space::of("image with a hole", image)?;
    let (top, left) = (part.top + hole.top, part.left + hole.left);
    let (bottom, right) = (top + hole.height, left + hole.width);
    let (first_row, last_row) = ((top - reach).max(0), (bottom + reach).min(height));
    let (first, last) = ((left - reach).max(0), (right + reach).min(width));
    // Beside the hole, without the patches that lie above or below of it.
    let (upper, lower) = ((top - patch + 1).max(first_row), (bottom + patch - 1).min(last_row));
    let all = [
        (first_row, top, first, last),
        (bottom, last_row, first, last),
        (upper, lower, first, left),
        (upper, lower, right, last),
    ];
    let large = |&(a, b, c, d): &(i64, i64, i64, i64)| (b - a).min(d - c) >= patch;
    let strip = |(a, b, c, d)| Rectangle { top: a, left: c, height: b - a, width: d - c }.of(image);
    all.into_iter().filter(large).map(strip).collect()
}

/// The observation with a smooth surface in its hole: each value there is the mean of its neighbours.
fn filled(observation: &Tensor, mask: &Tensor, side: i64) -> Result<Tensor> {
    let seen = mask.f_sum(Kind::Double)?.f_double_value(&[])?;
    let mean = observation.f_sum(Kind::Double)?.f_double_value(&[])? / seen;
    let hole = mask.f_neg()?.f_add_scalar(1.0)?;
    let mut x = observation + &hole * mean;
    // Differences fade over the square of the distance. A start need not be smooth all over a large hole.
    for _ in 0..(2 * side * side).min(20_000) {
        let around = x.f_replication_pad2d([1, 1, 1, 1])?;
        x = observation + around.f_avg_pool2d([3, 3], [1, 1], [0, 0], false, true, None::<i64>)? * &hole;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn the_neighbourhood_has_every_patch_once_and_no_pixel_of_the_hole() {
        let image = Tensor::arange(40 * 50, (Kind::Float, Device::Cpu)).reshape([1, 1, 40, 50]);
        let part = Rectangle { top: 4, left: 6, height: 30, width: 30 };
        let hole = Rectangle { top: 8, left: 10, height: 9, width: 7 };
        let with = |reach| InpaintingSettings {
            part,
            hole,
            noise: 0.1,
            neighbourhood: Neighbourhood { reach, patch_size: 4 },
        };
        for reach in [6, 9, 100] {
            let strips = around(&image, &with(reach)).unwrap();
            let mut firsts = Vec::new();
            for strip in &strips {
                let [_, _, h, w] = strip.size()[..] else { unreachable!() };
                for y in 0..h - 3 {
                    for x in 0..w - 3 {
                        firsts.push(strip.double_value(&[0, 0, y, x]) as i64);
                    }
                }
            }
            firsts.sort_unstable();
            let clear = |y: i64, x: i64| !((9..21).contains(&y) && (13..23).contains(&x));
            let (rows, columns) = (
                (12 - reach).max(0)..=(21 + reach).min(40) - 4,
                (16 - reach).max(0)..=(23 + reach).min(50) - 4,
            );
            let expected: Vec<i64> = rows
                .flat_map(|y| columns.clone().filter(move |&x| clear(y, x)).map(move |x| y * 50 + x))
                .collect();
            assert_eq!(firsts, expected, "{reach}");
        }
        assert!(around(&image, &with(3)).unwrap().is_empty());
    }

    #[test]
    fn a_plane_is_filled_in() {
        let row = Tensor::arange(20, (Kind::Float, Device::Cpu)) / 20.0;
        let plane = row.reshape([1, 1, 1, 20]).repeat([1, 1, 16, 1]);
        let mask = Tensor::ones([16, 20], (Kind::Float, Device::Cpu));
        let _ = mask.narrow(0, 4, 8).narrow(1, 5, 8).fill_(0.0);
        let found = filled(&(&plane * &mask), &mask, 8).unwrap();
        assert!((found - plane).abs().max().double_value(&[]) < 1e-3);
    }
}
