//! Energies: densities known up to a constant.

use smalti_base::Result;
use tch::{Kind, Tensor};

/// `u(x)` of a density `exp(-u(x))` up to a constant, row by row.
pub trait Energy {
    /// `u(x)`: `[B, d] -> [B]`; infinite where the density is zero.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` does not fit.
    fn energy(&self, x: &Tensor) -> Result<Tensor>;

    /// [`Energy::energy`] and its gradient: `[B, d] -> ([B], [B, d])`.
    ///
    /// # Errors
    /// Those of [`Energy::energy`].
    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// `E(x | y)` of a posterior `p(x | y)` up to a function of `y`, row by row.
///
/// Never called from two threads at once.
pub trait ConditionalEnergy: Send {
    /// The dimension `d` of `x`.
    fn dim(&self) -> i64;

    /// The dimension `m` of `y`.
    fn condition(&self) -> i64;

    /// `E(x | y)`: `[B, d], [B, m] -> [B]`.
    ///
    /// # Errors
    /// [`smalti_base::Error::Shape`] where `x` or `y` does not fit.
    fn energy(&self, x: &Tensor, y: &Tensor) -> Result<Tensor>;

    /// [`ConditionalEnergy::energy`] and its gradient in `x`: `([B], [B, d])`.
    ///
    /// # Errors
    /// Those of [`ConditionalEnergy::energy`].
    fn energy_and_grad(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)>;
}

/// `u(x) = (1 - lambda) |x|^2 / 2 + lambda E(x | y)`: the latent's energy at `lambda = 0`, the posterior's at 1.
pub struct Interpolated<'a> {
    /// `E`; none for the latent's energy alone, whatever `lambda`.
    pub posterior: Option<&'a dyn ConditionalEnergy>,
    /// `y: [B, m]`, one row for each of `x`.
    pub condition: &'a Tensor,
    /// `lambda`, 0 to 1.
    pub lambda: f64,
}

impl std::fmt::Debug for Interpolated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interpolated").finish_non_exhaustive()
    }
}

impl Interpolated<'_> {
    /// The posterior, where it counts.
    fn posterior(&self) -> Option<(&dyn ConditionalEnergy, f64)> {
        self.posterior.filter(|_| self.lambda > 0.0).map(|posterior| (posterior, self.lambda))
    }
}

/// `|x|^2 / 2`, row by row.
pub(super) fn latent(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_square()?.f_sum_dim_intlist(1i64, false, None::<Kind>)? / 2.0)
}

impl Energy for Interpolated<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let Some((posterior, lambda)) = self.posterior() else { return latent(x) };
        Ok(latent(x)? * (1.0 - lambda) + posterior.energy(x, self.condition)? * lambda)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let Some((posterior, lambda)) = self.posterior() else { return Ok((latent(x)?, x.shallow_clone())) };
        let (value, slope) = posterior.energy_and_grad(x, self.condition)?;
        Ok((latent(x)? * (1.0 - lambda) + value * lambda, x * (1.0 - lambda) + slope * lambda))
    }
}
