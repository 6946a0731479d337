//! The patch densities and regularizers there are, in float64.

use super::{Named, flows};
use smalti_base::{Result, Seed, Space};
use smalti_operators::LinearOperator;
use smalti_priors::{
    PatchDensity, PatchPrior, Patches, Reflected, Regularizer, Sampling, TotalVariation, VolumeVariation,
};

/// The patch densities, on 3x3 patches.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn densities() -> Result<Vec<Named<dyn PatchDensity>>> {
    Ok(vec![Named::new("patchNR flow", Box::new(flows::patchnr(3)?))])
}

/// A regularizer, the domain of its images, and whether `refresh` draws a new subset.
pub type RegularizerCase = (Named<dyn Regularizer>, Space, bool);

/// The regularizers, but for those of [`super::wasserstein`].
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn regularizers() -> Result<Vec<RegularizerCase>> {
    let domain = Space::image(1, 13, 18);
    let colour = Space::image(3, 9, 7);
    let mut all: Vec<RegularizerCase> = Vec::new();
    for sampling in [Sampling::All, Sampling::Random(40), Sampling::Grid(3), Sampling::Grid(4)] {
        let prior = PatchPrior::new(flows::patchnr(3)?, domain, sampling, Seed::new(31))?;
        let fresh = sampling != Sampling::All;
        all.push((Named::new(format!("patchNR, {sampling:?}"), Box::new(prior)), domain, fresh));
    }
    let reflected = Reflected::new(domain, 2, |extended| {
        PatchPrior::new(flows::patchnr(3)?, extended, Sampling::All, Seed::new(31))
    })?;
    all.push((Named::new("patchNR of the reflected image", Box::new(reflected)), domain, false));
    for space in [domain, colour] {
        let tv = TotalVariation::new(space, 0.1)?;
        all.push((Named::new("total variation", Box::new(tv)), space, false));
    }
    let volume = Space::image(6, 7, 5);
    let tv = VolumeVariation::new(volume, 0.1)?;
    all.push((Named::new("total variation of volumes", Box::new(tv)), volume, false));
    Ok(all)
}

/// Patch extractions, which are linear operators.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn extractions() -> Result<Vec<Named<dyn LinearOperator>>> {
    let grey = Space::image(1, 11, 14);
    let colour = Space::image(2, 9, 12);
    let mut stream = Seed::new(32).at("patches", 0);
    let all: [(&str, Patches); 6] = [
        ("all patches", Patches::all(grey, 4)?),
        ("all patches in colour", Patches::all(colour, 3)?),
        ("patches on a grid", Patches::grid(grey, 4, 3, (2, 1))?),
        ("patches on a grid with gaps, in colour", Patches::grid(colour, 2, 4, (0, 3))?),
        ("random patches", Patches::random(grey, 5, 20, &mut stream)?),
        (
            "random patches that repeat, in colour",
            Patches::random_with_replacement(colour, 3, 90, &mut stream)?,
        ),
    ];
    Ok(all
        .into_iter()
        .map(|(name, patches)| Named::<dyn LinearOperator>::new(name, Box::new(patches)))
        .collect())
}
