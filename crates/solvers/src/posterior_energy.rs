//! The posterior of an imaging problem as the energy of a conditional stochastic flow.

use smalti_base::{Error, Result, Space};
use smalti_flows::stochastic::ConditionalEnergy;
use smalti_operators::{Likelihood, Operator};
use smalti_priors::Regularizer;
use tch::Tensor;

/// `E(x | y) = nll(F(x), y) + n w R(x)` for images and observations as vectors, row by row: `n` times what
/// [`Objective`](crate::Objective) minimises, as in [`langevin`](crate::langevin).
///
/// # Shapes
/// `x: [B, C H W]`, channel by channel and row by row; `y: [B, C' H' W']` likewise; of volumes with all their slices.
///
/// # Convention
/// The regularizer is never refreshed: with a subset of patches this is the posterior of that subset.
pub struct PosteriorEnergy {
    operator: Box<dyn Operator + Send>,
    likelihood: Box<dyn Likelihood + Send>,
    prior: Box<dyn Regularizer + Send>,
    /// `n w`.
    lambda: f64,
}

impl std::fmt::Debug for PosteriorEnergy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PosteriorEnergy").field("lambda", &self.lambda).finish_non_exhaustive()
    }
}

impl PosteriorEnergy {
    /// The posterior with the weight `w >= 0` of an [`Objective`](crate::Objective).
    ///
    /// # Errors
    /// [`Error::Value`] where the weight is not a finite number >= 0.
    pub fn new(
        operator: Box<dyn Operator + Send>,
        likelihood: Box<dyn Likelihood + Send>,
        prior: Box<dyn Regularizer + Send>,
        weight: f64,
    ) -> Result<Self> {
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(Error::value("weight of the regularizer", "a number >= 0", weight));
        }
        let lambda = weight * operator.range().len() as f64;
        Ok(Self { operator, likelihood, prior, lambda })
    }

    /// The rows of `t` as images of `space`.
    fn images(what: &str, t: &Tensor, space: Space) -> Result<Tensor> {
        match t.size()[..] {
            [rows, width] if width == space.len() => Ok(t.f_reshape(space.batch(rows))?),
            _ => Err(Error::shape(what, format!("[B, {}]", space.len()), t.size())),
        }
    }

    fn pair(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let x = Self::images("images as vectors", x, self.operator.domain())?;
        Ok((x, Self::images("observations as vectors", y, self.operator.range())?))
    }

    /// `R` of every image, as a tensor like the energies.
    fn add(&self, nll: &Tensor, values: &[f64]) -> Result<Tensor> {
        let values = Tensor::from_slice(values).f_to_kind(nll.kind())?.f_to_device(nll.device())?;
        Ok(nll.f_add(&(values * self.lambda))?)
    }
}

impl ConditionalEnergy for PosteriorEnergy {
    fn dim(&self) -> i64 {
        self.operator.domain().len()
    }

    fn condition(&self) -> i64 {
        self.operator.range().len()
    }

    fn energy(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (x, y) = self.pair(x, y)?;
        let nll = self.likelihood.nll(&self.operator.apply(&x)?, &y)?;
        let value = |row| self.prior.value(&x.f_narrow(0, row, 1)?);
        self.add(&nll, &(0..x.size()[0]).map(value).collect::<Result<Vec<_>>>()?)
    }

    fn energy_and_grad(&self, x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let (x, y) = self.pair(x, y)?;
        let u = self.operator.apply(&x)?;
        let (nll, slope) = self.likelihood.value_and_grad(&u, &y)?;
        let of_data = self.operator.vjp(&x, &slope)?;
        let (mut values, mut slopes) = (Vec::new(), Vec::new());
        for row in 0..x.size()[0] {
            let (value, slope) = self.prior.value_and_grad(&x.f_narrow(0, row, 1)?)?;
            values.push(value);
            slopes.push(slope);
        }
        let grad =
            if slopes.is_empty() { of_data } else { of_data + Tensor::f_cat(&slopes, 0)? * self.lambda };
        Ok((self.add(&nll, &values)?, grad.f_flatten(1, -1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_base::Seed;
    use smalti_flows::{ClampForm, PatchNr, PatchNrShape, SoftClamp};
    use smalti_operators::{Boundary, Convolution, Gaussian};
    use smalti_priors::{PatchPrior, Sampling};
    use tch::Kind;

    fn energy(weight: f64) -> Result<PosteriorEnergy> {
        let domain = Space::image(1, 6, 8);
        let operator = Convolution::superresolution(domain, 3, 0.8, 2, Boundary::Periodic)?;
        let clamp = SoftClamp::new(ClampForm::AlphaAtan, 1.6)?;
        let shape =
            PatchNrShape::default().with_patch_size(3).with_blocks(2).with_hidden(8).with_clamp(clamp);
        let mut flow = PatchNr::new(shape, Seed::new(1))?;
        flow.to(tch::Device::Cpu, Kind::Double)?;
        let prior = PatchPrior::new(flow, domain, Sampling::All, Seed::new(2))?;
        PosteriorEnergy::new(Box::new(operator), Box::new(Gaussian::new(0.1)?), Box::new(prior), weight)
    }

    #[test]
    fn a_patchnr_posterior_has_the_gradient_of_its_energy() {
        let energy = energy(0.7).unwrap();
        assert_eq!((energy.dim(), energy.condition()), (48, 12));
        let draw = |what: &str, n| Seed::new(3).at(what, 0).uniform(&[3, n]).to_kind(Kind::Double);
        let (x, y, d) = (draw("x", 48), draw("y", 12), draw("d", 48));
        let (value, slope) = energy.energy_and_grad(&x, &y).unwrap();
        assert!((&value - energy.energy(&x, &y).unwrap()).abs().max().double_value(&[]) < 1e-9);
        let at = |h: f64| energy.energy(&(&x + &d * h), &y).unwrap();
        let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
        let expected = (slope * d).sum_dim_intlist(1i64, false, Kind::Double);
        let error = (difference / expected - 1.0).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{error}");
        // The data term alone, a sum: |F(x) - y|^2 / (2 sigma^2).
        let alone = self::energy(0.0).unwrap().energy(&x, &y).unwrap();
        let ratio = (value - &alone) / (self::energy(1.4).unwrap().energy(&x, &y).unwrap() - alone);
        assert!((ratio - 0.5).abs().max().double_value(&[]) < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(energy(-1.0).is_err() && energy(f64::NAN).is_err());
        let energy = energy(1.0).unwrap();
        let zeros = |n| Tensor::zeros([2, n], (Kind::Double, tch::Device::Cpu));
        assert!(energy.energy(&zeros(47), &zeros(12)).is_err());
        assert!(energy.energy_and_grad(&zeros(48), &zeros(11)).is_err());
    }
}
