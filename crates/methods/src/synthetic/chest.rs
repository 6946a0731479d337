//! Chest-like phantoms: what a slice of computed tomography looks like, where no measured ones are at hand.

mod anatomy;
mod fields;
mod shapes;

use super::scanner;
use anatomy::Anatomy;
use fields::Fields;
use rand::Rng;
use rand_distr::StandardNormal;
use smalti_base::lodopab::Part;
use smalti_base::{Error, Result, Seed};
use tch::Tensor;

/// Rows and columns of the slices of LoDoPaB-CT, which these stand for.
pub const CHEST_SIDE: i64 = 362;

/// Standard deviation of the scanner's blur, in pixels of an image of [`CHEST_SIDE`].
const BLUR: f64 = 0.8;

/// Standard deviation of the noise before that blur, which leaves about a third of it, correlated over a pixel or two.
const NOISE: f32 = 0.016;

/// Slice number `index` of a part of the phantom data set with seed `seed`: `[1, 1, H, W]`, float32 on the CPU.
///
/// # Values
/// Attenuation / `mu_max` with `mu_max = 81.36 / m` ([`smalti_operators::Poisson::MU_MAX`]), in `[0, 1]`: air 0, lungs
/// about 0.02, fat 0.21, soft tissue and blood about 0.25 (water is 20 / 81.36 = 0.246), bone 0.3 (marrow) to 0.5.
///
/// # What there is to see
/// A body with fat under its skin and muscles, two lungs with branching vessels, heart, aorta and windpipe between them, a
/// vertebra with its canal and processes, ribs, breastbone and shoulder blades, in some slices the liver; all of random
/// size and place, with a soft texture and correlated noise. Orientation as in LoDoPaB-CT: rows go from the patient's right
/// to the left, columns from the chest to the back. The shorter side of the image is 26 cm of the patient; a finer image
/// of the same slice shows the same scene, with other noise.
///
/// The same arguments give the same image on every machine up to the rounding of its elementary functions; nothing is
/// drawn from libtorch's generator. Parts share no slice.
///
/// # Errors
/// [`Error::Value`] where a side is not in `1..=4096`.
pub fn chest(height: i64, width: i64, seed: Seed, part: Part, index: u64) -> Result<Tensor> {
    for (name, side) in [("height", height), ("width", width)] {
        if !(1..=4096).contains(&side) {
            return Err(Error::value(format!("chest phantom {name}"), "1 to 4096 pixels", side));
        }
    }
    let (h, w) = (height as usize, width as usize);
    let seed = seed.derive(&format!("chest phantom {}", part.name()), index);
    let unit = h.min(w) as f32 / 2.0;
    let anatomy = Anatomy::draw(seed);
    let fields = Fields::new(h as f32 / unit, w as f32 / unit, seed);
    let mut stream = seed.at("scanner noise", 0);
    let mut pixels = Vec::with_capacity(h * w);
    for row in 0..h {
        for column in 0..w {
            // Centre of the pixel: 0 in the middle of the image, 1 at the border of the shorter side.
            let at = |k: usize, n: usize| (k as f32 + 0.5 - n as f32 / 2.0) / unit;
            let noise: f32 = stream.sample(StandardNormal);
            pixels.push(anatomy.value([at(row, h), at(column, w)], &fields) + NOISE * noise);
        }
    }
    scanner::blur(&mut pixels, h, w, BLUR * f64::from(unit) * 2.0 / CHEST_SIDE as f64);
    Ok(Tensor::f_from_slice(&pixels)?.f_clamp(0.0, 1.0)?.f_reshape([1, 1, height, width])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn image(seed: u64, part: Part, index: u64) -> Tensor {
        chest(CHEST_SIDE, CHEST_SIDE, Seed::new(seed), part, index).unwrap()
    }

    fn share(x: &Tensor, low: f64, high: f64) -> f64 {
        x.ge(low).logical_and(&x.lt(high)).to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
    }

    #[test]
    fn slices_are_reproducible_and_all_different() {
        let first = image(1, Part::Train, 0);
        assert_eq!((first.size(), first.kind()), (vec![1, 1, 362, 362], Kind::Float));
        assert_eq!(first, image(1, Part::Train, 0));
        for other in [image(1, Part::Train, 1), image(1, Part::Test, 0), image(2, Part::Train, 0)] {
            let distance = (&first - other).abs().mean(Kind::Double).double_value(&[]);
            assert!(distance > 0.01, "hardly another slice: {distance}");
        }
    }

    #[test]
    fn the_values_are_those_of_a_chest() {
        for index in 0..6 {
            let x = image(3, Part::Validation, index);
            assert!(x.min().double_value(&[]) >= 0.0 && x.isfinite().all().int64_value(&[]) == 1);
            let largest = x.max().double_value(&[]);
            assert!((0.38..0.62).contains(&largest), "{index}: bone {largest}");
            for (what, low, high, least, most) in [
                ("air and lungs", 0.0, 0.1, 0.08, 0.75),
                ("fat", 0.19, 0.23, 0.04, 0.6),
                ("soft tissue", 0.23, 0.28, 0.08, 0.7),
                ("bone", 0.3, 1.0, 0.01, 0.15),
            ] {
                let found = share(&x, low, high);
                assert!((least..most).contains(&found), "{index}: {what} {found}");
            }
        }
    }

    #[test]
    fn edges_are_sharp_and_tissues_are_not_flat() {
        let x = image(4, Part::Train, 0);
        let step = x.diff(1, 3, None::<&Tensor>, None::<&Tensor>).abs().flatten(0, -1);
        let (sorted, _) = step.sort(0, false);
        let quantile = |q: f64| sorted.double_value(&[((sorted.size()[0] - 1) as f64 * q) as i64]);
        assert!((0.001..0.012).contains(&quantile(0.5)), "median step {}", quantile(0.5));
        assert!(quantile(0.995) > 0.05, "large steps {}", quantile(0.995));
    }

    #[test]
    fn a_finer_image_shows_the_same_slice() {
        let coarse = image(5, Part::Test, 2);
        let fine = chest(724, 724, Seed::new(5), Part::Test, 2).unwrap();
        let difference = (fine.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None) - &coarse).abs();
        let difference = difference.mean(Kind::Double).double_value(&[]);
        assert!(difference < 0.012, "{difference}");
    }

    #[test]
    fn every_shape_is_drawn_and_wrong_ones_are_refused() {
        for (h, w) in [(1, 1), (40, 90), (90, 40), (3, 400)] {
            assert_eq!(chest(h, w, Seed::new(1), Part::Train, 0).unwrap().size(), [1, 1, h, w]);
        }
        let line = chest(362, 0, Seed::new(1), Part::Train, 0).unwrap_err().to_string();
        assert!(line.contains("width") && line.contains("got 0"), "{line}");
    }
}
