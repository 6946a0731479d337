//! Computed tomography: a parallel beam, photon counts, filtered back-projection.

use crate::instrument::Problem;
use crate::instrument::{Instrument, PublishedPairs, Role};
use crate::problem::ProblemKey;
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind, whole};
use crate::settings::SettingFault;
use crate::settings::to_toml;
use crate::synthetic::chest;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::lodopab::{self, Part};
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::radon::refused;
use smalti_operators::{
    Detector, Fbp, Filter, Operator, ParallelBeam, Pixels, Poisson, Radon, low_dose, upsample,
};
use smalti_solvers::{Pair, PairedDataset};
use std::cell::RefCell;
use std::f64::consts::{FRAC_PI_2, SQRT_2};
use std::path::Path;
use std::time::Instant;
use tch::Tensor;

/// Tomography of slices.
#[derive(Debug)]
pub struct Tomography;

/// Side of the slices of LoDoPaB-CT.
const LODOPAB_SIDE: i64 = 362;

/// The scanner, its noise and filtered back-projection.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct TomographySettings {
    /// The scanner.
    #[garde(dive)]
    pub scan: Scan,
    /// Filtered back-projection, which other methods start from.
    #[garde(dive)]
    pub fbp: FbpSettings,
    /// The noise.
    #[garde(dive)]
    pub noise: Photons,
    /// The values that pictures show as black and as white.
    #[garde(inner(range(min = -10.0, max = 10.0)))]
    pub window: [f64; 2],
}

/// Photon counts are Poisson distributed with mean `photons * exp(-mu_max * u)`, where no count is below 0.1, and
/// the observation is `-log(counts / photons) / mu_max`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Photons {
    /// Photons that reach a detector pixel through air, 1 to 1e9.
    #[garde(range(min = 1.0, max = 1e9))]
    pub photons: f64,
    /// Attenuation that the value 1 stands for, per metre, above 0, at most 1e6.
    #[garde(range(min = 1e-6, max = 1e6))]
    pub mu_max: f64,
}

/// A parallel beam: `angles` directions at the midpoints of equal parts of 180 degrees, of which the first and the last
/// `missing` are not measured; detector pixels side by side over the diagonal of the slice.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Side of a slice in pixels, 16 to 4096; slices of a data folder must be square and have it, unless it is less than
    /// theirs: then their means over pixels are taken.
    #[garde(range(min = 16, max = 4096))]
    pub size: i64,
    /// Side of a slice in metres, above 0, at most 100.
    #[garde(range(min = 1e-6, max = 100.0))]
    pub extent: f64,
    /// Directions over 180 degrees, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub angles: i64,
    /// Directions cut off at either end, 0 to 50,000.
    #[serde(default)]
    #[garde(range(min = 0, max = 50_000))]
    pub missing: i64,
    /// Detector pixels, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub detectors: i64,
    /// Side in pixels of the grid that observations are simulated on, 16 to 8192.
    #[garde(range(min = 16, max = 8192))]
    pub simulation_size: i64,
}

/// Settings of filtered back-projection.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct FbpSettings {
    /// The window on the ramp filter.
    #[garde(skip)]
    pub filter: FilterChoice,
    /// Cut-off in parts of the Nyquist frequency, above 0, at most 1.
    #[garde(range(min = 1e-3, max = 1.0))]
    pub frequency_scaling: f64,
}

/// The window on the ramp filter of filtered back-projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterChoice {
    /// None: the ramp itself.
    RamLak,
    /// A sinc.
    SheppLogan,
    /// Half a cosine.
    Cosine,
    /// Hamming.
    Hamming,
    /// Hann.
    Hann,
}

impl From<FilterChoice> for Filter {
    fn from(choice: FilterChoice) -> Self {
        match choice {
            FilterChoice::RamLak => Self::RamLak,
            FilterChoice::SheppLogan => Self::SheppLogan,
            FilterChoice::Cosine => Self::Cosine,
            FilterChoice::Hamming => Self::Hamming,
            FilterChoice::Hann => Self::Hann,
        }
    }
}

impl Problem for Tomography {
    const KEY: ProblemKey = ProblemKey::Tomography;
    const NAME: &'static str = "tomography";
    const TITLE: &'static str = "Computed tomography";
    type Settings = TomographySettings;

    fn check(settings: &TomographySettings) -> std::result::Result<(), SettingFault> {
        let Scan { size, angles, missing, simulation_size, .. } = settings.scan;
        if settings.window[0] >= settings.window[1] {
            return Err(("window".into(), "black is not below white".into()));
        }
        if 2 * missing >= angles {
            return Err(("scan.missing".into(), format!("nothing is left of {angles} angles")));
        }
        if simulation_size < size {
            let problem = format!("less than the {size} pixels of a slice");
            return Err(("scan.simulation_size".into(), problem));
        }
        Ok(())
    }

    fn instrument(settings: &TomographySettings, _folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        Ok(Box::new(Scanner::new(settings)?))
    }
}

/// The scanner.
struct Scanner {
    settings: TomographySettings,
    /// The beam that methods know.
    beam: ParallelBeam,
    fbp: Fbp,
    likelihood: Poisson,
    /// The forward operator on the finer grid that observations are simulated on.
    fine: Radon,
}

impl Scanner {
    fn new(settings: &TomographySettings) -> Result<Self> {
        let TomographySettings { scan, fbp, noise, .. } = *settings;
        let beam = |side: i64| {
            let pixels =
                Pixels { rows: side as usize, columns: side as usize, size: scan.extent / side as f64 };
            let detector =
                Detector::centred(scan.detectors as usize, scan.extent * SQRT_2 / scan.detectors as f64);
            // Slices are indexed [x, y] as in LoDoPaB-CT, where the beam of the angle 0 runs along y: along rows.
            let all = ParallelBeam::half_turn(scan.angles as usize);
            let count = (scan.angles - 2 * scan.missing).max(0);
            let measured = all.iter().skip(scan.missing as usize).take(count as usize);
            let angles = measured.map(|angle| angle - FRAC_PI_2).collect();
            ParallelBeam::new(angles, pixels, detector).map_err(refused)
        };
        let coarse = beam(scan.size)?;
        // What a detector pixel measures does not depend on the grid: single rays for LoDoPaB-CT.
        let fine = beam(scan.simulation_size)?.with_footprint(coarse.footprint());
        Ok(Self {
            settings: *settings,
            fbp: Fbp::new(coarse.clone(), fbp.filter.into(), fbp.frequency_scaling)?,
            beam: coarse,
            likelihood: Poisson::new(noise.photons, noise.mu_max)?,
            fine: Radon::new(fine),
        })
    }

    /// Whether observations of LoDoPaB-CT (all angles of them) could be its own.
    fn is_lodopab(&self) -> bool {
        let Scan { size, extent, angles, detectors, .. } = self.settings.scan;
        (size, angles, detectors) == (LODOPAB_SIDE, 1000, 513)
            && extent == 0.26
            && self.likelihood == Poisson::lodopab()
    }
}

impl Instrument for Scanner {
    fn key(&self) -> ProblemKey {
        ProblemKey::Tomography
    }

    fn identity(&self) -> String {
        to_toml(&self.settings)
    }

    fn domain(&self) -> Option<Space> {
        Some(Space::image(1, self.settings.scan.size, self.settings.scan.size))
    }

    fn truth(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        let size = self.settings.scan.size;
        let Space { height, width, .. } = Space::of(name, image)?;
        if (height, width) == (size, size) {
            return Ok(image.shallow_clone());
        }
        if height != width {
            let expected =
                format!("a square slice of at least {size} x {size} pixels (it is not squeezed: cut it)");
            return Err(Error::shape(name, expected, format!("{height} x {width} pixels")));
        }
        if height < size {
            return Err(Error::shape(name, format!("at least {size} x {size} pixels"), image.size()));
        }
        Ok(image.f_adaptive_avg_pool2d([size, size])?)
    }

    fn reference(&self, name: &str, image: &Tensor) -> Result<Tensor> {
        self.truth(name, image)
    }

    fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let side = self.settings.scan.simulation_size;
        let fine = upsample(truth, side, side)?;
        low_dose(&self.fine.apply(&fine)?, &self.likelihood, seed)
    }

    fn pose(&self, name: &str, observation: &Tensor, _domain: Option<Space>) -> Result<InverseProblem> {
        let operator = Radon::new(self.beam.clone());
        operator.range().check(name, observation)?;
        let clock = Instant::now();
        let image = self.fbp.apply(observation)?;
        let seconds = clock.elapsed().as_secs_f64();
        let wanted = whole(operator.domain());
        Ok(InverseProblem {
            name: name.to_owned(),
            operator: Box::new(operator),
            grid: None,
            noise: self.noise(),
            observation: observation.shallow_clone(),
            start: Start { image, kind: StartKind::FilteredBackProjection, seconds },
            range: self.range(),
            wanted,
        })
    }

    fn phantom(&self, role: Role, seed: Seed, index: u64) -> Result<Tensor> {
        let part = if role == Role::Training { Part::Train } else { Part::Test };
        chest(self.settings.scan.size, self.settings.scan.size, seed, part, index)
    }

    fn published_pairs<'a>(
        &'a self,
        folder: Option<&Path>,
    ) -> Result<std::result::Result<PublishedPairs<'a>, String>> {
        let Some(folder) = folder.map(|data| data.join("lodopab")).filter(|folder| folder.is_dir()) else {
            return Ok(Err("LoDoPaB-CT (Zenodo 3384092) is not in the folder lodopab of the data".into()));
        };
        if !self.is_lodopab() {
            return Ok(Err("LoDoPaB-CT was scanned with other rays or photons than this profile has".into()));
        }
        let files = lodopab::Pairs::open(&folder, Part::Train)?;
        let count = files.len() as u64;
        let pairs = Published { files: RefCell::new(files), count, scanner: self };
        Ok(Ok(("LoDoPaB-CT", Box::new(pairs))))
    }

    fn noise(&self) -> Noise {
        Noise::Poisson(self.likelihood)
    }

    fn is_published_protocol(&self) -> bool {
        self.settings.scan.size == LODOPAB_SIDE
    }

    fn observation_is_an_image(&self) -> bool {
        false
    }

    fn range(&self) -> Range {
        let [low, high] = self.settings.window;
        Range { low, high, nonnegative: true }
    }

    fn score_range(&self, truth: &Tensor) -> f64 {
        let range = truth.max().double_value(&[]) - truth.min().double_value(&[]);
        // A constant truth has no range of its own.
        if range > 0.0 { range } else { 1.0 }
    }

    fn scored(&self, domain: Space) -> Vec<(i64, i64)> {
        whole(domain)
    }

    fn protocol(&self) -> Vec<(&'static str, String)> {
        let TomographySettings { scan, noise, window, .. } = &self.settings;
        let from = |index: i64| (index as f64) * 180.0 / scan.angles as f64;
        vec![
            (
                "Scan",
                format!(
                    "parallel beam; {} directions, from {:.1}° to {:.1}°; {} detector pixels; slices of {4} × {4} px on \
                     {5} × {5} m, simulated on {6} × {6} px",
                    scan.angles - 2 * scan.missing,
                    from(scan.missing),
                    from(scan.angles - scan.missing),
                    scan.detectors,
                    scan.size,
                    scan.extent,
                    scan.simulation_size
                ),
            ),
            (
                "Noise",
                format!(
                    "Poisson, {} photons for a ray through air; the value 1 stands for {} 1/m",
                    noise.photons, noise.mu_max
                ),
            ),
            (
                "Score",
                "PSNR and SSIM (7 × 7 uniform window) of the whole slice; range: that of its truth"
                    .to_owned(),
            ),
            ("Pictures", format!("black is {}, white is {}", window[0], window[1])),
        ]
    }
}

/// The training part of LoDoPaB-CT: its observations, of which the directions of the scan are kept.
struct Published<'a> {
    files: RefCell<lodopab::Pairs>,
    count: u64,
    scanner: &'a Scanner,
}

impl PairedDataset for Published<'_> {
    fn count(&self) -> Option<u64> {
        Some(self.count)
    }

    fn pair(&self, index: u64) -> Result<Pair> {
        let (target, observation) = self.files.borrow_mut().read(index as usize)?;
        let Scan { angles, missing, .. } = self.scanner.settings.scan;
        let measured = angles.saturating_sub(2 * missing);
        let observation = observation.f_narrow(2, missing, measured)?;
        Ok(Pair { input: self.scanner.fbp.apply(&observation)?, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_operators::Footprint;

    fn scanner(detectors: i64) -> Scanner {
        let scan = Scan { size: 32, extent: 0.1, angles: 8, missing: 0, detectors, simulation_size: 64 };
        let fbp = FbpSettings { filter: FilterChoice::Hann, frequency_scaling: 0.8 };
        let noise = Photons { photons: 4096.0, mu_max: 81.0 };
        Scanner::new(&TomographySettings { scan, fbp, noise, window: [0.0, 1.0] }).unwrap()
    }

    #[test]
    fn slices_are_averaged_but_never_squeezed() {
        let scanner = scanner(46);
        let slice = |height: i64, width: i64| Seed::new(1).at("slice", 0).uniform(&[1, 1, height, width]);
        assert_eq!(scanner.truth("a.png", &slice(64, 64)).unwrap().size(), [1, 1, 32, 32]);
        for (height, width) in [(64, 50), (40, 64), (32, 33), (20, 32)] {
            let line = scanner.truth("a.png", &slice(height, width)).unwrap_err().to_string();
            assert!(line.starts_with("a.png: expected a square slice of at least 32 x 32 pixels"), "{line}");
            assert!(line.ends_with(&format!("got {height} x {width} pixels")) && line.lines().count() == 1);
        }
        assert!(scanner.truth("a.png", &slice(20, 20)).unwrap_err().to_string().contains("32 x 32"));
    }

    #[test]
    fn detector_pixels_measure_the_same_on_both_grids() {
        for (detectors, footprint) in [(46, Footprint::Line), (30, Footprint::Strip)] {
            let scanner = scanner(detectors);
            assert_eq!((scanner.beam.footprint(), scanner.fine.beam().footprint()), (footprint, footprint));
        }
    }
}
