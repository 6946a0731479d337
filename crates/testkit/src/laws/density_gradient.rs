//! The gradient of a patch density.

use super::measure::{autograd, central_differences, relative_distance};
use crate::violation::{Trial, Violation};
use smalti_base::Seed;
use smalti_priors::PatchDensity;
use tch::{Kind, Tensor};

/// `nll_and_grad` gives the values of `nll` (1e-11 relative), and a gradient equal to that of autograd through
/// `nll` (1e-9, maximum norm) and to central differences (1e-6), at float64 `patches: [N, d]`.
///
/// # Errors
/// The [`Violation`].
pub fn density_gradient(
    subject: &str,
    density: &dyn PatchDensity,
    patches: &Tensor,
    seed: Seed,
) -> Result<(), Violation> {
    let trial = Trial { law: "the density's gradient", subject };
    let n = patches.size()[0];
    trial.same_shape("the patches", &patches.size(), &[n, density.dim()])?;
    let nll = trial.ok(density.nll(patches))?;
    let (value, gradient) = trial.ok(density.nll_and_grad(patches))?;
    trial.same_shape("nll", &nll.size(), &[n])?;
    trial.same_shape("the value of nll_and_grad", &value.size(), &[n])?;
    trial.same_shape("the gradient", &gradient.size(), &patches.size())?;
    let distance = relative_distance(&value, &nll.detach());
    trial.at_most(1e-11, distance, "relative distance of the value of nll_and_grad from nll")?;
    if nll_has_a_graph(density, patches) {
        let expected = trial.ok(autograd(patches, |p| density.nll(p)))?;
        trial.at_most(1e-9, relative_distance(&gradient, &expected), "relative distance from autograd")?;
    }
    let total = |p: &Tensor| Ok(density.nll(p)?.sum(Kind::Double).double_value(&[]));
    central_differences(trial, (patches, &gradient), seed, 1e-6, total)
}

/// Densities may compute their value without autograd; then central differences alone decide.
fn nll_has_a_graph(density: &dyn PatchDensity, patches: &Tensor) -> bool {
    let patches = patches.detach().copy().set_requires_grad(true);
    density.nll(&patches).is_ok_and(|nll| nll.requires_grad())
}
