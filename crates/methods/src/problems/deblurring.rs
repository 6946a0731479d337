//! Deblurring: a known blur kernel, white noise, as many pixels as the image has.

use super::superresolution::{Form, centre};
use crate::instrument::{Instrument, LEAST_SCORED, Role};
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind, whole};
use crate::registry::{Problem, ProblemKey, to_toml};
use crate::settings::Misfit;
use crate::synthetic::microstructure;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Border, Convolution, Operator, interpolate, kernel};
use std::path::Path;
use std::time::Instant;
use tch::Tensor;

/// Deblurring.
pub struct Deblurring;

/// Rows and columns of a drawn image.
const PHANTOM_SIDE: i64 = 600;

/// The blur, its noise and the protocol.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The blur kernel.
    #[garde(dive)]
    pub kernel: Kernel,
    /// What lies beyond the image.
    #[garde(skip)]
    pub form: Form,
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
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
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
}

impl Kernel {
    /// The weights, `[k, k]`, float64.
    ///
    /// # Errors
    /// Those of [`kernel::gaussian`].
    pub fn weights(self) -> Result<Tensor> {
        match self {
            Self::Gaussian { size, sigma } => kernel::gaussian(size, sigma),
            Self::Motion { length, angle } => motion(length, angle),
        }
    }
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
    type Settings = Settings;

    fn check(settings: &Settings) -> std::result::Result<(), Misfit> {
        let &Settings { size, crop, .. } = settings;
        match size {
            Some(size) if size < 2 * crop + LEAST_SCORED => {
                Err(("size".into(), format!("a crop of {crop} leaves too little of {size} pixels to score")))
            }
            _ => Ok(()),
        }
    }

    fn instrument(settings: &Settings, _folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        Ok(Box::new(ShakenCamera { weights: settings.kernel.weights()?, settings: settings.clone() }))
    }
}

/// A camera that moves, or is out of focus.
struct ShakenCamera {
    settings: Settings,
    weights: Tensor,
}

impl ShakenCamera {
    fn operator(&self, domain: Space) -> Result<Convolution> {
        let side = self.weights.size()[0];
        Convolution::blur(domain, &self.weights, self.settings.form.extension(side))
    }
}

impl Instrument for ShakenCamera {
    fn key(&self) -> ProblemKey {
        ProblemKey::Deblurring
    }

    fn identity(&self) -> String {
        to_toml(&self.settings)
    }

    fn domain(&self) -> Option<Space> {
        self.settings.size.map(|size| Space::image(1, size, size))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let truth = centre(name, image, self.settings.size)?;
        let domain = Space::of(name, &truth)?;
        self.operator(domain)?;
        let least = 2 * self.settings.crop + LEAST_SCORED;
        if domain.height.min(domain.width) < least {
            let expected =
                format!("at least {least} x {least} pixels, of which the crop leaves something to score");
            return Err(Error::shape(name, expected, truth.size()));
        }
        Ok(truth)
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let exact = self.operator(Space::of("image", truth)?)?.apply(truth)?;
        let noise = seed.at("observation noise", 0).normal(&exact.size());
        Ok(exact.f_add(&(noise.f_to_device(truth.device())? * self.settings.noise))?)
    }

    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem> {
        let range = Space::of(name, observation)?;
        let beyond = if self.settings.form == Form::Valid { self.weights.size()[0] - 1 } else { 0 };
        let domain = domain
            .unwrap_or_else(|| Space::image(range.channels, range.height + beyond, range.width + beyond));
        let operator = self.operator(domain)?;
        operator.range().check(name, observation)?;
        let clock = Instant::now();
        let border = if self.settings.form == Form::WrapAfter { Border::Periodic } else { Border::Clamp };
        let image = interpolate(observation, operator.grid(), operator.domain(), border)?;
        let seconds = clock.elapsed().as_secs_f64();
        let wanted = whole(operator.domain());
        Ok(InverseProblem {
            name: name.to_owned(),
            operator: Box::new(operator),
            noise: Noise::Gaussian { sigma: self.settings.noise },
            observation: observation.shallow_clone(),
            start: Start { image, kind: StartKind::Interpolation, seconds },
            range: Range::UNIT,
            wanted,
        })
    }

    fn phantom(&self, _role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        microstructure(PHANTOM_SIDE, PHANTOM_SIDE, seed, index)
    }

    fn is_published_protocol(&self) -> bool {
        self.settings.size.is_none()
    }

    fn range(&self) -> Range {
        Range::UNIT
    }

    fn scored(&self, domain: Space) -> Vec<(i64, i64)> {
        let crop = self.settings.crop;
        whole(domain).into_iter().map(|(_, length)| (crop, length - 2 * crop)).collect()
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let Settings { kernel, noise, crop, .. } = &self.settings;
        let blur = match kernel {
            Kernel::Gaussian { size, sigma } => format!("{size} × {size} Gaussian blur, σ = {sigma} px"),
            Kernel::Motion { length, angle } => format!("motion over {length} px at {angle}°"),
        };
        vec![
            ("Operator", blur),
            ("Noise", format!("white, Gaussian, σ = {noise}, on values in [0, 1]")),
            ("Score", format!("PSNR (range 1) and SSIM (7 × 7 uniform window) without the outer {crop} px")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

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
