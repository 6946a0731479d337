//! The Sinkhorn patch priors: entropic and semi-unbalanced transport between patches.
//!
//! # Reading order
//! [`settings`], then [`SinkhornPatchPrior`].

mod scale;
pub mod settings;

pub use settings::SinkhornSettings;
pub use smalti_kernels::transport::SinkhornMethod;

use crate::regularizer::Regularizer;
use crate::wpp::SquaredDistance;
use crate::wpp::multiscale::{Multiscale, Place};
use scale::{Fixed, Scale};
use smalti_base::checkpoint::Checkpoint;
use smalti_base::{Error, Result, Seed};
use std::cell::RefCell;
use tch::{Kind, Tensor};

/// `R(x) = sum_l w_l OT(patches of x_l, patches of r_l)`: the [Wasserstein patch prior](crate::wpp) with entropic
/// transport in the place of exact one,
///
/// `OT = min_P sum_ij P_ij |P_i x_l - q_j|^2 + eps KL(P | a b^T) + rho KL(P^T 1 | b)`, `P 1 = a`,
///
/// `a_i = 1 / N` (unless [pixel weights](Self::with_pixel_weights) were given), `b_j = 1 / M`. Every patch of the image
/// has to be explained; with a finite `rho` not every reference patch has to be used, as where the reference shows
/// more than the image. Balanced transport is `rho = infinity`.
///
/// # Shapes
/// Those of [`WassersteinPatchPrior`](crate::WassersteinPatchPrior).
///
/// # Conventions
/// `eps` and `rho` are in units of the full square `|p - q|^2`; values are for this cost, too, and means over patches.
/// [`settings`] converts from the cost `|p - q|^2 / 2`. The value contains the entropic term and is **not debiased**:
/// an image and itself are not at 0.
///
/// # Value before convergence
/// The value is the semi-dual `H(psi, x)` at the potential `psi` that Sinkhorn's iteration finds for `x`, a lower bound
/// of `OT`, starting from what [`refresh`](Regularizer::refresh) has fixed: nothing (with annealing) at first, the
/// potential of the last evaluation after a refresh. So it depends on `x` alone until the next refresh. The gradient is
/// that of `H(psi, x)` at this `psi` (envelope theorem), exact at the maximum; how far from it `psi` is, reports tell.
///
/// # Errors of evaluations
/// [`Error::Shape`] where the image has another size, [`Error::Value`] where a pixel is not finite.
///
/// # Reference
/// S. Mignon, B. Galerne, M. Hidane, C. Louchet, J. Mille, "Semi-unbalanced regularized optimal transport for image
/// restoration", EUSIPCO 2023; M. Piening, F. Altekrüger, J. Hertrich, P. Hagemann, A. Walther, G. Steidl, "Learning
/// from small data sets: patch-based regularizers in inverse problems for image reconstruction", GAMM-Mitteilungen
/// (2024).
///
/// ```
/// use smalti_base::Seed;
/// use smalti_priors::sinkhorn::{SinkhornMethod, SinkhornPatchPrior, SinkhornSettings};
/// use smalti_priors::wpp::{ReferencePatches, WppSettings};
/// use smalti_priors::Regularizer;
/// let draw = |name| Seed::new(1).at(name, 0).uniform(&[1, 1, 16, 14]);
/// let patches = WppSettings::default().with_patch_size(3).with_references(ReferencePatches::All).with_scales(1);
/// let settings = SinkhornSettings::new(patches, SinkhornMethod::new(0.05));
/// let mut prior = SinkhornPatchPrior::new(&[1, 1, 16, 14], &[&draw("reference")], &settings, Seed::new(2))?;
/// let (value, grad) = prior.value_and_grad(&draw("image"))?;
/// assert!(value > 0.0 && grad.size() == [1, 1, 16, 14]);
/// assert!(prior.reports()[0].converged);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct SinkhornPatchPrior {
    multiscale: Multiscale,
    image_patches: Option<usize>,
    seed: Seed,
    /// The step that patches were drawn for last.
    step: u64,
    state: RefCell<State>,
}

impl std::fmt::Debug for SinkhornPatchPrior {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut prior = f.debug_struct("SinkhornPatchPrior");
        let prior = prior.field("size", &self.multiscale.size).field("image_patches", &self.image_patches);
        prior.finish_non_exhaustive()
    }
}

struct State {
    scales: Vec<Scale>,
    /// The image that the scales have their solutions for.
    solved: Option<Tensor>,
}

/// Entropic transport of one scale at the last image.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkhornReport {
    /// Weight `w_l` of the scale.
    pub weight: f64,
    /// The value found, the entropic term included.
    pub value: SquaredDistance,
    /// By how much the references' marginal is off, see
    /// [`SoftSolution::marginal_error`](smalti_kernels::transport::SoftSolution::marginal_error).
    pub marginal_error: f64,
    /// Iterations, two passes over all pairs of patches each.
    pub iterations: usize,
    /// Whether the marginal error reached the tolerance.
    pub converged: bool,
    /// Number `M` of reference patches.
    pub references: usize,
}

impl SinkhornPatchPrior {
    /// The prior on images (or volumes) of `size`, as [`WassersteinPatchPrior::new`](crate::WassersteinPatchPrior::new)
    /// has it. `seed` also draws the patches of the image where not all are taken, anew at every refresh.
    ///
    /// # Errors
    /// Those of [`WassersteinPatchPrior::new`](crate::WassersteinPatchPrior::new); a setting of the method out of range.
    pub fn new(
        size: &[i64],
        references: &[&Tensor],
        settings: &SinkhornSettings,
        seed: Seed,
    ) -> Result<Self> {
        if settings.image_patches == Some(0) {
            return Err(Error::value("number of image patches", "at least 1", 0));
        }
        let (multiscale, references) =
            Multiscale::with_references(size, references, &settings.patches, seed)?;
        let scales = references
            .into_iter()
            .enumerate()
            .map(|(l, rows)| Scale::new(Multiscale::name(l), rows, settings.method));
        let state = RefCell::new(State { scales: scales.collect::<Result<_>>()?, solved: None });
        Ok(Self { multiscale, image_patches: settings.image_patches, seed, step: 0, state })
    }

    /// The same prior with a weight for each pixel, as
    /// [`WassersteinPatchPrior::with_pixel_weights`](crate::WassersteinPatchPrior::with_pixel_weights) has it.
    ///
    /// # Errors
    /// Those of that function.
    pub fn with_pixel_weights(mut self, pixel_weights: &Tensor) -> Result<Self> {
        let all = self.multiscale.patch_weights(pixel_weights, &self.multiscale.offsets(false))?;
        let state = self.state.get_mut();
        state.solved = None;
        state.scales.iter_mut().zip(all).for_each(|(scale, of_grids)| {
            scale.weights = of_grids.into_iter().next();
        });
        Ok(self)
    }

    /// What the last evaluation found on each scale, the finest first; empty before the first one.
    pub fn reports(&self) -> Vec<SinkhornReport> {
        let state = self.state.borrow();
        let found = state.scales.iter().zip(&self.multiscale.scale_weights).filter_map(|(scale, &weight)| {
            let found = scale.solution.as_ref()?;
            Some(SinkhornReport {
                weight,
                value: SquaredDistance::from_full(found.value),
                marginal_error: found.marginal_error,
                iterations: found.iterations,
                converged: found.converged,
                references: scale.references(),
            })
        });
        found.collect()
    }

    /// The potentials that the last evaluation found, one list for each scale, empty before the first one: what a
    /// checkpoint keeps.
    pub fn potentials(&self) -> Vec<Vec<f64>> {
        let state = self.state.borrow();
        state.scales.iter().map(|scale| scale.potential().unwrap_or_default().to_vec()).collect()
    }

    /// Starts the next evaluations from these potentials; where a list is empty, from those there are.
    ///
    /// # Errors
    /// [`Error::Value`] where they are not one list for each scale, of its number of reference patches, finite and at
    /// most 1e30 in size; the old ones then stay.
    pub fn set_potentials(&mut self, potentials: &[Vec<f64>]) -> Result<()> {
        let state = self.state.get_mut();
        if potentials.len() != state.scales.len() {
            let expected = format!("{}, one for each scale", state.scales.len());
            return Err(Error::value("number of potentials", expected, potentials.len()));
        }
        let given: Vec<_> =
            state.scales.iter_mut().zip(potentials).filter(|(_, psi)| !psi.is_empty()).collect();
        let started =
            given.iter().map(|(scale, psi)| scale.with_potential(psi)).collect::<Result<Vec<_>>>()?;
        given.into_iter().zip(started).for_each(|((scale, _), sinkhorn)| scale.start_from(sinkhorn));
        state.solved = None;
        Ok(())
    }

    fn evaluate(&self, x: &Tensor, gradient: bool) -> Result<(f64, Option<Tensor>)> {
        let _no_grad = tch::no_grad_guard();
        let images = self.multiscale.images(x, Place::Kernels)?;
        let mut state = self.state.borrow_mut();
        let State { scales, solved } = &mut *state;
        let known =
            solved.as_ref().is_some_and(|old| old.kind() == images[0].kind() && old.equal(&images[0]));
        if !known {
            *solved = None;
            for (l, (scale, image)) in scales.iter_mut().zip(&images).enumerate() {
                let sample = self.image_patches.map(|count| {
                    (count, self.seed.derive("image patches", self.step).at("patches of a scale", l as u64))
                });
                scale.find(Fixed { patches: self.multiscale.patches, image, sample })?;
            }
            *solved = Some(images[0].copy());
        }
        let scales = &*scales;
        let value = |l: usize| scales[l].solution.as_ref().map_or(0.0, |found| found.value);
        let slope = |l: usize, image: &Tensor| scales[l].gradient(image);
        self.multiscale.sum(x, (&images, Place::Kernels), gradient, (value, slope))
    }
}

impl Regularizer for SinkhornPatchPrior {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.evaluate(x, false)?.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (value, gradient) = self.evaluate(x, true)?;
        Ok((value, gradient.unwrap_or_else(|| x.zeros_like())))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        self.step = step;
        let state = self.state.get_mut();
        state.solved = None;
        state.scales.iter_mut().for_each(Scale::advance);
        Ok(())
    }

    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        for (l, psi) in self.potentials().iter().enumerate().filter(|(_, psi)| !psi.is_empty()) {
            file.tensors.insert(format!("potential.{l}"), Tensor::from_slice(psi));
        }
        Some(file)
    }

    fn restore(&mut self, mut file: Checkpoint) -> Result<()> {
        let counts = self.state.get_mut().scales.iter().map(|scale| scale.references() as i64);
        let potentials = counts.enumerate().map(|(l, count)| {
            let name = format!("potential.{l}");
            if !file.tensors.contains_key(&name) {
                return Ok(Vec::new());
            }
            Ok(Vec::<f64>::try_from(file.take(&name, &[count], Kind::Double)?)?)
        });
        let potentials = potentials.collect::<Result<Vec<_>>>()?;
        self.set_potentials(&potentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wpp::{ReferencePatches, WppSettings};

    /// The solution is replaced by a number that nothing solves for: it comes back where nothing is solved.
    #[test]
    fn an_image_is_solved_for_once_until_the_next_refresh() {
        let patches = WppSettings::default().with_patch_size(3).with_references(ReferencePatches::All);
        let settings = SinkhornSettings::new(patches.with_scales(1), SinkhornMethod::new(0.05));
        let draw = |name| Seed::new(1).at(name, 0).uniform(&[1, 1, 9, 8]);
        let (x, reference) = (draw("image"), draw("reference"));
        let mut prior =
            SinkhornPatchPrior::new(&[1, 1, 9, 8], &[&reference], &settings, Seed::new(2)).unwrap();
        let mark = |prior: &SinkhornPatchPrior| {
            prior.value(&x).unwrap();
            prior.state.borrow_mut().scales[0].solution.as_mut().unwrap().value = -1.0;
        };
        mark(&prior);
        assert!(prior.value(&x).unwrap() == -1.0 && prior.value_and_grad(&x.copy()).unwrap().0 == -1.0);
        for other in [&x + 0.5, x.to_kind(Kind::Double)] {
            mark(&prior);
            assert!(prior.value(&other).unwrap() > 0.0, "{:?}", other.kind());
        }
        mark(&prior);
        prior.refresh(1).unwrap();
        assert!(prior.value(&x).unwrap() > 0.0);
        mark(&prior);
        prior.set_potentials(&prior.potentials()).unwrap();
        assert!(prior.value(&x).unwrap() > 0.0);
    }
}
