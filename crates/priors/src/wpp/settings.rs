//! Settings of the Wasserstein patch prior.

use super::pyramid::Blur;
use smalti_base::{Error, Result};
use smalti_kernels::transport::DualMethod;

/// Which patches of the reference images the patches of an image are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferencePatches {
    /// All of them, at every position.
    All,
    /// So many at distinct random positions on every scale, drawn once, out of all reference images together.
    Random(usize),
}

/// Settings of a [`WassersteinPatchPrior`](super::WassersteinPatchPrior). A named constructor gives those of
/// a source; single ones are changed by methods: `WppSettings::default().with_patch_size(4)`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WppSettings {
    /// Side `p` of a patch, square or cubic, in pixels of its scale. At least 1.
    pub patch_size: i64,
    /// Distance of neighbouring patches of the image along every axis, in pixels of its scale; the first patch
    /// starts at the first pixel. 1 takes all patches. Reference patches are taken from every position.
    pub stride: i64,
    /// Whether the patches that are `stride` apart start at another pixel after every refresh: the `stride^2` (`stride^3` of volumes)
    /// offsets take turns in random order, shuffled anew after the last of them, so that every patch takes part equally often. A
    /// value then is an estimate of that of all patches. Not for solvers that refresh once only, such as Langevin chains: they would
    /// see one grid.
    pub shuffled: bool,
    /// Whether each patch is compared without its mean, so that brightness does not count.
    pub centred: bool,
    /// The patches that are compared with.
    pub references: ReferencePatches,
    /// Number `L` of scales, at least 1; 1 compares the image as it is only.
    pub scales: i64,
    /// The blur between two scales.
    pub blur: Blur,
    /// Every so many pixels of a blurred scale are the pixels of the next one, along every axis. At least 1.
    pub downscaling: i64,
    /// Weight `w_l >= 0` of every scale, the finest first; none: `1 / L` each.
    pub scale_weights: Option<Vec<f64>>,
    /// How the potentials are found.
    pub dual: DualMethod,
}

impl Default for WppSettings {
    /// Patches of 6, all of the image, against 10,000, on 2 scales, as in [`WppSettings::hertrich_2022`], with
    /// potentials that are good to a certified gap.
    fn default() -> Self {
        Self { dual: DualMethod::default(), ..Self::hertrich_2022() }
    }
}

impl WppSettings {
    /// The superresolution of SiC diamonds: patches of 6 with their means, all of the image, against 10,000;
    /// two scales, weighed equally, the coarse one by a 4 x 4 Gaussian of standard deviation 1 at every
    /// second pixel; 10 averaged supergradient steps of size 1 for an image.
    ///
    /// Ten steps leave the value far below the distance: these settings are for parity with published results,
    /// [`WppSettings::default`] computes what the formula says.
    ///
    /// # Reference
    /// Hertrich, Houdard, Redenbach, "Wasserstein patch prior for image superresolution", IEEE Transactions on
    /// Computational Imaging 8 (2022); the steps are those of the authors' code.
    pub fn hertrich_2022() -> Self {
        Self {
            patch_size: 6,
            stride: 1,
            shuffled: false,
            centred: false,
            references: ReferencePatches::Random(10_000),
            scales: 2,
            blur: Blur::Gaussian { size: 4, sigma: 1.0 },
            downscaling: 2,
            scale_weights: None,
            dual: DualMethod::AveragedSgd { steps: 10, step: 1.0 },
        }
    }

    /// The same with patches of this side.
    #[must_use]
    pub fn with_patch_size(mut self, patch_size: i64) -> Self {
        self.patch_size = patch_size;
        self
    }

    /// The same with patches of the image this far apart.
    #[must_use]
    pub fn with_stride(mut self, stride: i64) -> Self {
        self.stride = stride;
        self
    }

    /// The same with patches of the image that start at another pixel after every refresh, or always at the first.
    #[must_use]
    pub fn with_shuffled(mut self, shuffled: bool) -> Self {
        self.shuffled = shuffled;
        self
    }

    /// The same with patches compared without their means, or with them.
    #[must_use]
    pub fn with_centred(mut self, centred: bool) -> Self {
        self.centred = centred;
        self
    }

    /// The same with other reference patches.
    #[must_use]
    pub fn with_references(mut self, references: ReferencePatches) -> Self {
        self.references = references;
        self
    }

    /// The same on so many scales.
    #[must_use]
    pub fn with_scales(mut self, scales: i64) -> Self {
        self.scales = scales;
        self
    }

    /// The same with another blur between two scales.
    #[must_use]
    pub fn with_blur(mut self, blur: Blur) -> Self {
        self.blur = blur;
        self
    }

    /// The same with every so many pixels on the next scale.
    #[must_use]
    pub fn with_downscaling(mut self, downscaling: i64) -> Self {
        self.downscaling = downscaling;
        self
    }

    /// The same with these weights of the scales, the finest first; none: all the same.
    #[must_use]
    pub fn with_scale_weights(mut self, weights: impl Into<Option<Vec<f64>>>) -> Self {
        self.scale_weights = weights.into();
        self
    }

    /// The same with another solver.
    #[must_use]
    pub fn with_dual(mut self, dual: DualMethod) -> Self {
        self.dual = dual;
        self
    }

    /// Checks everything that does not depend on images, and gives the weights of the scales.
    pub(super) fn checked(&self) -> Result<Vec<f64>> {
        let at_least_one = [
            ("patch size", self.patch_size),
            ("patch stride", self.stride),
            ("downscaling", self.downscaling),
        ];
        if let Some((what, value)) = at_least_one.into_iter().find(|(_, value)| *value < 1) {
            return Err(Error::value(what, "at least 1 pixel", value));
        }
        if self.scales < 1 {
            return Err(Error::value("number of scales", "at least 1", self.scales));
        }
        if self.references == ReferencePatches::Random(0) {
            return Err(Error::value("number of reference patches", "at least 1", 0));
        }
        let Some(weights) = &self.scale_weights else {
            return Ok(vec![1.0 / self.scales as f64; self.scales as usize]);
        };
        let usable = weights.iter().all(|w| *w >= 0.0 && w.is_finite()) && weights.iter().any(|w| *w > 0.0);
        if weights.len() as i64 == self.scales && usable {
            return Ok(weights.clone());
        }
        let expected = format!("{} numbers >= 0, not all of them 0", self.scales);
        Err(Error::value("weights of the scales", expected, format!("{weights:?}")))
    }
}
