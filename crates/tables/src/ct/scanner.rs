//! The scanner: slices, their scans, and what reconstructs know about it.

use crate::data::DataSource;
use crate::experiment::ct::{Fbp as FbpSettings, FilterChoice, Noise, Scan};
use crate::synthetic::chest;
use smalti_base::lodopab::Part;
use smalti_base::{Error, Result, Seed, Space};
use smalti_operators::radon::refused;
use smalti_operators::{
    Detector, Fbp, Filter, Operator, ParallelBeam, Pixels, Poisson, Radon, low_dose, upsample,
};
use smalti_solvers::Pair;
use std::f64::consts::{FRAC_PI_2, SQRT_2};
use tch::Tensor;

/// The scanner of a profile.
pub(crate) struct Scanner {
    /// The forward operator that methods use.
    pub(crate) operator: Radon,
    /// The noise model.
    pub(crate) likelihood: Poisson,
    /// Filtered back-projection.
    pub(crate) fbp: Fbp,
    /// Whether slices are made smaller.
    pub(crate) reduced: bool,
    /// The forward operator on the finer grid that observations are simulated on.
    fine: Radon,
    scan: Scan,
    fbp_settings: FbpSettings,
}

/// Side of the slices of the data folder: those of LoDoPaB-CT.
const SIDE: i64 = 362;

impl Scanner {
    pub(crate) fn new(noise: Noise, scan: Scan, fbp: FbpSettings) -> Result<Self> {
        let beam = |side: i64| -> Result<Radon> {
            let pixels =
                Pixels { rows: side as usize, columns: side as usize, size: scan.extent / side as f64 };
            let detector = Detector::centred(scan.detectors, scan.extent * SQRT_2 / scan.detectors as f64);
            // Slices are indexed [x, y] as in LoDoPaB-CT, where the beam of the angle 0 runs along y: along rows.
            let all = ParallelBeam::half_turn(scan.angles);
            let measured = all.iter().skip(scan.missing).take(scan.angles.saturating_sub(2 * scan.missing));
            let angles = measured.map(|angle| angle - FRAC_PI_2).collect();
            Ok(Radon::new(ParallelBeam::new(angles, pixels, detector).map_err(refused)?))
        };
        let FbpSettings { filter, frequency_scaling } = fbp;
        let filter = match filter {
            FilterChoice::RamLak => Filter::RamLak,
            FilterChoice::SheppLogan => Filter::SheppLogan,
            FilterChoice::Cosine => Filter::Cosine,
            FilterChoice::Hamming => Filter::Hamming,
            FilterChoice::Hann => Filter::Hann,
        };
        let operator = beam(scan.size)?;
        Ok(Self {
            fbp: Fbp::new(operator.beam().clone(), filter, frequency_scaling)?,
            operator,
            likelihood: Poisson::new(noise.photons, noise.mu_max)?,
            reduced: scan.size != SIDE,
            fine: beam(scan.simulation_size)?,
            scan,
            fbp_settings: fbp,
        })
    }

    /// Side of a slice in pixels.
    pub(crate) fn size(&self) -> i64 {
        self.scan.size
    }

    /// Whether observations of LoDoPaB-CT (all angles of them) could be its own.
    pub(crate) fn is_lodopab(&self) -> bool {
        let Scan { size, extent, angles, detectors, .. } = self.scan;
        (size, angles, detectors) == (SIDE, 1000, 513)
            && extent == 0.26
            && self.likelihood == Poisson::lodopab()
    }

    /// All that its observations and filtered back-projections depend on.
    pub(crate) fn identity(&self) -> String {
        format!("{:?} {:?} {:?}", self.scan, self.fbp_settings, self.likelihood)
    }

    /// Indices of the measured directions among all of the half turn: the first and how many.
    pub(crate) fn measured(&self) -> (i64, i64) {
        (self.scan.missing as i64, self.operator.range().height)
    }

    /// The slice `name`, `[1, 1, H, W]` on the CPU: a file, or a phantom where the data are synthetic.
    ///
    /// # Errors
    /// Those of loading; [`Error::Shape`] where a file has not the size of the profile.
    pub(crate) fn slice(&self, name: &str, data: &DataSource) -> Result<Tensor> {
        let size = self.scan.size;
        if data.path(name).is_none() {
            return chest(size, size, data.seed(name), Part::Test, 0);
        }
        let image = data.load(name)?;
        let Space { height, width, .. } = Space::of(name, &image)?;
        if (height, width) == (size, size) {
            return Ok(image);
        }
        if height.min(width) < size {
            return Err(Error::shape(name, format!("at least {size} x {size} pixels"), image.size()));
        }
        Ok(image.f_adaptive_avg_pool2d([size, size])?)
    }

    /// The filtered back-projection of a scan of `truth`, and `truth`.
    ///
    /// # Errors
    /// Those of the operator.
    pub(crate) fn pair(&self, truth: &Tensor, seed: Seed) -> Result<Pair> {
        let input = self.fbp.apply(&self.observe(truth, seed)?)?;
        Ok(Pair { input, target: truth.shallow_clone() })
    }

    /// What the scanner sees of `truth`.
    ///
    /// # Errors
    /// Those of the operator.
    pub(crate) fn observe(&self, truth: &Tensor, seed: Seed) -> Result<Tensor> {
        let side = self.scan.simulation_size;
        let fine = upsample(truth, side, side)?;
        low_dose(&self.fine.apply(&fine)?, &self.likelihood, seed)
    }
}
