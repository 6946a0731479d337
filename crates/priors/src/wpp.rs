//! The Wasserstein patch prior: patches of an image should be distributed as those of a reference image.
//!
//! # Reading order
//! [`settings`], [`pyramid`], [`report`], then [`WassersteinPatchPrior`]; [`tensors`] is what it takes on CUDA.

pub(crate) mod multiscale;
pub(crate) mod patches;
pub mod pyramid;
pub mod report;
mod scale;
pub mod settings;
pub mod tensors;
mod weights;

pub use pyramid::{Blur, Pyramid};
pub use report::{ScaleReport, SquaredDistance};
pub use settings::{ReferencePatches, WppSettings};
pub use smalti_kernels::transport::DualMethod;
pub use tensors::c_transform;

use crate::regularizer::Regularizer;
use multiscale::Multiscale;
use scale::{Potentials, Scale, Search};
use smalti_base::{Error, Result, Seed, checkpoint::Checkpoint};
use std::cell::{Cell, RefCell};
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
/// [`refresh`](Regularizer::refresh) has fixed: zero at first, those of the last evaluation after a refresh. A refresh also gives
/// the turn to the next grid of patches, where they are [shuffled](WppSettings::shuffled).
/// So the value depends on `x` alone until the next refresh (with [`DualMethod::Converge`] up to the gap, since the index
/// over the patches keeps the order that the first image gave it), and a solver that refreshes before every step
/// starts each step where the last one ended. The last solution is kept: the same `x` again costs no second
/// one.
///
/// A value is below the distance by up to the gap of the solver ([`ScaleReport::gap`]), by another part of it from image to
/// image. Langevin chains take that for a part of their energy: with a weight `w` of the prior the relative gap should be
/// well below `1 / (w R(x))`, or chains that came upon a low value stay there.
///
/// The gradient is that of `H(psi, x)` at the potentials found (Danskin's theorem): exact for
/// [`FixedPotentials`], and for `R` at the maximum, where it is one. `H`, and `R` too, has kinks where a
/// patch is equally near to two reference patches.
///
/// # Devices
/// In main memory the kernels search, which read float32 and skip most pairs. On CUDA devices images stay where they
/// are with [`DualMethod::AveragedSgd`], and with every method at [`FixedPotentials`]: libtorch looks at all pairs there,
/// in the dtype of the image and with the rounding that [`tensors`] names. [`DualMethod::Converge`] has no
/// such form: images are copied to main memory, and gradients back, as they are from all other devices. Reference
/// images may be on any device; their patches are chosen in main memory, and kept as float32.
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
/// let settings = WppSettings::default().with_patch_size(4).with_references(ReferencePatches::All);
/// let reference = draw("reference");
/// let mut wpp = WassersteinPatchPrior::new(&[1, 1, 24, 20], &[&reference], &settings, Seed::new(2))?;
/// let (value, grad) = wpp.value_and_grad(&draw("image"))?;
/// assert!(value > 0.0 && grad.size() == [1, 1, 24, 20]);
/// assert_eq!(wpp.value(&reference)?, 0.0);
/// # Ok::<(), smalti_base::Error>(())
/// ```
pub struct WassersteinPatchPrior {
    multiscale: Multiscale,
    settings: WppSettings,
    /// Orders the grids of patches.
    seed: Seed,
    /// Whether libtorch searches in main memory, too.
    always_tensors: bool,
    evaluations: Cell<usize>,
    state: RefCell<State>,
}

impl std::fmt::Debug for WassersteinPatchPrior {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut prior = f.debug_struct("WassersteinPatchPrior");
        prior.field("size", &self.multiscale.size).field("settings", &self.settings).finish_non_exhaustive()
    }
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
    /// draws random reference patches, for each scale anew, and shuffles the grids of patches.
    ///
    /// # Zero-shot
    /// Without a reference the observation of a superresolution can stand in for it, where patches of `p` pixels look alike at both
    /// resolutions: the idea of zero-shot superresolution with patchNRs (Altekrüger et al. 2023) for a distribution of patches
    /// instead of single ones. The observation's noise is then in the reference patches, and so in the result: smooth images lose
    /// by it (experiment `zeroshot_bsd68`).
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] where sizes do not fit each other, image or reference are smaller
    /// than a patch on some scale, there are fewer reference patches than asked for, a pixel of them is not
    /// finite, or a setting is out of range.
    pub fn new(size: &[i64], references: &[&Tensor], settings: &WppSettings, seed: Seed) -> Result<Self> {
        let (multiscale, references) = Multiscale::with_references(size, references, settings, seed)?;
        let offsets = multiscale.offsets(settings.shuffled);
        let scales = references.iter().zip(&offsets).enumerate().map(|(l, (references, offsets))| {
            Scale::new(&Multiscale::name(l), (multiscale.patches, offsets), references, settings.dual)
        });
        let state = RefCell::new(State { scales: scales.collect::<Result<_>>()?, solved: None });
        Ok(Self {
            multiscale,
            settings: settings.clone(),
            seed,
            always_tensors: false,
            evaluations: Cell::new(0),
            state,
        })
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
    /// negative or not finite, or all patches of a scale (of one of its grids, where they are shuffled) have weight 0.
    pub fn with_pixel_weights(mut self, pixel_weights: &Tensor) -> Result<Self> {
        let offsets = self.multiscale.offsets(self.settings.shuffled);
        let all = self.multiscale.patch_weights(pixel_weights, &offsets)?;
        let state = self.state.get_mut();
        state.solved = None;
        state.scales.iter_mut().zip(all).for_each(|(scale, weights)| scale.set_weights(weights));
        Ok(self)
    }

    /// The same prior, which looks at images in main memory as at those on CUDA devices (see above): slower, for
    /// comparisons and tests. [`DualMethod::Converge`] is not changed by it.
    #[must_use]
    pub fn with_tensor_search(mut self) -> Self {
        self.always_tensors = true;
        self.state.get_mut().solved = None;
        self
    }

    /// The same prior on images of another `size`: on the `scales` finest of its scales, for patches `stride` pixels apart, and with
    /// another solver. It shares the reference patches and what was computed of them; its dual problems begin anew.
    ///
    /// # Errors
    /// [`Error::Value`] for more scales than there are; [`Error::Shape`] or [`Error::Value`] where images of this size have no patch on
    /// a scale.
    pub fn on(&self, size: &[i64], scales: i64, stride: i64, dual: DualMethod) -> Result<Self> {
        let expected = self.settings.scales;
        if scales < 1 || scales > expected {
            return Err(Error::value("number of scales", format!("1 to {expected}"), scales));
        }
        let scale_weights =
            self.settings.scale_weights.as_ref().map(|weights| weights[..scales as usize].to_vec());
        let settings = WppSettings { scales, stride, dual, scale_weights, ..self.settings.clone() };
        let multiscale = Multiscale::new(size, &settings)?;
        let shared = self.state.borrow();
        let offsets = multiscale.offsets(settings.shuffled);
        let of_scales = shared.scales.iter().zip(&offsets);
        let of_scales =
            of_scales.map(|(scale, offsets)| scale.of_other_images((multiscale.patches, offsets), dual));
        let state = RefCell::new(State { scales: of_scales.collect::<Result<_>>()?, solved: None });
        let Self { seed, always_tensors, .. } = *self;
        Ok(Self { multiscale, settings, seed, always_tensors, evaluations: Cell::new(0), state })
    }

    /// What all dual problems have cost so far: c-transforms of all patches of a scale, over all scales. It goes on over
    /// checkpoints.
    pub fn evaluations(&self) -> usize {
        self.evaluations.get()
    }

    /// What the last evaluation found on each scale, the finest first; empty before the first one.
    pub fn reports(&self) -> Vec<ScaleReport> {
        let state = self.state.borrow();
        let found = state.scales.iter().zip(&self.multiscale.scale_weights).filter_map(|(scale, &weight)| {
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
        self.state.borrow().scales.iter().map(|scale| scale.potential().to_vec()).collect()
    }

    /// Starts the next evaluations from these potentials.
    ///
    /// # Errors
    /// [`Error::Value`] where they are not one list for each scale, of its number of reference patches, finite and at
    /// most 1e35 in size; the old ones then stay.
    pub fn set_potentials(&mut self, potentials: &[Vec<f64>]) -> Result<()> {
        let state = self.state.get_mut();
        if potentials.len() != state.scales.len() {
            let expected = format!("{}, one for each scale", state.scales.len());
            return Err(Error::value("number of potentials", expected, potentials.len()));
        }
        state.scales.iter().zip(potentials).try_for_each(|(scale, psi)| scale.check_potential(psi))?;
        state.solved = None;
        state.scales.iter_mut().zip(potentials).try_for_each(|(scale, psi)| scale.start_from(psi))
    }

    /// The bound `sum_l w_l H(psi_l, x)` at the potentials found last, as a regularizer of its own.
    pub fn at_fixed_potentials(self) -> FixedPotentials {
        FixedPotentials(self)
    }

    /// Value and, where asked for, gradient.
    fn evaluate(&self, x: &Tensor, how: Potentials, gradient: bool) -> Result<(f64, Option<Tensor>)> {
        let _no_grad = tch::no_grad_guard();
        let search = Search::of(self.settings.dual, how, x.device(), self.always_tensors);
        let images = self.multiscale.images(x, search.place())?;
        let image = &images[0];
        let mut state = self.state.borrow_mut();
        let State { scales, solved } = &mut *state;
        let known = match solved {
            Some((old, of)) if *of == how => {
                (old.kind(), old.device()) == (image.kind(), image.device()) && old.f_equal(image)?
            }
            _ => false,
        };
        if !known {
            *solved = None;
            for (scale, image) in scales.iter_mut().zip(&images) {
                let spent = scale.find(image, how, search)?.evaluations;
                self.evaluations.set(self.evaluations.get() + spent);
            }
            *solved = Some((image.f_detach_copy()?, how));
        }
        let scales = &*scales;
        let value = |l: usize| scales[l].solution.as_ref().map_or(0.0, |found| found.value);
        let slope = |l: usize, image: &Tensor| scales[l].gradient(image);
        self.multiscale.sum(x, (&images, search.place()), gradient, (value, slope))
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

    fn refresh(&mut self, step: u64) -> Result<()> {
        let state = self.state.get_mut();
        state.solved = None;
        state.scales.iter_mut().enumerate().try_for_each(|(l, scale)| {
            let grids = scale.grids() as u64;
            if grids == 1 {
                return scale.advance(0);
            }
            let stream = &mut self.seed.derive("grids of patches", l as u64).at("order", step / grids);
            scale.advance(stream.permutation(grids as usize)[(step % grids) as usize] as usize)
        })
    }

    /// The potentials, `potential.0` for the finest scale and so on.
    ///
    /// All that [`DualMethod::AveragedSgd`] goes on from: it gives the same bits again. [`DualMethod::Converge`] also
    /// goes on from the plan of its last solution, which is not kept, and gives a value within the same gap.
    fn save(&self) -> Option<Checkpoint> {
        let mut file = Checkpoint::default();
        for (l, psi) in self.potentials().iter().enumerate() {
            file.tensors.insert(format!("potential.{l}"), Tensor::from_slice(psi));
        }
        file.set_meta("evaluations", self.evaluations.get());
        Some(file)
    }

    fn restore(&mut self, mut file: Checkpoint) -> Result<()> {
        let counts = self.state.get_mut().scales.iter().map(|scale| scale.references().len() as i64);
        let potentials = counts.enumerate().map(|(l, count)| {
            let psi = file.take(&format!("potential.{l}"), &[count], Kind::Double)?;
            Ok(Vec::<f64>::try_from(psi)?)
        });
        let potentials = potentials.collect::<Result<Vec<_>>>()?;
        let evaluations = file.meta_parsed("evaluations")?;
        self.set_potentials(&potentials)?;
        self.evaluations.set(evaluations);
        Ok(())
    }
}

/// `sum_l w_l H(psi_l, x)` at fixed potentials: a lower bound of the distance (where libtorch searches, up to the
/// [rounding](tensors) of its winners), equal to it (to the solver's gap) at the image that the potentials were found
/// for, and cheap: one c-transform for each scale.
///
/// Its gradient is exact away from kinks.
#[derive(Debug)]
pub struct FixedPotentials(WassersteinPatchPrior);

impl FixedPotentials {
    /// The prior that seeks its potentials, starting from these.
    pub fn into_prior(self) -> WassersteinPatchPrior {
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
