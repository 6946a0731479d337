//! The Wasserstein patch prior: patches of an image should be distributed as those of a reference image.
//!
//! # Reading order
//! [`settings`], [`pyramid`], [`report`], then [`WassersteinPatchPrior`].

mod patches;
pub mod pyramid;
pub mod report;
mod scale;
pub mod settings;
mod weights;

pub use pyramid::{Blur, Downscaling, Pyramid};
pub use report::{ScaleReport, SquaredDistance};
pub use settings::{ReferencePatches, WppSettings};
pub use smalti_kernels::transport::DualMethod;

use crate::regularizer::Regularizer;
use patches::{Patches, ready};
use scale::{Potentials, Scale};
use smalti_base::{Error, Result, Seed};
use std::cell::RefCell;
use tch::{Kind, Tensor};

/// `R(x) = sum_l w_l W_2^2(patches of x_l, patches of r_l)`, the squared Wasserstein distance between the patch
/// distributions of an image `x` and of reference images `r` on several scales, `x_0 = x`, `x_{l+1} = D x_l`
/// ([`Pyramid`]).
///
/// With the patches `P_i x_l`, `i < N`, and `M` reference patches `q_j` it is computed from below, by the
/// semi-dual
///
/// `W_2^2 = max_psi H(psi, x)`, `H(psi, x) = sum_i a_i min_j (|P_i x_l - q_j|^2 - psi_j) + mean_j psi_j`,
///
/// with all `a_i = 1 / N` unless [pixel weights](Self::with_pixel_weights) were given.
///
/// # Shapes
/// Images `[B, C, H, W]` and volumes `[B, C, D, H, W]`, of the size given to the constructor. The patches of
/// a batch are pooled: it is one distribution. Patches of colour images are `C p p` values. Float64 gives
/// float64, anything else is computed in float32; gradients have the dtype and the device of `x`.
///
/// # Conventions
/// The cost is the full square `|p - q|^2`, as in the authors' code; with the cost `|p - q|^2 / 2` that
/// slides of these authors have, all values are half as large ([`SquaredDistance::half`]). Distances are means over
/// patches, and the default weights `w_l = 1 / L` make `R` a mean over scales.
/// [`crate::weight::from_wpp_mean_of_scales`] converts the published weight.
///
/// # One function between two refreshes
/// Every evaluation solves the dual problem for its image, starting from the potentials that
/// [`refresh`](Regularizer::refresh) has fixed: zero at first, those of the last evaluation after a refresh.
/// So the value depends on `x` alone until the next refresh, and a solver that refreshes before every step
/// starts each step where the last one ended. The last solution is kept: the same `x` again costs no second
/// one.
///
/// The gradient is that of `H(psi, x)` at the potentials found (Danskin's theorem): exact for
/// [`FixedPotentials`], and for `R` at the maximum, where it is one. `H`, and `R` too, has kinks where a
/// patch is equally near to two reference patches.
///
/// # Devices
/// The search runs in main memory: CUDA tensors are copied there, and gradients back.
///
/// # Reference
/// Hertrich, Houdard, Redenbach, "Wasserstein patch prior for image superresolution", IEEE Transactions on
/// Computational Imaging 8 (2022).
///
/// ```
/// use smalti_base::Seed;
/// use smalti_priors::wpp::{ReferencePatches, WassersteinPatchPrior, WppSettings};
/// use smalti_priors::Regularizer;
/// let draw = |name| Seed::new(1).at(name, 0).uniform(&[1, 1, 24, 20]);
/// let settings = WppSettings { patch_size: 4, references: ReferencePatches::All, ..WppSettings::default() };
/// let reference = draw("reference");
/// let mut wpp = WassersteinPatchPrior::new(&[1, 1, 24, 20], &[&reference], &settings, Seed::new(2))?;
/// let (value, grad) = wpp.value_and_grad(&draw("image"))?;
/// assert!(value > 0.0 && grad.size() == [1, 1, 24, 20]);
/// assert_eq!(wpp.value(&reference)?, 0.0);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct WassersteinPatchPrior {
    size: Vec<i64>,
    pyramid: Pyramid,
    patches: Patches,
    scale_weights: Vec<f64>,
    state: RefCell<State>,
}

/// What evaluations change.
struct State {
    scales: Vec<Scale>,
    /// The image that the scales have their solutions for.
    solved: Option<(Tensor, Potentials)>,
}

impl WassersteinPatchPrior {
    /// The prior on images (or volumes) of `size`, `[B, C, H, W]` or `[B, C, D, H, W]`, with patches from all
    /// `references` together, each of any size and batch but the same channels and number of axes. `seed`
    /// draws random reference patches, for each scale anew.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where sizes do not fit each other, image or reference are smaller
    /// than a patch on some scale, there are fewer reference patches than asked for, a pixel of them is not
    /// finite, or a setting is out of range.
    pub fn new(size: &[i64], references: &[&Tensor], settings: &WppSettings, seed: Seed) -> Result<Self> {
        let scale_weights = settings.checked()?;
        if !matches!(size.len(), 4 | 5) || size.iter().any(|&n| n < 1) {
            return Err(Error::shape("size of images", "[B, C, H, W] or [B, C, D, H, W]", size));
        }
        if references.is_empty() {
            return Err(Error::value("reference images", "at least one", "none"));
        }
        let &WppSettings { patch_size, stride, centred, downscaling, .. } = settings;
        let patches = Patches { size: patch_size, stride, centred };
        let pyramid = |what: &str, space: &[i64]| {
            patches.check_fit(what, space)?;
            let pyramid = Pyramid::new(space, settings.scales, &settings.blur, downscaling)?;
            for (l, space) in pyramid.spaces().iter().enumerate() {
                patches.check_fit(&format!("{what} on scale {l}"), space)?;
            }
            Ok::<_, Error>(pyramid)
        };

        let mut of_scale: Vec<Vec<Tensor>> = (0..settings.scales).map(|_| Vec::new()).collect();
        for reference in references {
            let shape = reference.size();
            if shape.len() != size.len() || shape[1] != size[1] || shape[0] < 1 {
                let expected = format!("{} axes with {} channels as images have", size.len(), size[1]);
                return Err(Error::shape("reference image", expected, shape));
            }
            let images = pyramid("reference image", &shape[1..])?.apply(&ready(reference)?)?;
            of_scale.iter_mut().zip(images).for_each(|(all, image)| all.push(image));
        }
        let everywhere = Patches { stride: 1, ..patches };
        let scales = of_scale.iter().enumerate().map(|(l, images)| {
            let stream = &mut seed.at("reference patches", l as u64);
            let what = format!("reference image on scale {l}");
            let references = everywhere.chosen(&what, images, settings.references, stream)?;
            Scale::new(&format!("image on scale {l}"), patches, &references, settings.dual)
        });
        let scales = scales.collect::<Result<_>>()?;
        let pyramid = pyramid("image", &size[1..])?;
        let state = RefCell::new(State { scales, solved: None });
        Ok(Self { size: size.to_vec(), pyramid, patches, scale_weights, state })
    }

    /// Zero-shot: images of `size` are compared with the patches of the observation itself, at the observation's
    /// scale: scale 0 of the image with `observation`, scale 1 with `D observation`, and so on. No reference image
    /// is needed where patches of `p` pixels look alike on both scales.
    ///
    /// This is the idea of zero-shot superresolution with patchNRs (Altekrüger et al. 2023) for a distribution of
    /// patches instead of single ones.
    ///
    /// # Errors
    /// Those of [`WassersteinPatchPrior::new`]; small observations have few patches.
    pub fn zero_shot(size: &[i64], observation: &Tensor, settings: &WppSettings, seed: Seed) -> Result<Self> {
        Self::new(size, &[observation], settings, seed)
    }

    /// The same prior with a weight for each pixel, `[H, W]` or `[D, H, W]`, at least 0, for example a mask:
    /// patches from pixels of weight 0 do not count, so that the rest is compared with the reference as if it
    /// were the whole image.
    ///
    /// On scale `l` a patch has the mean of `D^l weights` over its pixels (negative values of that, from
    /// kernels that have some, count as 0). Weights of the patches of a scale are normalised to sum 1.
    ///
    /// # Errors
    /// [`Error::Shape`] where the weights are not `[H, W]` or `[D, H, W]`, [`Error::Value`] where some are
    /// negative or not finite, or all patches of a scale have weight 0.
    pub fn with_pixel_weights(mut self, pixel_weights: &Tensor) -> Result<Self> {
        let spatial = &self.size[2..];
        if pixel_weights.size() != spatial {
            return Err(Error::shape("weights of the pixels", spatial, pixel_weights.size()));
        }
        let weights = ready(pixel_weights)?;
        let usable = weights.f_isfinite()?.f_logical_and(&weights.f_ge(0.0)?)?;
        if usable.f_all()?.f_int64_value(&[])? == 0 {
            return Err(Error::value(
                "weights of the pixels",
                "finite numbers >= 0",
                "others: mend the mask",
            ));
        }
        let plane: Vec<i64> = [1, self.size[1]].into_iter().chain(spatial.iter().copied()).collect();
        // Weights do not differ between channels, which patches need to be read.
        let images = self.pyramid.apply(&weights.f_expand(&plane[..], false)?.f_contiguous()?)?;
        let mut all = Vec::new();
        for (l, image) in images.iter().enumerate() {
            let patches = Patches { centred: false, ..self.patches };
            let rows = patches.rows(&format!("weights on scale {l}"), image)?;
            all.push(weights::of_patches(&rows, self.size[0] as usize, l)?);
        }
        let state = self.state.get_mut();
        state.solved = None;
        state.scales.iter_mut().zip(all).for_each(|(scale, weights)| scale.weights = Some(weights));
        Ok(self)
    }

    /// What the last evaluation found on each scale, the finest first; empty before the first one.
    pub fn reports(&self) -> Vec<ScaleReport> {
        let state = self.state.borrow();
        let found = state.scales.iter().zip(&self.scale_weights).filter_map(|(scale, &weight)| {
            let found = scale.solution.as_ref()?;
            Some(ScaleReport {
                weight,
                value: SquaredDistance::from_full(found.value),
                upper: found.upper.map(SquaredDistance::from_full),
                evaluations: found.evaluations,
                converged: found.converged,
                references: scale.references().len(),
            })
        });
        found.collect()
    }

    /// The potentials that the last evaluation found, one list for each scale: what a checkpoint keeps.
    pub fn potentials(&self) -> Vec<Vec<f64>> {
        self.state.borrow().scales.iter().map(|scale| scale.dual.potential().to_vec()).collect()
    }

    /// Starts the next evaluations from these potentials.
    ///
    /// # Errors
    /// [`Error::Value`] where they are not one list for each scale, of its number of reference patches, and
    /// finite.
    pub fn set_potentials(&mut self, potentials: &[Vec<f64>]) -> Result<()> {
        let state = self.state.get_mut();
        if potentials.len() != state.scales.len() {
            let expected = format!("{}, one for each scale", state.scales.len());
            return Err(Error::value("number of potentials", expected, potentials.len()));
        }
        state.solved = None;
        state.scales.iter_mut().zip(potentials).try_for_each(|(scale, psi)| scale.set_potential(psi))
    }

    /// The bound `sum_l w_l H(psi_l, x)` at the potentials found last, as a regularizer of its own.
    pub fn at_fixed_potentials(self) -> FixedPotentials {
        FixedPotentials(self)
    }

    /// Value and, where asked for, gradient.
    fn evaluate(&self, x: &Tensor, how: Potentials, gradient: bool) -> Result<(f64, Option<Tensor>)> {
        if x.size() != self.size {
            return Err(Error::shape("image", &self.size, x.size()));
        }
        let _no_grad = tch::no_grad_guard();
        let image = ready(x)?;
        let images = self.pyramid.apply(&image)?;
        let mut state = self.state.borrow_mut();
        let State { scales, solved } = &mut *state;
        let known = solved
            .as_ref()
            .is_some_and(|(old, of)| *of == how && old.kind() == image.kind() && old.equal(&image));
        if !known {
            *solved = None;
            scales.iter_mut().zip(&images).try_for_each(|(scale, x)| scale.find(x, how).map(|_| ()))?;
            *solved = Some((image.copy(), how));
        }
        let mut value = 0.0;
        let mut gradients = Vec::new();
        let double = image.kind() == Kind::Double;
        for ((scale, image), weight) in scales.iter().zip(&images).zip(&self.scale_weights) {
            value += weight * scale.solution.as_ref().map_or(0.0, |found| found.value);
            if gradient || double {
                let of_scale = scale.gradient(image)? * *weight;
                if double {
                    // The kernels read float32: to first order, what rounding changed.
                    let rounding = image - image.to_kind(Kind::Float).to_kind(Kind::Double);
                    value += (rounding * &of_scale).sum(Kind::Double).double_value(&[]);
                }
                gradients.push(of_scale.f_to_kind(image.kind())?);
            }
        }
        if !gradient {
            return Ok((value, None));
        }
        let gradient = self.pyramid.adjoint(&gradients)?.f_to_kind(x.kind())?.f_to_device(x.device())?;
        Ok((value, Some(gradient)))
    }

    fn with_gradient(&self, x: &Tensor, how: Potentials) -> Result<(f64, Tensor)> {
        let (value, gradient) = self.evaluate(x, how, true)?;
        Ok((value, gradient.unwrap_or_else(|| x.zeros_like())))
    }
}

impl Regularizer for WassersteinPatchPrior {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.evaluate(x, Potentials::Sought, false)?.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        self.with_gradient(x, Potentials::Sought)
    }

    fn refresh(&mut self, _step: u64) -> Result<()> {
        let state = self.state.get_mut();
        state.solved = None;
        state.scales.iter_mut().for_each(Scale::advance);
        Ok(())
    }
}

/// `sum_l w_l H(psi_l, x)` at fixed potentials: a lower bound of the distance, equal to it (to the solver's
/// gap) at the image that the potentials were found for, and cheap: one c-transform for each scale.
///
/// Its gradient is exact away from kinks.
pub struct FixedPotentials(WassersteinPatchPrior);

impl FixedPotentials {
    /// The prior that seeks its potentials, starting from these.
    pub fn release(self) -> WassersteinPatchPrior {
        self.0
    }
}

impl Regularizer for FixedPotentials {
    fn value(&self, x: &Tensor) -> Result<f64> {
        Ok(self.0.evaluate(x, Potentials::Held, false)?.0)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        self.0.with_gradient(x, Potentials::Held)
    }
}
