//! The patch densities and regularizers there are, in float64.

use super::{Named, flows};
use smalti_base::{Result, Seed, Space};
use smalti_operators::LinearOperator;
use smalti_priors::{
    Convexity, GaussianMixture, PatchCritic, PatchCriticShape, PatchDensity, PatchPrior, Patches, Reflected,
    Regularizer, RegularizerAlgebra, RidgeNetwork, RidgeRegularizer, Sampling, TotalVariation,
};
use tch::{Device, Kind, Tensor};

/// The patch densities, on small patches and cubes.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn densities() -> Result<Vec<Named<dyn PatchDensity>>> {
    Ok(vec![
        Named::new("patchNR flow", Box::new(flows::patchnr(3, 2)?)),
        Named::new("patchNR flow of cubes", Box::new(flows::patchnr(2, 3)?)),
        Named::new("a normal distribution", Box::new(gaussian_mixture(1, 9)?)),
        Named::new("Gaussian mixture", Box::new(gaussian_mixture(5, 9)?)),
        Named::new("critic", Box::new(patch_critic(5, 2)?)),
        Named::new("critic of cubes", Box::new(patch_critic(5, 3)?)),
    ])
}

/// A mixture of `k` normal distributions with full covariances, whose means lie around 0.5.
///
/// # Errors
/// Those of the constructor; none with the sizes used here.
pub fn gaussian_mixture(k: i64, d: i64) -> Result<GaussianMixture> {
    let seed = Seed::new(33);
    let draw = |what: &str, shape: &[i64]| seed.at(what, 0).normal(shape).to_kind(Kind::Double);
    let options = (Kind::Double, Device::Cpu);
    let factors = draw("factors", &[k, d, d]) * 0.1;
    let covariances = factors.matmul(&factors.transpose(1, 2)) + Tensor::eye(d, options) * 0.01;
    let weights = Tensor::arange(k, options) + 1.0;
    let weights = &weights / weights.sum(Kind::Double);
    GaussianMixture::new(&weights, &(draw("means", &[k, d]) * 0.3 + 0.5), &covariances)
}

/// A small critic of patches of side `p` with so many axes.
///
/// # Errors
/// Those of the constructor; none with the sizes used here.
pub fn patch_critic(p: i64, axes: i64) -> Result<PatchCritic> {
    let shape = PatchCriticShape::default().with_patch_size(p).with_axes(axes).with_widths([3, 4]);
    PatchCritic::new(shape, Seed::new(34))
}

/// Densities on the plane that contain their constants and have next to all of their mass in `[-4, 4]^2`, so that they can be
/// integrated.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn planar_densities() -> Result<Vec<Named<dyn PatchDensity>>> {
    Ok(vec![Named::new("planar Gaussian mixture", Box::new(gaussian_mixture(4, 2)?))])
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
        let prior = PatchPrior::new(flows::patchnr(3, 2)?, domain, sampling, Seed::new(31))?;
        let fresh = sampling != Sampling::All;
        all.push((Named::new(format!("patchNR, {sampling:?}"), Box::new(prior)), domain, fresh));
    }
    let volume = Space::volume(1, 5, 6, 7);
    for sampling in [Sampling::All, Sampling::Random(40), Sampling::Grid(2)] {
        let prior = PatchPrior::new(flows::patchnr(2, 3)?, volume, sampling, Seed::new(31))?;
        let fresh = sampling != Sampling::All;
        all.push((Named::new(format!("patchNR of cubes, {sampling:?}"), Box::new(prior)), volume, fresh));
    }
    let mixture = PatchPrior::new(gaussian_mixture(5, 9)?, domain, Sampling::Grid(3), Seed::new(31))?;
    all.push((Named::new("Gaussian mixture, a grid", Box::new(mixture)), domain, true));
    let mixture = PatchPrior::new(gaussian_mixture(3, 12)?, colour, Sampling::All, Seed::new(31))?;
    all.push((Named::new("Gaussian mixture in colour", Box::new(mixture)), colour, false));
    let mixture = PatchPrior::new(gaussian_mixture(3, 8)?, volume, Sampling::All, Seed::new(31))?;
    all.push((Named::new("Gaussian mixture of cubes", Box::new(mixture)), volume, false));
    let critic = PatchPrior::new(patch_critic(6, 2)?, domain, Sampling::Grid(3), Seed::new(31))?;
    all.push((Named::new("critic, a grid", Box::new(critic)), domain, true));
    let critic = PatchPrior::new(patch_critic(5, 3)?, volume, Sampling::All, Seed::new(31))?;
    all.push((Named::new("critic of cubes", Box::new(critic)), volume, false));
    for (space, p) in [(domain, 3), (volume, 2)] {
        let reflected = Reflected::new(space, 2, |extended| {
            PatchPrior::new(flows::patchnr(p, space.axes().len())?, extended, Sampling::All, Seed::new(31))
        })?;
        all.push((Named::new(format!("patchNR of {space:?}, reflected"), Box::new(reflected)), space, false));
    }
    for space in [domain, colour, volume, Space::volume(2, 4, 3, 5)] {
        let tv = TotalVariation::new(space, 0.1)?;
        all.push((Named::new(format!("total variation of {space:?}"), Box::new(tv)), space, false));
    }
    for (space, convexity) in [(domain, Convexity::Convex), (colour, Convexity::Weakly)] {
        let name = format!("ridge regularizer of {space:?}, {convexity:?}");
        all.push((Named::new(name, Box::new(ridge(space, convexity)?)), space, false));
    }
    let reflected = Reflected::new(domain, 3, |extended| ridge(extended, Convexity::Weakly))?;
    all.push((Named::new("ridge regularizer, reflected", Box::new(reflected)), domain, false));
    let patches = PatchPrior::new(flows::patchnr(3, 2)?, domain, Sampling::Random(40), Seed::new(31))?;
    let sum = patches.scaled(0.3)?.plus(TotalVariation::new(domain, 0.1)?);
    all.push((Named::new("sum of a multiple of patchNR and total variation", Box::new(sum)), domain, true));
    Ok(all)
}

/// A ridge regularizer with drawn weights: kernels 1-2-4 of 3 and 5 pixels, 7 knots, 3 noise levels.
///
/// # Errors
/// Those of the constructor; none with images of more than 6 pixels.
pub fn ridge(domain: Space, convexity: Convexity) -> Result<RidgeRegularizer> {
    let draw = |what: &str, shape: &[i64]| Seed::new(34).at(what, 0).normal(shape).to_kind(Kind::Double);
    let kernels = [draw("first", &[2, 1, 3, 3]), draw("second", &[4, 2, 5, 5])];
    let knots = Tensor::linspace(-0.1, 0.1, 7, (Kind::Double, Device::Cpu));
    let (convex, concave) = ((&knots / 0.02).tanh() * 0.02, (&knots / 0.08).tanh() * 0.08);
    let scalings = draw("scalings", &[4, 3]) * 0.2 + 3.0;
    let network = RidgeNetwork::new(&kernels, (&convex, 4.0), (&concave, convexity), &scalings)?;
    network.regularizer(domain, 20.0 / 255.0, 1.0)
}

/// A regularizer that does not see constants and whose curvature is known, from both sides.
#[derive(Debug)]
pub struct CurvedCase {
    /// The regularizer.
    pub regularizer: Named<dyn Regularizer>,
    /// The domain of its images.
    pub domain: Space,
    /// The `m` that makes `R(x) + m/2 |x|^2` convex.
    pub weak_convexity: f64,
    /// A Lipschitz constant of the gradient.
    pub lipschitz: f64,
}

/// The regularizers whose curvature is known.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn curved() -> Result<Vec<CurvedCase>> {
    let domain = Space::image(1, 13, 18);
    let mut all = Vec::new();
    for (domain, convexity) in [
        (domain, Convexity::Convex),
        (domain, Convexity::Weakly),
        (Space::image(3, 14, 13), Convexity::Weakly),
    ] {
        let prior = ridge(domain, convexity)?;
        let (weak_convexity, lipschitz) = (prior.weak_convexity(), prior.lipschitz());
        let name = format!("ridge regularizer of {domain:?}, {convexity:?}");
        let regularizer = Named::<dyn Regularizer>::new(name, Box::new(prior));
        all.push(CurvedCase { regularizer, domain, weak_convexity, lipschitz });
    }
    let eps = 0.1;
    let tv = TotalVariation::new(domain, eps)?;
    let regularizer = Named::<dyn Regularizer>::new("total variation", Box::new(tv));
    // The norm of forward differences is at most sqrt(8).
    let lipschitz = 8.0 / eps / domain.len() as f64;
    all.push(CurvedCase { regularizer, domain, weak_convexity: 0.0, lipschitz });
    Ok(all)
}

/// Patch extractions, which are linear operators.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn extractions() -> Result<Vec<Named<dyn LinearOperator>>> {
    let grey = Space::image(1, 11, 14);
    let colour = Space::image(2, 9, 12);
    let (volume, channels) = (Space::volume(1, 5, 8, 7), Space::volume(2, 4, 5, 6));
    let mut stream = Seed::new(32).at("patches", 0);
    let all: [(&str, Patches); 10] = [
        ("all patches", Patches::all(grey, 4)?),
        ("all patches in colour", Patches::all(colour, 3)?),
        ("patches on a grid", Patches::grid(grey, 4, 3, &[2, 1])?),
        ("patches on a grid with gaps, in colour", Patches::grid(colour, 2, 4, &[0, 3])?),
        ("random patches", Patches::random(grey, 5, 20, &mut stream)?),
        (
            "random patches that repeat, in colour",
            Patches::random_with_replacement(colour, 3, 90, &mut stream)?,
        ),
        ("all cubes", Patches::all(volume, 3)?),
        ("cubes on a grid", Patches::grid(volume, 3, 2, &[0, 1, 1])?),
        ("cubes on a grid with gaps, of two channels", Patches::grid(channels, 2, 3, &[2, 0, 1])?),
        ("random cubes of two channels", Patches::random(channels, 2, 20, &mut stream)?),
    ];
    Ok(all
        .into_iter()
        .map(|(name, patches)| Named::<dyn LinearOperator>::new(name, Box::new(patches)))
        .collect())
}
