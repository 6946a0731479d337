//! The Wasserstein and Sinkhorn patch priors there are, and the pyramids under them, also of volumes.

use super::{Named, priors::RegularizerCase};
use crate::laws::TransportBounds;
use smalti_base::{Result, Seed, Space};
use smalti_operators::{LinearOperator, Operator};
use smalti_priors::sinkhorn::{SinkhornMethod, SinkhornPatchPrior, SinkhornSettings};
use smalti_priors::wpp::{Blur, DualMethod, Pyramid, ReferencePatches, WassersteinPatchPrior, WppSettings};
use smalti_priors::{Regularizer, RegularizerAlgebra, TotalVariation};
use tch::{Kind, Tensor};

/// Images, colour images, and volumes.
const SPACES: [(&str, Space); 3] = [
    ("images", Space::image(1, 15, 18)),
    ("colour images", Space::image(3, 14, 11)),
    ("volumes", Space::volume(1, 10, 11, 9)),
];

/// Two scales of patches of 3, with weights that differ, all of them without their means where `centred`.
pub fn settings(centred: bool) -> WppSettings {
    WppSettings::default()
        .with_patch_size(3)
        .with_centred(centred)
        .with_references(ReferencePatches::Random(4))
        .with_scales(2)
        .with_scale_weights(Some(vec![0.3, 0.7]))
        .with_dual(DualMethod::Converge { gap: 1e-2, evaluations: 100 })
}

/// A prior on images of `size` whose potentials are those for some image.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn solved(size: &[i64], settings: &WppSettings) -> Result<WassersteinPatchPrior> {
    let draw = |name| Seed::new(33).at(name, 0).uniform(size).to_kind(Kind::Double);
    let prior = WassersteinPatchPrior::new(size, &[&draw("reference")], settings, Seed::new(34))?;
    prior.value(&draw("image"))?;
    Ok(prior)
}

/// What searches for the nearest patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// The kernels compare patches in float32, and where their means are taken away the differences are rounded once
    /// more: 1e-4 suits the law of gradients.
    Kernels,
    /// What images on CUDA devices get, here in main memory and float64: 1e-6 suits.
    Tensors,
}

/// The bounds at fixed potentials, which have exact gradients.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn at_fixed_potentials(search: Search) -> Result<Vec<RegularizerCase>> {
    let mut all: Vec<RegularizerCase> = Vec::new();
    for (what, space) in SPACES {
        for centred in [false, true] {
            let prior = solved(&space.batch(1), &settings(centred))?;
            let prior = if search == Search::Tensors { prior.with_tensor_search() } else { prior };
            let prior = prior.at_fixed_potentials();
            let name = format!("Wasserstein patch prior of {what} by {search:?}, centred {centred}");
            all.push((Named::new(name, Box::new(prior)), space, false));
        }
    }
    Ok(all)
}

/// Sinkhorn patch priors that look at twenty patches of an image, others in every step.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn sinkhorn_of_samples() -> Result<Vec<RegularizerCase>> {
    let mut all: Vec<RegularizerCase> = Vec::new();
    for (what, space) in SPACES {
        let size = space.batch(1);
        let reference = Seed::new(33).at("reference", 0).uniform(&size);
        let method = SinkhornMethod { iterations: 50, ..SinkhornMethod::new(0.1) };
        let patches = settings(false).with_scales(1).with_scale_weights(None);
        let settings = SinkhornSettings::new(patches, method).with_image_patches(Some(20));
        let prior = SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(34))?;
        let name = format!("Sinkhorn patch prior of {what}, 20 patches");
        all.push((Named::new(name, Box::new(prior)), space, true));
    }
    Ok(all)
}

/// Regularizers whose next values depend on earlier ones, alone and as parts of sums.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn stateful() -> Result<Vec<RegularizerCase>> {
    let space = Space::image(1, 15, 18);
    let size = space.batch(1);
    let wasserstein = |reference: &str| {
        let reference = Seed::new(33).at(reference, 0).uniform(&size);
        let settings = settings(false).with_dual(DualMethod::AveragedSgd { steps: 5, step: 1.0 });
        WassersteinPatchPrior::new(&size, &[&reference], &settings, Seed::new(34))
    };
    let all =
        sinkhorn_of_samples()?.swap_remove(0).0.subject.scaled(0.1)?.plus(TotalVariation::new(space, 0.1)?);
    let all = wasserstein("one")?.plus(wasserstein("other")?.scaled(2.0)?).plus(all);
    let all: [(&str, Box<dyn Regularizer>); 2] = [
        ("Wasserstein patch prior by averaged steps", Box::new(wasserstein("one")?)),
        ("sum of Wasserstein and Sinkhorn patch priors and total variation", Box::new(all)),
    ];
    Ok(all.into_iter().map(|(name, subject)| (Named::new(name, subject), space, false)).collect())
}

/// The Sinkhorn patch priors, balanced and semi-unbalanced, at convergence, where their gradients are exact: as far as
/// the potentials are, so 1e-3 suits the law of gradients.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn sinkhorn() -> Result<Vec<RegularizerCase>> {
    let mut all: Vec<RegularizerCase> = Vec::new();
    for (what, space) in SPACES {
        for (rho, centred) in [(None, false), (None, true), (Some(0.05), false)] {
            let size = space.batch(1);
            let reference = Seed::new(33).at("reference", 0).uniform(&size);
            let method =
                SinkhornMethod { rho, iterations: 2000, tolerance: 1e-5, ..SinkhornMethod::new(0.1) };
            let patches = settings(centred).with_references(ReferencePatches::All);
            let settings = SinkhornSettings::new(patches, method);
            let prior = SinkhornPatchPrior::new(&size, &[&reference], &settings, Seed::new(34))?;
            let name = format!("Sinkhorn patch prior of {what}, rho {rho:?}, centred {centred}");
            all.push((Named::new(name, Box::new(prior)), space, false));
        }
    }
    Ok(all)
}

/// The solvers of the dual problem, and how far below the distance they may stay, as a part of it.
pub fn distances() -> Vec<(Named<dyn TransportBounds>, f64)> {
    let named = |name: &str, dual, search| -> Named<dyn TransportBounds> {
        Named::new(name, Box::new(OfPixels { dual, search }))
    };
    let gap = 1e-3;
    let converge = DualMethod::Converge { gap, evaluations: 2000 };
    let averaged = DualMethod::AveragedSgd { steps: 20, step: 1.0 };
    vec![
        (named("converged distance", converge, Search::Kernels), gap),
        (named("averaged steps by kernels", averaged, Search::Kernels), f64::INFINITY),
        (named("averaged steps by libtorch", averaged, Search::Tensors), f64::INFINITY),
    ]
}

/// The Wasserstein patch prior with single pixels for patches and the values of a row for channels.
struct OfPixels {
    dual: DualMethod,
    search: Search,
}

impl TransportBounds for OfPixels {
    fn bounds(&self, x: &Tensor, y: &Tensor) -> Result<(f64, Option<f64>)> {
        let image = |rows: &Tensor| rows.transpose(0, 1).unsqueeze(0).unsqueeze(2).contiguous();
        let settings = WppSettings::default()
            .with_patch_size(1)
            .with_scales(1)
            .with_references(ReferencePatches::All)
            .with_dual(self.dual);
        let x = image(x);
        let prior = WassersteinPatchPrior::new(&x.size(), &[&image(y)], &settings, Seed::new(34))?;
        let prior = if self.search == Search::Tensors { prior.with_tensor_search() } else { prior };
        let value = prior.value(&x)?;
        let upper = prior.reports().first().and_then(|report| report.upper);
        Ok((value, upper.map(|upper| upper.full())))
    }
}

/// The pyramids, as operators to all scales in a row.
///
/// # Errors
/// Those of the constructors; none with the sizes used here.
pub fn pyramids() -> Result<Vec<Named<dyn LinearOperator>>> {
    let mut all: Vec<Named<dyn LinearOperator>> = Vec::new();
    for (what, space) in SPACES {
        for (scales, stride) in [(1, 2), (2, 2), (2, 3), (3, 1)] {
            let weights = |size: &[i64]| Seed::new(35).at("kernel", 0).normal(size);
            let free = if space.depth.is_some() { weights(&[2, 4, 3]) } else { weights(&[4, 3]) };
            for (kernel, blur) in
                [("Gaussian", Blur::Gaussian { size: 4, sigma: 1.0 }), ("free", Blur::Kernel(free))]
            {
                let pyramid = Pyramid::new(space, scales, &blur, stride)?;
                let name = format!("pyramid of {what}, {scales} scales, {kernel} kernel, stride {stride}");
                all.push(Named::new(name, Box::new(Flat(pyramid))));
            }
        }
    }
    Ok(all)
}

/// A pyramid with its scales one after the other: `[B, 1, 1, n]`.
struct Flat(Pyramid);

impl Flat {
    fn lengths(&self) -> Vec<i64> {
        self.0.spaces().iter().map(Space::len).collect()
    }
}

impl Operator for Flat {
    fn domain(&self) -> Space {
        self.0.spaces()[0]
    }

    fn range(&self) -> Space {
        Space::image(1, 1, self.lengths().iter().sum())
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.domain().check("image", x)?;
        let b = x.size()[0];
        let scales = self.0.apply(x)?;
        let flat = scales.iter().map(|x| x.f_reshape([b, 1, 1, -1])).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::f_cat(&flat, 3)?)
    }

    fn vjp(&self, _x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.adjoint(v)
    }
}

impl LinearOperator for Flat {
    fn adjoint(&self, v: &Tensor) -> Result<Tensor> {
        self.range().check("scales", v)?;
        let b = v.size()[0];
        let parts = v.f_split_with_sizes(self.lengths(), 3)?;
        let scales =
            parts.iter().zip(self.0.spaces()).map(|(part, space)| Ok(part.f_reshape(space.batch(b))?));
        self.0.adjoint(&scales.collect::<Result<Vec<_>>>()?)
    }
}
