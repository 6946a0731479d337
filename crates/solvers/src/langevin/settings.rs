//! What a run of Langevin chains is told.

use smalti_base::{Error, Result, Space};

/// The transition from one state of a chain to the next, with step size `h`, preconditioner `M = R R^T` and `xi ~ N(0, I)`.
///
/// All propose `x' = x - h M grad E(x) + sqrt(2 h) R xi`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LangevinScheme {
    /// The unadjusted Langevin algorithm: every proposal is taken. Its samples are off by a bias of order `h` (for a
    /// Gaussian of precision `p`, the variance is `1 / (p (1 - h p / 2))`), and it diverges for `h` above `2 / p`.
    ///
    /// The regularizer is refreshed once, before the first step, and then stays as it is: a random subset of patches is
    /// one fixed subset.
    Ula,
    /// The Metropolis-adjusted Langevin algorithm: a proposal is taken with the probability that makes `exp(-E)`
    /// invariant, exactly for every `h`, and even where the regularizer's gradient is not that of its value.
    ///
    /// As for [`LangevinScheme::Ula`] the regularizer is refreshed only before the first step: the target is the posterior of *that* subset
    /// of patches. Give one that takes all patches to sample the posterior itself.
    Mala {
        /// Adapts `h` during burn-in until proposals are taken with this probability; `None` leaves it as it is.
        target: Option<f64>,
    },
}

impl LangevinScheme {
    /// The acceptance of MALA that is best in high dimension (Roberts and Rosenthal 1998).
    pub const OPTIMAL_ACCEPTANCE: f64 = 0.574;
}

/// Settings of [`Langevin`](super::Langevin).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LangevinSettings {
    /// The transition.
    pub scheme: LangevinScheme,
    /// Step size `h > 0`, in squared units of the image (without a preconditioner).
    pub step_size: f64,
    /// Steps before the first draw.
    pub burn_in: u64,
    /// Draws of each chain that mean, variance, traces and diagnostics are made of: even, at least 4.
    pub draws: u64,
    /// Steps between two draws, at least 1.
    pub thin: u64,
    /// Draws of each chain that are kept as images, evenly spaced, the last one among them; at most `draws`.
    pub keep: u64,
    /// Pixels `[channel, row, column]` whose values are traced; none of volumes.
    pub pixels: Vec<[i64; 3]>,
}

impl Default for LangevinSettings {
    /// MALA that adapts its step size, 1e-4 at first, in 1000 steps, and then makes 1000 draws, none of them kept as images.
    fn default() -> Self {
        Self {
            scheme: LangevinScheme::Mala { target: Some(LangevinScheme::OPTIMAL_ACCEPTANCE) },
            step_size: 1e-4,
            burn_in: 1000,
            draws: 1000,
            thin: 1,
            keep: 0,
            pixels: Vec::new(),
        }
    }
}

impl LangevinSettings {
    /// The same with another transition.
    #[must_use]
    pub fn with_scheme(mut self, scheme: LangevinScheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// The same with another step size.
    #[must_use]
    pub fn with_step_size(mut self, step_size: f64) -> Self {
        self.step_size = step_size;
        self
    }

    /// The same with so many steps before the first draw.
    #[must_use]
    pub fn with_burn_in(mut self, burn_in: u64) -> Self {
        self.burn_in = burn_in;
        self
    }

    /// The same with so many draws of each chain.
    #[must_use]
    pub fn with_draws(mut self, draws: u64) -> Self {
        self.draws = draws;
        self
    }

    /// The same with so many steps between two draws.
    #[must_use]
    pub fn with_thin(mut self, thin: u64) -> Self {
        self.thin = thin;
        self
    }

    /// The same with so many draws kept as images.
    #[must_use]
    pub fn with_keep(mut self, keep: u64) -> Self {
        self.keep = keep;
        self
    }

    /// The same with these pixels traced.
    #[must_use]
    pub fn with_pixels(mut self, pixels: impl Into<Vec<[i64; 3]>>) -> Self {
        self.pixels = pixels.into();
        self
    }

    /// Steps of the whole run: `burn_in + draws thin`.
    pub fn steps(&self) -> u64 {
        self.burn_in.saturating_add(self.draws.saturating_mul(self.thin))
    }

    /// # Errors
    /// [`Error::Value`] where a setting is out of range or a pixel lies outside of `domain`.
    pub(super) fn check(&self, domain: Space) -> Result<()> {
        if !(self.step_size > 0.0 && self.step_size.is_finite()) {
            return Err(Error::value("step size", "a positive number", self.step_size));
        }
        if let LangevinScheme::Mala { target: Some(target) } = self.scheme
            && !(target > 0.0 && target < 1.0)
        {
            return Err(Error::value("acceptance to adapt to", "between 0 and 1, such as 0.574", target));
        }
        if self.draws < 4 || !self.draws.is_multiple_of(2) {
            let expected = "an even number, at least 4 (diagnostics split chains into halves)";
            return Err(Error::value("draws", expected, self.draws));
        }
        if self.thin == 0 {
            return Err(Error::value("thinning", "at least 1", 0));
        }
        if self.keep > self.draws {
            return Err(Error::value(
                "samples to keep",
                format!("at most the {} draws", self.draws),
                self.keep,
            ));
        }
        if !self.pixels.is_empty() {
            domain.plane("domain with pixels to trace (for volumes give none)")?;
        }
        let inside = |p: &[i64; 3]| {
            let size = [domain.channels, domain.height, domain.width];
            p.iter().zip(size).all(|(&at, n)| (0..n).contains(&at))
        };
        if let Some(outside) = self.pixels.iter().find(|p| !inside(p)) {
            let expected = format!("[channel, row, column] within {:?}", &domain.batch(1)[1..]);
            return Err(Error::value("pixel to trace", expected, format!("{outside:?}")));
        }
        Ok(())
    }
}
