//! Superresolution of volumes: a Gaussian blur along three axes, every `stride`-th voxel, white noise.

use crate::instrument::Problem;
use crate::instrument::{Instrument, MIN_SCORED, Role};
use crate::problem::ProblemKey;
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind, whole};
use crate::settings::SettingFault;
use crate::settings::to_toml;
use crate::synthetic::microstructure_volume;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::{Boundary, Operator, PixelGrid, VolumeConvolution, interpolate};
use std::path::Path;
use std::time::Instant;
use tch::Tensor;

/// Superresolution of volumes.
#[derive(Debug)]
pub struct Volume;

/// The forward operator, its noise, the protocol, and the volumes that are drawn.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct VolumeSettings {
    /// Side of the kernel in voxels, 1 to 31; only where the whole of it lies within the volume something is seen.
    #[garde(range(min = 1, max = 31))]
    pub kernel_size: i64,
    /// Standard deviation of the Gaussian in voxels, 0.05 to 30.
    #[garde(range(min = 0.05, max = 30.0))]
    pub sigma: f64,
    /// Distance of observed voxels, 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub stride: i64,
    /// Standard deviation of the white Gaussian noise, 0 to 1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub noise: f64,
    /// Voxels cut from all six sides before a volume is scored, 0 to 1000.
    #[garde(range(min = 0, max = 1000))]
    pub crop: i64,
    /// Side of the volumes in voxels, 8 to 512.
    #[garde(range(min = 8, max = 512))]
    pub size: i64,
    /// Side of a drawn reference volume in voxels, 8 to 512.
    #[garde(range(min = 8, max = 512))]
    pub reference_size: i64,
    /// Size of the grains of drawn volumes in voxels, 4 to 512.
    #[garde(range(min = 4.0, max = 512.0))]
    pub grain: f64,
}

impl Problem for Volume {
    const KEY: ProblemKey = ProblemKey::Volume;
    const NAME: &'static str = "volume";
    const TITLE: &'static str = "Superresolution of volumes";
    type Settings = VolumeSettings;

    fn check(settings: &VolumeSettings) -> std::result::Result<(), SettingFault> {
        let &VolumeSettings { size, stride, crop, kernel_size, .. } = settings;
        let misfit = |problem: String| Err(("size".to_owned(), problem));
        if size % stride != 0 {
            return misfit(format!("{size} is not a multiple of the stride {stride}"));
        }
        if size < kernel_size {
            return misfit(format!("less than the {kernel_size} voxels of the blur kernel"));
        }
        if size < 2 * crop + MIN_SCORED {
            return misfit(format!("a crop of {crop} leaves too little of {size} voxels to score"));
        }
        Ok(())
    }

    fn instrument(settings: &VolumeSettings, _folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        Ok(Box::new(Scanner(settings.clone())))
    }
}

/// A scanner that sees volumes blurred and coarse.
struct Scanner(VolumeSettings);

impl Scanner {
    fn operator(&self, domain: Space) -> Result<VolumeConvolution> {
        let VolumeSettings { kernel_size, sigma, stride, .. } = self.0;
        VolumeConvolution::superresolution(domain, kernel_size, sigma, stride)
    }
}

impl Instrument for Scanner {
    fn key(&self) -> ProblemKey {
        ProblemKey::Volume
    }

    fn identity(&self) -> String {
        to_toml(&self.0)
    }

    fn domain(&self) -> Option<Space> {
        let size = self.0.size;
        Some(Space::volume(1, size, size, size))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let size = self.0.size;
        Space::volume(1, size, size, size).check(name, image)?;
        Ok(image.shallow_clone())
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let exact = self.operator(Space::of("volume", truth)?)?.apply(truth)?;
        let noise = seed.at("observation noise", 0).normal(&exact.size());
        Ok(exact.f_add(&(noise.f_to_device(truth.device())? * self.0.noise))?)
    }

    fn pose(&self, name: &str, observation: &Tensor, domain: Option<Space>) -> Result<InverseProblem> {
        let range = Space::of(name, observation)?;
        if range.depth.is_none() {
            return Err(Error::shape(name, "a volume, [1, 1, D, H, W]", observation.size()));
        }
        let VolumeSettings { kernel_size, stride, .. } = self.0;
        let largest = || range.map_axes(|n| n * stride + kernel_size - 1);
        let operator = self.operator(domain.unwrap_or_else(largest))?;
        operator.range().check(name, observation)?;
        let clock = Instant::now();
        let grid = operator.grid();
        let image = interpolate(observation, grid, operator.domain(), Boundary::Valid)?;
        let seconds = clock.elapsed().as_secs_f64();
        let wanted = whole(operator.domain());
        Ok(InverseProblem {
            name: name.to_owned(),
            operator: Box::new(operator),
            grid: Some(grid),
            noise: self.noise(),
            observation: observation.shallow_clone(),
            start: Start { image, kind: StartKind::Interpolation, seconds },
            range: Range::UNIT,
            wanted,
        })
    }

    fn phantom(&self, role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        let side = if role == Role::Reference { self.0.reference_size } else { self.0.size };
        // Volumes without an axis for channels.
        Ok(microstructure_volume(side, self.0.grain, seed, index)?.f_unsqueeze(0)?)
    }

    fn noise(&self) -> Noise {
        Noise::Gaussian { sigma: self.0.noise }
    }

    fn is_published_protocol(&self) -> bool {
        false
    }

    fn range(&self) -> Range {
        Range::UNIT
    }

    fn scored(&self, domain: Space) -> Vec<(i64, i64)> {
        let crop = self.0.crop;
        whole(domain).into_iter().map(|(_, length)| (crop, length - 2 * crop)).collect()
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let VolumeSettings { kernel_size, sigma, stride, noise, crop, size, .. } = self.0;
        vec![
            (
                "Operator",
                format!(
                    "cubic Gaussian blur of {kernel_size} voxels a side, σ = {sigma}, every {stride}th voxel"
                ),
            ),
            ("Noise", format!("white, Gaussian, σ = {noise}, on values in [0, 1]")),
            (
                "Volumes",
                format!("{size} voxels a side, all drawn from one distribution; nothing was measured"),
            ),
            (
                "Score",
                format!(
                    "PSNR (range 1) over all voxels and SSIM (7 × 7 uniform window) as mean over slices, without the outer \
                     {crop} voxels"
                ),
            ),
        ]
    }
}
