//! Computed tomography: a parallel beam or a fan, photon counts, filtered back-projection.

use crate::instrument::Problem;
use crate::instrument::{Instrument, PublishedPairs, Role};
use crate::problem::ProblemKey;
use crate::problem::{InverseProblem, Noise, Range, Start, StartKind, whole};
use crate::settings::SettingFault;
use crate::settings::to_toml;
use crate::synthetic::chest;
use garde::Validate;
use serde::{Deserialize, Serialize};
use smalti_base::checkpoint::bytes_hash;
use smalti_base::lodopab::{self, Part};
use smalti_base::{Error, Result, Seed, Space, files};
use smalti_operators::radon::refused;
use smalti_operators::{
    AngleUnit, Curve, Detector, FanBeam, Fbp, Filter, Geometry, Operator, ParallelBeam, Pixels, Poisson,
    Radon, axis_of_rotation, low_dose, read_angles, upsample,
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
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
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

/// A parallel beam or a fan: `angles` directions at the midpoints of equal parts of 180 degrees (of 360 degrees for a
/// fan), of which the first and the last `missing` are not measured, or those of a file; detector pixels side by side,
/// over the diagonal of the slice unless a spacing is given.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Side of a slice in pixels, 16 to 4096; slices of a data folder must be square and have it, unless it is less than
    /// theirs: then their means over pixels are taken.
    #[garde(range(min = 16, max = 4096))]
    pub size: i64,
    /// Side of a slice in metres, above 0, at most 100.
    #[garde(range(min = 1e-6, max = 100.0))]
    pub extent: f64,
    /// Directions over 180 degrees, of a fan over 360 degrees, 1 to 100,000.
    #[garde(inner(range(min = 1, max = 100_000)))]
    pub angles: Option<usize>,
    /// The directions, in place of `angles`.
    #[serde(default)]
    #[garde(dive)]
    pub angle_file: Option<AngleFile>,
    /// Directions cut off at either end, 0 to 50,000.
    #[serde(default)]
    #[garde(range(max = 50_000))]
    pub missing: usize,
    /// Detector pixels, 1 to 100,000.
    #[garde(range(min = 1, max = 100_000))]
    pub detectors: usize,
    /// Distance of neighbouring detector pixels in metres, at the detector, 1e-9 to 100; such that they see the whole slice
    /// where not given.
    #[serde(default)]
    #[garde(inner(range(min = 1e-9, max = 100.0)))]
    pub detector_spacing: Option<f64>,
    /// The detector pixel that the axis of rotation is opposite to; the middle where not given.
    #[serde(default)]
    #[garde(dive)]
    pub axis: Option<Axis>,
    /// How rays run; parallel where not given.
    #[serde(default)]
    #[garde(dive)]
    pub geometry: Option<Rays>,
    /// Side in pixels of the grid that observations are simulated on, 16 to 8192.
    #[garde(range(min = 16, max = 8192))]
    pub simulation_size: i64,
}

/// A list of directions: text with one number a line, or a `.npy` array ([`read_angles`]).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct AngleFile {
    /// The file, relative to the data folder.
    #[garde(length(min = 1))]
    pub path: String,
    /// Their unit.
    #[garde(skip)]
    pub unit: Unit,
}

/// The unit of angles in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 360 to a turn.
    Degrees,
    /// `2 pi` to a turn.
    Radians,
}

/// Where the axis of rotation lies.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(untagged, expecting = "expected \"estimated\", or a detector pixel counted from 0")]
pub enum Axis {
    /// Opposite to this detector pixel, counted from 0, also between two, -100,000 to 200,000.
    At(#[garde(range(min = -100_000.0, max = 200_000.0))] f64),
    /// Where every observation itself says ([`axis_of_rotation`]). Scans are simulated with it in the middle.
    Estimated(#[garde(skip)] Estimated),
}

/// The word for [`Axis::Estimated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimated {
    /// That word.
    Estimated,
}

/// How the rays of one direction run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rays {
    /// In parallel.
    Parallel,
    /// From a source to a flat detector.
    FanFlat(#[garde(dive)] Distances),
    /// From a source to a detector on an arc around it.
    FanCurved(#[garde(dive)] Distances),
}

/// Where the source and the detector of a fan lie.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Distances {
    /// From the source to the axis of rotation in metres, above 0, at most 1e4, and outside of the slice.
    #[garde(range(min = 1e-6, max = 1e4))]
    pub source_origin: f64,
    /// From the axis of rotation to the detector in metres, 0 to 1e4.
    #[garde(range(min = 0.0, max = 1e4))]
    pub origin_detector: f64,
}

impl Scan {
    /// The fan of the geometry, where it is one.
    fn fan(&self) -> Option<(Curve, Distances)> {
        match self.geometry {
            None | Some(Rays::Parallel) => None,
            Some(Rays::FanFlat(distances)) => Some((Curve::Flat, distances)),
            Some(Rays::FanCurved(distances)) => Some((Curve::Curved, distances)),
        }
    }

    /// The angles of the rays in radians: those of the file in the folder, or of as many equal parts.
    fn directions(&self, folder: Option<&Path>) -> Result<Vec<f64>> {
        if let (Some(file), Some(folder)) = (&self.angle_file, folder) {
            let unit = match file.unit {
                Unit::Degrees => AngleUnit::Degrees,
                Unit::Radians => AngleUnit::Radians,
            };
            return read_angles(&folder.join(&file.path), unit);
        }
        let angles = self.angles.unwrap_or(STAND_IN);
        let turns = if self.fan().is_some() { 2.0 } else { 1.0 };
        let all = ParallelBeam::half_turn(angles).into_iter().map(|angle| turns * angle);
        Ok(all.skip(self.missing).take(angles.saturating_sub(2 * self.missing)).collect())
    }

    /// The detector, the axis opposite to this pixel or to its middle.
    fn detector(&self, axis: Option<f64>) -> Detector {
        // What it takes to see the circle around the slice.
        let whole = match self.fan() {
            None => self.extent * SQRT_2,
            Some((curve, Distances { source_origin, origin_detector })) => {
                let fan = (0.5 * SQRT_2 * self.extent / source_origin).min(1.0).asin();
                let half = if curve == Curve::Flat { fan.tan() } else { fan };
                2.0 * half * (source_origin + origin_detector)
            }
        };
        let spacing = self.detector_spacing.unwrap_or(whole / self.detectors as f64);
        match axis {
            None => Detector::centred(self.detectors, spacing),
            Some(axis) => Detector::around(axis, self.detectors, spacing),
        }
    }

    /// The axis that is given.
    fn given_axis(&self) -> Option<f64> {
        match self.axis {
            Some(Axis::At(axis)) => Some(axis),
            None | Some(Axis::Estimated(_)) => None,
        }
    }

    /// The rays of these directions through slices of `side` pixels.
    fn rays(&self, side: i64, directions: &[f64], axis: Option<f64>) -> Result<Geometry> {
        let pixels = Pixels { rows: side as usize, columns: side as usize, size: self.extent / side as f64 };
        let detector = self.detector(axis);
        // Slices are indexed [x, y] as in LoDoPaB-CT, where the beam of the angle 0 runs along y: along rows.
        let angles = directions.iter().map(|angle| angle - FRAC_PI_2).collect();
        let beam = match self.fan() {
            None => ParallelBeam::new(angles, pixels, detector).map(Geometry::from),
            Some((curve, Distances { source_origin, origin_detector })) => {
                let distances = [source_origin, origin_detector];
                FanBeam::new(angles, pixels, detector, curve, distances).map(Geometry::from)
            }
        };
        beam.map_err(refused)
    }
}

/// Directions that stand in for those of a file where there are no data.
const STAND_IN: usize = 180;

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
        let scan = &settings.scan;
        let &Scan { size, angles, missing, simulation_size, .. } = scan;
        if settings.window[0] >= settings.window[1] {
            return Err(("window".into(), "black is not below white".into()));
        }
        match (angles, &scan.angle_file) {
            (None, None) => {
                return Err(("scan.angles".into(), "missing field `angles` (or angle_file)".into()));
            }
            (Some(_), Some(_)) => {
                return Err(("scan.angle_file".into(), "stands in place of angles".into()));
            }
            (None, Some(_)) if missing > 0 => {
                return Err(("scan.missing".into(), "counts those of angles, not of a file".into()));
            }
            (Some(angles), None) if 2 * missing >= angles => {
                return Err(("scan.missing".into(), format!("nothing is left of {angles} angles")));
            }
            _ => {}
        }
        if scan.fan().is_some() && matches!(scan.axis, Some(Axis::Estimated(_))) {
            let problem = "estimated of parallel beams only: give the detector pixel".to_owned();
            return Err(("scan.axis".into(), problem));
        }
        if simulation_size < size {
            let problem = format!("less than the {size} pixels of a slice");
            return Err(("scan.simulation_size".into(), problem));
        }
        let rays = scan.rays(size, &[0.0], scan.given_axis());
        rays.map(drop).map_err(|e| {
            (if scan.geometry.is_some() { "scan.geometry" } else { "scan" }.into(), e.to_string())
        })
    }

    fn files(settings: &TomographySettings) -> Vec<(&'static str, String)> {
        settings.scan.angle_file.iter().map(|file| ("scan.angle_file.path", file.path.clone())).collect()
    }

    fn instrument(settings: &TomographySettings, folder: Option<&Path>) -> Result<Box<dyn Instrument>> {
        Ok(Box::new(Scanner::new(settings, folder)?))
    }
}

/// The scanner.
struct Scanner {
    settings: TomographySettings,
    identity: String,
    directions: Vec<f64>,
    /// The beam that methods know, unless every observation has its own.
    beam: Geometry,
    fbp: Fbp,
    likelihood: Poisson,
    /// The forward operator on the finer grid that observations are simulated on.
    fine: Radon,
}

impl Scanner {
    fn new(settings: &TomographySettings, folder: Option<&Path>) -> Result<Self> {
        let TomographySettings { scan, fbp, noise, .. } = settings;
        let directions = scan.directions(folder)?;
        let coarse = scan.rays(scan.size, &directions, scan.given_axis())?;
        // What a detector pixel measures does not depend on the grid: single rays for LoDoPaB-CT.
        let fine = scan.rays(scan.simulation_size, &directions, scan.given_axis())?;
        let fine = fine.with_footprint(coarse.footprint());
        // Directions are what their file holds, whatever it is called.
        let identity = match (&scan.angle_file, folder) {
            (Some(file), Some(folder)) => {
                format!("{} {}", to_toml(settings), bytes_hash(&files::read(&folder.join(&file.path))?))
            }
            _ => to_toml(settings),
        };
        Ok(Self {
            settings: settings.clone(),
            identity,
            directions,
            fbp: Fbp::new(coarse.clone(), fbp.filter.into(), fbp.frequency_scaling)?,
            beam: coarse,
            likelihood: Poisson::new(noise.photons, noise.mu_max)?,
            fine: Radon::new(fine),
        })
    }

    /// The rays of an observation whose axis is estimated.
    fn own_rays(&self, name: &str, observation: &Tensor) -> Result<Option<(Geometry, Fbp)>> {
        let TomographySettings { scan, fbp, .. } = &self.settings;
        if !matches!(scan.axis, Some(Axis::Estimated(_))) {
            return Ok(None);
        }
        let axis = axis_of_rotation(observation, self.beam.angle_list())?;
        tracing::info!("{name}: the axis of rotation is opposite to detector pixel {axis:.2}");
        let beam = scan.rays(scan.size, &self.directions, Some(axis))?.with_footprint(self.beam.footprint());
        let fbp = Fbp::new(beam.clone(), fbp.filter.into(), fbp.frequency_scaling)?;
        Ok(Some((beam, fbp)))
    }

    /// Whether observations of LoDoPaB-CT (all angles of them) could be its own.
    fn is_lodopab(&self) -> bool {
        let Scan { size, extent, angles, detectors, .. } = self.settings.scan;
        (size, angles, detectors) == (LODOPAB_SIDE, Some(1000), 513)
            && extent == 0.26
            && self.beam.detector() == ParallelBeam::lodopab().detector()
            && matches!(self.beam, Geometry::Parallel(_))
            && self.settings.scan.axis.is_none()
            && self.likelihood == Poisson::lodopab()
    }
}

impl Instrument for Scanner {
    fn key(&self) -> ProblemKey {
        ProblemKey::Tomography
    }

    fn identity(&self) -> String {
        self.identity.clone()
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
        self.fine.range().check(name, observation)?;
        let clock = Instant::now();
        let own = self.own_rays(name, observation)?;
        let (beam, fbp) = own.as_ref().map_or((&self.beam, &self.fbp), |(beam, fbp)| (beam, fbp));
        let image = fbp.apply(observation)?;
        let seconds = clock.elapsed().as_secs_f64();
        let operator = Radon::new(beam.clone());
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
        let span = if scan.fan().is_some() { 360.0 } else { 180.0 };
        let angles = scan.angles.unwrap_or(STAND_IN);
        let from = |index: usize| (index as f64) * span / angles as f64;
        let directions = match &scan.angle_file {
            None => format!(
                "{} directions, from {:.1}° to {:.1}°",
                self.directions.len(),
                from(scan.missing),
                from(angles - scan.missing)
            ),
            Some(file) => format!("{} directions, those of {}", self.directions.len(), file.path),
        };
        let rays = match scan.fan() {
            None => "parallel beam".to_owned(),
            Some((curve, Distances { source_origin, origin_detector })) => format!(
                "fan beam, source {source_origin} m before the axis of rotation, {} detector {origin_detector} m behind it",
                if curve == Curve::Flat { "flat" } else { "curved" }
            ),
        };
        let axis = match scan.axis {
            None => String::new(),
            Some(Axis::At(axis)) => format!(", the axis opposite to pixel {axis}"),
            Some(Axis::Estimated(_)) => ", the axis estimated".to_owned(),
        };
        vec![
            (
                "Scan",
                format!(
                    "{rays}; {directions}; {0} detector pixels{axis}; slices of {1} × {1} px on {2} × {2} m, simulated on \
                     {3} × {3} px",
                    scan.detectors, scan.size, scan.extent, scan.simulation_size
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
        let measured = angles.unwrap_or_default().saturating_sub(2 * missing) as i64;
        let observation = observation.f_narrow(2, missing as i64, measured)?;
        Ok(Pair { input: self.scanner.fbp.apply(&observation)?, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_operators::Footprint;

    fn scanner(detectors: usize) -> Scanner {
        Scanner::new(&settings(&format!("angles = 8, detectors = {detectors}")), None).unwrap()
    }

    /// Slices of 32 pixels on 0.1 m, and what else a scan has.
    fn settings(scan: &str) -> TomographySettings {
        let text = format!(
            "window = [0.0, 1.0]\nscan = {{ size = 32, extent = 0.1, simulation_size = 64, {scan} }}\n\
             fbp = {{ filter = 'hann', frequency_scaling = 0.8 }}\nnoise = {{ photons = 1e8, mu_max = 81.0 }}"
        );
        toml::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// A disc beside the middle, as the scan sees it, and the mean of its inner part in the reconstruction that methods
    /// start from.
    fn density(scan: &str, folder: Option<&Path>) -> (f64, Vec<i64>) {
        let settings = settings(scan);
        assert_eq!(Tomography::check(&settings), Ok(()));
        let scanner = Scanner::new(&settings, folder).unwrap();
        let axis = tch::Tensor::arange(32, tch::kind::DOUBLE_CPU) - 15.5;
        let distance = ((&axis - 4.0).square().unsqueeze(1) + (&axis + 3.0).square()).sqrt();
        let disc = |radius: f64| distance.le(radius).to_kind(tch::Kind::Float).reshape([1, 1, 32, 32]);
        let y = scanner.observe(&(disc(8.0) * 0.4), Seed::new(2)).unwrap();
        let start = scanner.pose("disc", &y, None).unwrap().start.image;
        (
            (start * disc(5.0)).sum(tch::Kind::Double).double_value(&[])
                / disc(5.0).sum(tch::Kind::Double).double_value(&[]),
            y.size(),
        )
    }

    #[test]
    fn fans_files_and_axes_give_the_same_slice() {
        let folder = tempfile::tempdir().unwrap();
        let angles = |of: fn(f64) -> f64, n: i32| {
            (0..n).map(|k| format!("{}\n", of(f64::from(k)))).collect::<String>()
        };
        std::fs::write(folder.path().join("degrees.txt"), angles(|k| k * 1.5, 120)).unwrap();
        std::fs::write(folder.path().join("radians.txt"), angles(|k| (k * 1.5).to_radians(), 240)).unwrap();
        for (scan, views) in [
            ("detectors = 60, angles = 120", 120),
            ("detectors = 60, angles = 120, geometry = 'parallel'", 120),
            ("detectors = 60, angle_file = { path = 'degrees.txt', unit = 'degrees' }", 120),
            ("detectors = 60, angle_file = { path = 'radians.txt', unit = 'radians' }, axis = 29.5", 240),
            // Half acquisition, and the axis from the scan itself.
            (
                "detectors = 40, detector_spacing = 0.00236, axis = 8, angle_file = { path = 'radians.txt', unit = 'radians' }",
                240,
            ),
            ("detectors = 60, angles = 120, axis = 'estimated'", 120),
            (
                "detectors = 90, angles = 300, geometry = { fan_flat = { source_origin = 0.2, origin_detector = 0.1 } }",
                300,
            ),
            (
                "detectors = 90, angles = 300, missing = 50, \
                 geometry = { fan_curved = { source_origin = 0.2, origin_detector = 0.1 } }",
                200,
            ),
        ] {
            let (mean, size) = density(scan, Some(folder.path()));
            assert_eq!(size[2], views, "{scan}");
            assert!((mean - 0.4).abs() < 0.012, "{scan}: {mean}");
        }
        // Without data, directions stand in.
        let (mean, _) = density("detectors = 60, angle_file = { path = 'none.txt', unit = 'degrees' }", None);
        assert!((mean - 0.4).abs() < 0.012, "{mean}");
    }

    #[test]
    fn identities_are_those_of_the_angles_and_old_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            std::fs::write(folder.path().join("a.txt"), text).unwrap();
            let settings = settings("detectors = 60, angle_file = { path = 'a.txt', unit = 'degrees' }");
            Scanner::new(&settings, Some(folder.path())).unwrap().identity()
        };
        assert_ne!(of("0\n90\n"), of("0\n91\n"));
        assert_eq!(of("0\n90\n"), of("0\n90\n"));
        let plain = scanner(46).identity();
        assert!(
            plain.contains("angles = 8") && !plain.contains("geometry") && !plain.contains("axis"),
            "{plain}"
        );
    }

    #[test]
    fn scans_that_cannot_be_are_refused_with_their_key() {
        let fault = |scan: &str| Tomography::check(&settings(scan)).unwrap_err();
        let fan = |source: &str| {
            format!("geometry = {{ fan_flat = {{ source_origin = {source}, origin_detector = 0.1 }} }}")
        };
        assert_eq!(fault("detectors = 60").0, "scan.angles");
        let file = "angle_file = { path = 'a', unit = 'degrees' }";
        assert_eq!(fault(&format!("detectors = 60, angles = 3, {file}")).0, "scan.angle_file");
        assert_eq!(fault(&format!("detectors = 60, missing = 3, {file}")).0, "scan.missing");
        assert_eq!(
            fault(&format!("detectors = 60, angles = 3, axis = 'estimated', {}", fan("0.3"))).0,
            "scan.axis"
        );
        let (key, problem) = fault(&format!("detectors = 60, angles = 3, {}", fan("0.05")));
        assert!(key == "scan.geometry" && problem.contains("distance of source and axis"), "{problem}");
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
