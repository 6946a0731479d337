//! A density on patches as a regularizer of images.

use crate::patches::Patches;
use crate::regularizer::{PatchDensity, Regularizer};
use smalti_base::{Error, Result, Seed, Space};
use tch::{Kind, Tensor};

/// Which patches one evaluation uses; a fresh choice is drawn by [`Regularizer::refresh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// All patches.
    All,
    /// So many distinct patches at random positions (the authors' choice).
    Random(usize),
    /// All patches on a grid of this stride. Successive steps go through the `stride^2` (`stride^3` of volumes) offsets in
    /// random order, shuffled anew after the last of them: every patch is taken equally often, and the mean over all
    /// offsets is the mean over all patches. A stride beyond the number of positions of a patch along the image's shortest
    /// side is lowered to it.
    Grid(i64),
}

/// `R(x) = mean_i nll(P_i x)` over the patches of an image or a volume `x`, estimated without bias from the current sample.
///
/// This is `1/|I| sum_i -log p(P_i x)` of Altekrueger et al. 2023, eq. (6), with the constant of `p` as the
/// density defines it.
#[derive(Debug)]
pub struct PatchPrior<D> {
    density: D,
    patch_size: i64,
    sampling: Sampling,
    domain: Space,
    seed: Seed,
    current: Patches,
    /// Every value in the sum is multiplied by this.
    scale: f64,
}

impl<D: PatchDensity> PatchPrior<D> {
    /// The prior on images of `domain` with square patches of `density.dim()` values, `C p p`, or on volumes with cubic ones
    /// of `C p p p`.
    ///
    /// # Errors
    /// [`Error::Value`] where the patches are not squares (cubes), do not fit, or the sampling is empty; where the density
    /// is one of squares and the domain of volumes, or the other way round.
    pub fn new(density: D, domain: Space, sampling: Sampling, seed: Seed) -> Result<Self> {
        let axes = domain.axes().len();
        if let Some(other) = density.axes().filter(|k| *k != axes) {
            let expected = format!("{axes}, as those of {:?}", domain.batch(1));
            return Err(Error::value("axes of the patches of the density", expected, other));
        }
        let each = (density.dim() / domain.channels.max(1)) as f64;
        let patch_size = each.powf(1.0 / axes as f64).round() as i64;
        if domain.map_axes(|_| patch_size).len() != density.dim() {
            let form = if axes == 2 { "square" } else { "cube" };
            let expected = format!("a {form} number for each of the {} channels", domain.channels);
            return Err(Error::value("dimension of the patch density", expected, density.dim()));
        }
        match sampling {
            Sampling::Random(0) => return Err(Error::value("patches", "at least 1", 0)),
            Sampling::Grid(s) if s < 1 => return Err(Error::value("patch stride", "at least 1", s)),
            _ => {}
        }
        let (current, scale) = draw(domain, patch_size, sampling, seed, 0)?;
        Ok(Self { density, patch_size, sampling, domain, seed, current, scale })
    }

    /// The density.
    pub fn density(&self) -> &D {
        &self.density
    }

    /// Number of patches in the current sample.
    pub fn sampled(&self) -> i64 {
        self.current.count()
    }
}

fn draw(domain: Space, p: i64, sampling: Sampling, seed: Seed, step: u64) -> Result<(Patches, f64)> {
    let stream = |step| seed.at("patches of the prior", step);
    let all = Patches::positions(domain, p) as f64;
    match sampling {
        Sampling::All => Patches::all(domain, p).map(|s| (s, 1.0 / all)),
        Sampling::Random(n) => {
            let sample = Patches::random(domain, p, n, &mut stream(step))?;
            let scale = 1.0 / sample.count() as f64;
            Ok((sample, scale))
        }
        Sampling::Grid(stride) => {
            // No stride beyond the number of positions: every offset must hold a patch.
            let sides = domain.axes();
            let stride = sides.iter().fold(stride, |stride, n| stride.min(n - p + 1)).max(1);
            let offsets = stride.pow(sides.len() as u32);
            let order = stream(step / offsets as u64).permutation(offsets as usize);
            let number = order[(step % offsets as u64) as usize];
            let digit = |axis: usize| number / stride.pow(axis as u32) % stride;
            let offset: Vec<i64> = (0..sides.len()).rev().map(digit).collect();
            Ok((Patches::grid(domain, p, stride, &offset)?, offsets as f64 / all))
        }
    }
}

impl<D: PatchDensity> Regularizer for PatchPrior<D> {
    fn value(&self, x: &Tensor) -> Result<f64> {
        let nll = self.density.nll(&self.current.rows(x)?)?;
        Ok(nll.sum(Kind::Double).double_value(&[]) * self.scale)
    }

    fn value_and_grad(&self, x: &Tensor) -> Result<(f64, Tensor)> {
        let (nll, grad) = self.density.nll_and_grad(&self.current.rows(x)?)?;
        let grad = self.current.rows_adjoint(&grad)? * self.scale;
        Ok((nll.sum(Kind::Double).double_value(&[]) * self.scale, grad))
    }

    fn refresh(&mut self, step: u64) -> Result<()> {
        if self.sampling != Sampling::All {
            (self.current, self.scale) = draw(self.domain, self.patch_size, self.sampling, self.seed, step)?;
        }
        Ok(())
    }
}
