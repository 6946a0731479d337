//! Settings of the Sinkhorn patch priors, and the conversion of published ones.

use crate::wpp::{ReferencePatches, WppSettings};
use smalti_kernels::transport::SinkhornMethod;

/// Settings of a [`SinkhornPatchPrior`](super::SinkhornPatchPrior).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkhornSettings {
    /// Which patches are compared on which scales. The solver in it ([`WppSettings::dual`]) is not used, nor whether they are shuffled.
    pub patches: WppSettings,
    /// So many patches of the image (of those with weight) at distinct random positions, on every scale and anew at every
    /// refresh, or all where there are no more; none: all.
    pub image_patches: Option<usize>,
    /// Smoothing, relaxation, iterations and tolerance.
    pub method: SinkhornMethod,
}

impl SinkhornSettings {
    /// All patches of the image.
    pub fn new(patches: WppSettings, method: SinkhornMethod) -> Self {
        Self { patches, image_patches: None, method }
    }

    /// Balanced, for superresolution of SiC diamonds: 6 x 6 patches with their means, one scale, 60,000 patches of the
    /// image a step against 10,000 of the reference, blur 0.01. For 100 steps of Adam.
    ///
    /// The weight is `weight::from_half_cost(206.0, ...)` ([`crate::weight::from_half_cost`]).
    ///
    /// # Reference
    /// M. Piening et al., "Learning from small data sets" (2024), superresolution of materials.
    pub fn piening_2024() -> Self {
        let patches = WppSettings::default().with_references(ReferencePatches::Random(10_000)).with_scales(1);
        Self::new(patches, from_half_cost(0.01, None)).with_image_patches(Some(60_000))
    }

    /// The same with other patches on other scales.
    #[must_use]
    pub fn with_patches(mut self, patches: WppSettings) -> Self {
        self.patches = patches;
        self
    }

    /// The same with so many patches of the image; none: all.
    #[must_use]
    pub fn with_image_patches(mut self, image_patches: Option<usize>) -> Self {
        self.image_patches = image_patches;
        self
    }

    /// The same with another smoothing, relaxation or end of the iteration.
    #[must_use]
    pub fn with_method(mut self, method: SinkhornMethod) -> Self {
        self.method = method;
        self
    }
}

/// From the lengths that GeomLoss calls `blur` and `reach`: for its cost `|p - q|^2 / 2` the smoothing is `blur^2` and the
/// relaxation `reach^2`. Twice that objective has our cost, so `eps = 2 blur^2` and `rho = 2 reach^2`.
pub fn from_half_cost(blur: f64, reach: Option<f64>) -> SinkhornMethod {
    SinkhornMethod { rho: reach.map(|reach| 2.0 * reach * reach), ..SinkhornMethod::new(2.0 * blur * blur) }
}
