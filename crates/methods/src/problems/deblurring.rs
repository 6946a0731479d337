//! Deblurring: a known blur kernel, white noise, as many pixels as the image has.

use super::camera::{Blur, Camera, check_size};
use crate::instrument::{Instrument, Problem};
use crate::problem::ProblemKey;
use crate::settings::{SettingFault, check_form, to_toml};
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::data_hash;
use smalti_base::{Error, Result, matlab_file};
use smalti_operators::{Boundary, kernel};
use std::path::Path;
use tch::{Kind, Tensor};

/// Deblurring.
#[derive(Debug)]
pub struct Deblurring;

/// The blur, its noise and the protocol.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct DeblurringSettings {
    /// The blur kernel.
    #[garde(dive)]
    pub kernel: Kernel,
    /// What lies beyond the image.
    #[garde(skip)]
    pub form: Boundary,
    /// Standard deviation of the white Gaussian noise, 0 to 1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub noise: f64,
    /// Pixels cut from every side before an image is scored, 0 to 10,000.
    #[garde(range(min = 0, max = 10_000))]
    pub crop: i64,
    /// Images are cut to their central square of so many pixels, 8 to 100,000; whole where not given.
    #[serde(default)]
    #[garde(inner(range(min = 8, max = 100_000)))]
    pub size: Option<i64>,
}

/// A blur kernel with sum 1.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kernel {
    /// A Gaussian.
    Gaussian {
        /// Side in pixels, 1 to 63.
        #[garde(range(min = 1, max = 63))]
        size: i64,
        /// Standard deviation in pixels, 0.05 to 30.
        #[garde(range(min = 0.05, max = 30.0))]
        sigma: f64,
    },
    /// A camera that moves at constant speed along a line while it looks.
    Motion {
        /// Length of the way in pixels, 1 to 60.
        #[garde(range(min = 1.0, max = 60.0))]
        length: f64,
        /// Direction in degrees, from the columns' direction towards the rows', -360 to 360.
        #[garde(range(min = -360.0, max = 360.0))]
        angle: f64,
    },
    /// One that a file of MATLAB 7.3 holds, in a cell of arrays.
    File {
        /// The file, relative to the data folder.
        #[garde(length(min = 1))]
        path: String,
        /// The variable, `kernels` where not given.
        #[serde(default = "kernels")]
        #[garde(length(min = 1))]
        name: String,
        /// Which of its arrays, from 0.
        #[garde(skip)]
        index: usize,
    },
}

fn kernels() -> String {
    "kernels".into()
}

/// Side of a kernel at most.
const MOST: i64 = 63;

/// What stands in for a kernel of a file where there is no folder of data: length and angle of a motion.
const STAND_IN: (f64, f64) = (15.0, 40.0);

impl Kernel {
    /// The weights, `[k, k]`, float64, with sum 1; those of a file in `folder`. Without a folder a motion stands in for them.
    ///
    /// # Errors
    /// Those of [`kernel::gaussian`]; those of the file, and [`Error::Content`] where it holds no kernel.
    pub fn weights(&self, folder: Option<&Path>) -> Result<Tensor> {
        match (self, folder) {
            (&Self::Gaussian { size, sigma }, _) => kernel::gaussian(size, sigma),
            (&Self::Motion { length, angle }, _) => motion(length, angle),
            (Self::File { .. }, None) => motion(STAND_IN.0, STAND_IN.1),
            (Self::File { path, name, index }, Some(folder)) => stored(&folder.join(path), name, *index),
        }
    }
}

/// The kernel of a file, scaled to sum 1.
fn stored(path: &Path, name: &str, index: usize) -> Result<Tensor> {
    let weights = matlab_file::load_of_cell(path, name, index)?.f_to_kind(Kind::Double)?;
    let wrong = |problem: String| {
        let remedy = format!("give square kernels of at most {MOST} pixels and a positive sum");
        Error::content(path, format!("{name} {index} {problem}"), remedy)
    };
    match weights.size()[..] {
        [height, width] if height == width && (1..=MOST).contains(&height) => {}
        ref size => return Err(wrong(format!("has the shape {size:?}"))),
    }
    let sum = weights.f_sum(Kind::Double)?.f_double_value(&[])?;
    if !(sum > 0.0 && sum.is_finite()) {
        return Err(wrong(format!("has the sum {sum}")));
    }
    Ok(weights / sum)
}

/// Points on the way of the camera for every pixel of its length.
const POINTS_PER_PIXEL: f64 = 64.0;

/// The mean of points along a centred line, each split among the four pixels around it by bilinear weights.
fn motion(length: f64, angle: f64) -> Result<Tensor> {
    let reach = (length / 2.0).ceil() as i64 + 1;
    let side = 2 * reach + 1;
    let (sine, cosine) = angle.to_radians().sin_cos();
    let points = (length * POINTS_PER_PIXEL).ceil() as usize;
    let mut weights = vec![0.0; (side * side) as usize];
    for k in 0..points {
        let along = ((k as f64 + 0.5) / points as f64 - 0.5) * length;
        let (y, x) = (reach as f64 + along * sine, reach as f64 + along * cosine);
        let (row, column) = (y.floor(), x.floor());
        let (below, right) = (y - row, x - column);
        for (i, of_row) in [(0.0, 1.0 - below), (1.0, below)] {
            for (j, of_column) in [(0.0, 1.0 - right), (1.0, right)] {
                let at = (row + i) as usize * side as usize + (column + j) as usize;
                if let Some(weight) = weights.get_mut(at) {
                    *weight += of_row * of_column / points as f64;
                }
            }
        }
    }
    Ok(Tensor::f_from_slice(&weights)?.f_reshape([side, side])?)
}

impl Problem for Deblurring {
    const KEY: ProblemKey = ProblemKey::Deblurring;
    const NAME: &'static str = "deblurring";
    const TITLE: &'static str = "Deblurring";
    type Settings = DeblurringSettings;

    fn check(settings: &DeblurringSettings) -> std::result::Result<(), SettingFault> {
        check_form(settings.form)?;
        check_size(settings.size, 1, settings.crop)
    }

    fn files(settings: &DeblurringSettings) -> Vec<(&'static str, String)> {
        match &settings.kernel {
            Kernel::File { path, .. } => vec![("kernel.file.path", path.clone())],
            Kernel::Gaussian { .. } | Kernel::Motion { .. } => Vec::new(),
        }
    }

    fn instrument(settings: &DeblurringSettings, folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        let motion = |(length, angle)| format!("motion over {length} px at {angle}°");
        let description = match &settings.kernel {
            Kernel::Gaussian { size, sigma } => format!("{size} × {size} Gaussian blur, σ = {sigma} px"),
            &Kernel::Motion { length, angle } => motion((length, angle)),
            Kernel::File { .. } if folder.is_none() => motion(STAND_IN),
            Kernel::File { path, name, index } => format!("{name} {index} of {path}"),
        };
        let weights = settings.kernel.weights(folder)?;
        // A kernel is what its file holds, whatever it is called.
        let identity = format!("{} {}", to_toml(settings), data_hash(&[&weights])?);
        let &DeblurringSettings { form, noise, crop, size, .. } = settings;
        Ok(Box::new(Camera {
            key: Self::KEY,
            identity,
            blur: Blur::Kernel(weights),
            description,
            stride: 1,
            form,
            noise,
            crop,
            score_whole: false,
            size,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn motion_has_the_length_and_direction_of_its_way() {
        for (length, angle) in [(1.0, 0.0), (9.0, 30.0), (12.5, 90.0), (20.0, -45.0)] {
            let weights = motion(length, angle).unwrap();
            let side = weights.size()[0];
            let axis = Tensor::arange(side, tch::kind::DOUBLE_CPU) - (side - 1) as f64 / 2.0;
            let moment = |a: &Tensor, b: &Tensor| (&weights * a * b).sum(Kind::Double).double_value(&[]);
            let (rows, columns) = (axis.unsqueeze(1), axis.unsqueeze(0));
            let one = Tensor::ones([1, 1], tch::kind::DOUBLE_CPU);
            assert!((moment(&one, &one) - 1.0).abs() < 1e-12);
            assert!(moment(&rows, &one).abs() < 1e-9 && moment(&columns, &one).abs() < 1e-9);
            // A uniform line of length L has the variance L^2 / 12 along itself; bilinear weights add at most 1/4 on each axis.
            let variance = moment(&rows, &rows) + moment(&columns, &columns);
            assert!((0.0..=0.5).contains(&(variance - length * length / 12.0)), "{length}: {variance}");
            let (sine, cosine) = f64::to_radians(angle).sin_cos();
            let mixed = moment(&rows, &columns) - sine * cosine * length * length / 12.0;
            assert!(mixed.abs() < 0.1, "{angle}: {mixed}");
        }
    }
}
