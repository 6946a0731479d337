//! The inverse problem of a profile: truth, observation, operator, noise, and what patches are learned from.

use crate::ct::scanner::Scanner;
use crate::ct::score as score_slice;
use crate::data::DataSource;
use crate::experiment::langevin::{Inpainting, Inverse, LangevinTable, Profile, Rectangle, Tomography};
use crate::outcome::{Figure, Figures};
use crate::run::RunOptions;
use crate::wppnets::score;
use smalti_base::{Error, Result, Space};
use smalti_operators::{Gaussian, Grid, Likelihood, Mask, Operator};
use tch::{Kind, Tensor};

/// A posed problem.
pub(super) struct Posed {
    /// The true image, `[1, 1, H, W]`.
    pub(super) truth: Tensor,
    pub(super) observation: Tensor,
    /// The observation as a picture, where it is one.
    pub(super) seen: Option<(Tensor, Grid)>,
    pub(super) operator: Box<dyn Operator>,
    pub(super) likelihood: Box<dyn Likelihood>,
    /// What anyone would begin with.
    pub(super) start: Tensor,
    /// The key of its row.
    pub(super) start_key: &'static str,
    /// What is scored.
    pub(super) scored: Rectangle,
    /// What the data are called.
    pub(super) label: String,
    /// Images whose patches are learned.
    pub(super) references: Vec<Tensor>,
    slices: bool,
}

impl Posed {
    /// The problem of `profile`.
    ///
    /// # Errors
    /// Those of loading and of observing; [`Error::Shape`] where an image is too small.
    pub(super) fn new(
        experiment: &LangevinTable,
        profile: &Profile,
        data: &DataSource,
        options: &RunOptions,
    ) -> Result<Self> {
        let mut posed = match &profile.problem {
            Inverse::Ct(settings) => Self::tomography(settings, experiment, data, options)?,
            Inverse::Inpainting(settings) => {
                let patch = profile.patchnr.patch_size;
                Self::inpainting(settings, patch, experiment, data, options)?
            }
        };
        let step = experiment.data.grey_step;
        for (k, image) in posed.references.iter_mut().enumerate() {
            let noise = options.seed.derive("grey steps", k as u64).at("noise", 0).uniform(&image.size());
            *image = &*image + (noise - 0.5) * step;
        }
        Ok(posed)
    }

    fn tomography(
        settings: &Tomography,
        experiment: &LangevinTable,
        data: &DataSource,
        options: &RunOptions,
    ) -> Result<Self> {
        let scanner = Scanner::new(settings.noise, settings.scan, settings.fbp)?;
        let name = data.names(std::slice::from_ref(&experiment.data.test), None)?.join("");
        let truth = scanner.slice(&name, data)?.to_device(options.device);
        let slice = |name: &String| scanner.slice(name, data);
        let references = experiment.data.train.iter().map(slice).collect::<Result<Vec<Tensor>>>()?;
        let observation = scanner.observe(&truth, options.seed.derive(&name, 0))?;
        let start = scanner.fbp.apply(&observation)?;
        let side = scanner.size();
        let Scanner { operator, likelihood, .. } = scanner;
        Ok(Self {
            truth,
            observation,
            seen: None,
            operator: Box::new(operator),
            likelihood: Box::new(likelihood),
            start,
            start_key: "fbp",
            scored: Rectangle { top: 0, left: 0, height: side, width: side },
            label: format!("{}, {side} × {side} px", data.label(&[name])),
            references,
            slices: true,
        })
    }

    fn inpainting(
        settings: &Inpainting,
        patch: i64,
        experiment: &LangevinTable,
        data: &DataSource,
        options: &RunOptions,
    ) -> Result<Self> {
        let Inpainting { part, hole, noise, neighbourhood } = *settings;
        let name = data.names(std::slice::from_ref(&experiment.data.test), None)?.join("");
        let whole = data.load(&name)?;
        let Space { height, width, .. } = Space::of(&name, &whole)?;
        if !part.within(height, width) {
            let Rectangle { top, left, height, width } = part;
            let expected =
                format!("at least {} x {} pixels, for the part in the file", top + height, left + width);
            return Err(Error::shape(name, expected, whole.size()));
        }
        let drawn = options.seed.derive(&name, 0).at("observation noise", 0).normal(&whole.size());
        let noisy = &whole + drawn * noise;
        let references = match neighbourhood {
            None => experiment.data.train.iter().map(|name| data.load(name)).collect::<Result<Vec<_>>>()?,
            Some(reach) => around(&noisy, part, hole, reach, patch)?,
        };
        let truth = cut(&whole, part)?.to_device(options.device);
        let mask = Tensor::ones([part.height, part.width], (Kind::Float, options.device));
        let _ = mask.f_narrow(0, hole.top, hole.height)?.f_narrow(1, hole.left, hole.width)?.f_fill_(0.0)?;
        let observation = cut(&noisy, part)?.to_device(options.device).f_mul(&mask)?;
        let operator = Mask::new(1, &mask)?;
        let (h, w) = (hole.height, hole.width);
        Ok(Self {
            truth,
            start: filled(&observation, &mask, h.max(w))?,
            seen: Some((observation.shallow_clone(), operator.grid())),
            observation,
            operator: Box::new(operator),
            likelihood: Box::new(Gaussian::new(noise)?),
            start_key: super::FILL_IN.0,
            scored: hole,
            label: format!("{}, hole of {h} × {w} px", data.label(&[name])),
            references,
            slices: false,
        })
    }

    /// The scored part of `[B, 1, H, W]`.
    pub(super) fn part(&self, images: &Tensor) -> Result<Tensor> {
        cut(images, self.scored)
    }

    /// The figures of a reconstruction.
    pub(super) fn score(&self, image: &Tensor) -> Result<Figures> {
        let (image, truth) = (self.part(image)?, self.part(&self.truth)?);
        if !self.slices {
            return score(&image, &truth, 0);
        }
        let (psnr, ssim) = score_slice(&image, &truth)?;
        Ok(Figures { psnr: Figure::over(&[psnr]), ssim: Figure::over(&[ssim]), lpips: None })
    }

    /// Pixels whose values are traced: the middle of what is scored, and of its quarters.
    pub(super) fn traced(&self) -> Vec<[i64; 3]> {
        let Rectangle { top, left, height, width } = self.scored;
        let at = |(y, x): (i64, i64)| [0, top + y * height / 4, left + x * width / 4];
        [(2, 2), (1, 1), (1, 3), (3, 1), (3, 3)].map(at).to_vec()
    }
}

fn cut(images: &Tensor, Rectangle { top, left, height, width }: Rectangle) -> Result<Tensor> {
    Ok(images.f_narrow(2, top, height)?.f_narrow(3, left, width)?.f_contiguous()?)
}

/// What is seen up to `reach` pixels around the hole, as four images that hold every patch of `patch` pixels once.
fn around(image: &Tensor, part: Rectangle, hole: Rectangle, reach: i64, patch: i64) -> Result<Vec<Tensor>> {
    let Space { height, width, .. } = Space::of("test image", image)?;
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
    let found = all.into_iter().filter(large);
    let strips =
        found.map(|(a, b, c, d)| cut(image, Rectangle { top: a, left: c, height: b - a, width: d - c }));
    let strips = strips.collect::<Result<Vec<Tensor>>>()?;
    if strips.is_empty() {
        let expected = format!("room for patches of {patch} pixels beside the hole");
        return Err(Error::value("neighbourhood of the hole", expected, format!("{reach} pixels")));
    }
    Ok(strips)
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
        for reach in [6, 9, 100] {
            let strips = around(&image, part, hole, reach, 4).unwrap();
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
        assert!(around(&image, part, hole, 3, 4).is_err());
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
