//! The built-in data set: seeded microstructures that look like slices of a ceramic seen by a tomograph.
//!
//! A slice shows a dark matrix with polyhedral grains (a section of a 3-D Laguerre tessellation, so that cells
//! differ in size and shape), a bright binder phase between some of them, hollow bright spheres, cracks one or
//! two pixels wide along grain faces and bright crumbs beside them. The scene is then seen by a scanner: a
//! Gaussian blur of [`SCANNER_SIGMA`] pixels and weak noise.
//!
//! [`microstructure_volume`] is a simpler scene in three dimensions; [`chest`] is a slice of computed tomography.
//!
//! The images serve where no measured data are at hand: all of them come from one distribution, so that a
//! patch prior learned on one helps to restore another.

mod chest;
mod field;
mod scanner;
mod scene;
mod tessellation;
mod volume;

pub use chest::{CHEST_SIDE, chest};
pub use scanner::{SCANNER_NOISE, SCANNER_SIGMA};
pub use volume::microstructure_volume;

use smalti_base::{Error, Result, Seed};
use tch::Tensor;

/// Slice number `index` of the microstructure with seed `seed`: `[1, 1, H, W]`, float32 on the CPU, values in
/// `[0, 1]`.
///
/// The same arguments give the same image on every machine; nothing is drawn from libtorch's generator.
///
/// # Errors
/// [`Error::Value`] where a side is not in `1..=8192`.
pub fn microstructure(height: i64, width: i64, seed: Seed, index: u64) -> Result<Tensor> {
    for (name, side) in [("height", height), ("width", width)] {
        if !(1..=8192).contains(&side) {
            return Err(Error::value(format!("microstructure {name}"), "1 to 8192 pixels", side));
        }
    }
    let (h, w) = (height as usize, width as usize);
    let seed = seed.derive("microstructure", index);
    let mut pixels = scene::draw(h, w, seed);
    scanner::blur(&mut pixels, h, w, SCANNER_SIGMA);
    scanner::add_noise(&mut pixels, SCANNER_NOISE, &mut seed.at("scanner noise", 0));
    Ok(Tensor::from_slice(&pixels).f_reshape([1, 1, height, width])?)
}
